//! What stands in for the daemon: a worker that greets whoever the gate sent, answers questions, and remembers both;
//! and a gate socket that tells the launcher where to go.

use std::fs;
use std::io::{self, BufRead as _, BufReader, PipeReader, PipeWriter, Write as _};
use std::net::{IpAddr, Ipv6Addr, SocketAddr, TcpListener, UdpSocket};
use std::os::fd::{AsFd as _, BorrowedFd, FromRawFd as _, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{getsockopt, sockopt};
use shield_common::limits::{PROBE_ADDRESS, PROBE_GREETING, PROBE_PORT};

use super::actor::{AGENT, OURSELVES};
use crate::capture::{Listeners, originals};
use crate::ipc::gate::{GateReply, PreparedRun, SOCKET, TrustFiles};
use crate::ipc::launch::{Order, Whom};
use crate::launch::launcher;
use crate::role::RoleKind;

/// Serves an agent's sockets; dropping it closes them.
#[derive(Debug)]
pub(super) struct Worker {
    /// The port of its listener.
    pub(super) port: u16,
    arrivals: Arc<Mutex<Vec<String>>>,
    stop: Option<PipeWriter>,
    thread: Option<JoinHandle<()>>,
}

impl Worker {
    pub(super) fn start(opened: Listeners, originals: OwnedFd) -> io::Result<Self> {
        let (stop, stopper) = io::pipe()?;
        let arrivals = Arc::new(Mutex::new(Vec::new()));
        let port = opened.served.port;
        let desk = Desk {
            streams: opened.tcp.into_iter().map(TcpListener::from).collect(),
            names: opened.dns.into_iter().map(UdpSocket::from).collect(),
            originals,
            arrivals: arrivals.clone(),
            stop,
        };
        let thread = Some(std::thread::spawn(move || desk.serve()));
        Ok(Self { port, arrivals, stop: Some(stopper), thread })
    }

    /// Where what arrived since the last call was going.
    pub(super) fn arrived(&self) -> Vec<String> {
        std::mem::take(&mut *self.arrivals.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // It ends by itself when the pipe is closed.
            let _ = thread.join();
        }
    }
}

struct Desk {
    streams: Vec<TcpListener>,
    names: Vec<UdpSocket>,
    originals: OwnedFd,
    arrivals: Arc<Mutex<Vec<String>>>,
    stop: PipeReader,
}

impl Desk {
    /// Until the pipe is closed. Its sockets do not wait, so one that has nothing after all costs nothing.
    fn serve(self) {
        loop {
            let doors: Vec<BorrowedFd<'_>> = std::iter::once(self.stop.as_fd())
                .chain(self.streams.iter().map(|listener| listener.as_fd()))
                .chain(self.names.iter().map(|socket| socket.as_fd()))
                .collect();
            let mut waiting: Vec<_> =
                doors.iter().map(|door| PollFd::new(*door, PollFlags::POLLIN)).collect();
            if poll(&mut waiting, PollTimeout::NONE).is_err() {
                continue;
            }
            if waiting[0].any().unwrap_or(false) {
                return;
            }
            for listener in &self.streams {
                // Callers nobody filed are closed without a word.
                let _ = listener.accept().and_then(|(stream, _)| self.greet(stream));
            }
            for socket in &self.names {
                let _ = self.answer(socket);
            }
        }
    }

    fn greet(&self, mut stream: std::net::TcpStream) -> io::Result<()> {
        let Some(original) = originals::lookup(self.originals.as_fd(), stream.as_fd())? else {
            return Ok(());
        };
        let asked = Ipv6Addr::from(original.address).to_canonical();
        self.note(format!("TCP {}", SocketAddr::new(asked, original.port)));
        match (asked, original.port) {
            (IpAddr::V4(PROBE_ADDRESS), PROBE_PORT) => writeln!(stream, "{PROBE_GREETING}{AGENT}"),
            _ => Ok(()),
        }
    }

    fn answer(&self, socket: &UdpSocket) -> io::Result<()> {
        let mut question = [0; 512];
        let (size, asker) = socket.recv_from(&mut question)?;
        self.note("a question for a nameserver".to_owned());
        socket.send_to(&question[..size], asker).map(drop)
    }

    fn note(&self, arrival: String) {
        self.arrivals.lock().unwrap_or_else(PoisonError::into_inner).push(arrival);
    }
}

/// Stands in for the daemon in `scratch/run`, for one agent: says where its gate is, and has a launcher start it.
pub(super) struct Daemon {
    prepared: PreparedRun,
    netns: OwnedFd,
    strict: bool,
    uid: u32,
}

impl Daemon {
    /// Answers as long as the process lives. The agent gets `cgroup` and `netns`.
    pub(super) fn start(
        scratch: &Path,
        cgroup: &Path,
        netns: OwnedFd,
        (strict, uid): (bool, u32),
    ) -> io::Result<()> {
        let run_dir = scratch.join("run");
        fs::create_dir(&run_dir)?;
        let (ca, bundle) = (scratch.join("ca.pem"), scratch.join("bundle.pem"));
        for file in [&ca, &bundle] {
            fs::write(file, "")?;
        }
        let trust = TrustFiles { ca, bundle, java: None };
        let socket = UnixListener::bind(run_dir.join(SOCKET))?;
        let prepared = PreparedRun { cgroup: cgroup.to_owned(), trust, run_dir, hide: Vec::new() };
        let daemon = Self { prepared, netns, strict, uid };
        std::thread::spawn(move || {
            while let Ok((asker, _)) = socket.accept() {
                // A caller that is not served says so, to whoever waits for its agent.
                let _ = daemon.serve(asker);
            }
        });
        Ok(())
    }

    /// Answers the one question of a caller, and has a launcher attend to it.
    fn serve(&self, asker: UnixStream) -> io::Result<()> {
        let mut asker = BufReader::new(asker);
        asker.read_line(&mut String::new())?;
        let reply = serde_json::to_string(&GateReply::Prepared(self.prepared.clone()))? + "\n";
        asker.get_mut().write_all(reply.as_bytes())?;
        let asker = asker.into_inner();
        let pid = getsockopt(&asker, sockopt::PeerCredentials)?.pid();
        let process = process(pid)?;
        let order = Order {
            agent: AGENT.parse().expect("a word of letters is a name"),
            prepared: self.prepared.clone(),
            whom: Whom::User(self.uid),
            caller: pid.cast_unsigned(),
            strict: self.strict,
        };
        let (line, theirs) = launcher::order_line()?;
        let mut command = Command::new(OURSELVES);
        command.args(["role", RoleKind::Launcher.name()]).env_clear().current_dir("/");
        let mut hired = command.stdin(theirs).stdout(Stdio::null()).stderr(Stdio::null()).spawn()?;
        line.send(&order, &[asker.as_fd(), process.as_fd(), self.netns.as_fd()]).map_err(io::Error::other)?;
        // It ends with its agent.
        std::thread::spawn(move || hired.wait());
        Ok(())
    }
}

fn process(pid: i32) -> io::Result<OwnedFd> {
    // SAFETY: plain numbers.
    let made = Errno::result(unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) })?;
    let made = i32::try_from(made).map_err(io::Error::other)?;
    // SAFETY: the kernel just gave us this descriptor; nobody else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(made) })
}
