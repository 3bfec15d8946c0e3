//! What stands in for the daemon: a worker that greets whoever the gate sent, answers questions, and remembers both;
//! and a gate socket that tells the launcher where to go.

use std::fs;
use std::io::{self, BufRead as _, BufReader, PipeReader, PipeWriter, Write as _};
use std::net::{IpAddr, Ipv6Addr, SocketAddr, TcpListener, UdpSocket};
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use shield_common::limits::{PROBE_ADDRESS, PROBE_GREETING, PROBE_PORT};

use super::actor::AGENT;
use crate::capture::{Listeners, originals};
use crate::ipc::gate::{GateReply, PreparedRun, SOCKET, TrustFiles};

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
            let mut waiting: Vec<_> = doors.iter().map(|door| PollFd::new(*door, PollFlags::POLLIN)).collect();
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
        let Some(original) = originals::lookup(self.originals.as_fd(), stream.as_fd())? else { return Ok(()) };
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

/// Answers the launcher's questions in `scratch/run`, where the daemon's socket would be, until the process ends.
pub(super) fn answer_launcher(scratch: &Path, cgroup: &Path) -> io::Result<()> {
    let run_dir = scratch.join("run");
    fs::create_dir(&run_dir)?;
    let (ca, bundle) = (scratch.join("ca.pem"), scratch.join("bundle.pem"));
    for file in [&ca, &bundle] {
        fs::write(file, "")?;
    }
    let prepared = PreparedRun {
        cgroup: cgroup.to_owned(),
        trust: TrustFiles { ca, bundle, java: None },
        run_dir: run_dir.clone(),
        hide: Vec::new(),
    };
    let reply = serde_json::to_string(&GateReply::Prepared(prepared))? + "\n";
    let socket = UnixListener::bind(run_dir.join(SOCKET))?;
    std::thread::spawn(move || {
        while let Ok((asker, _)) = socket.accept() {
            let reply = reply.clone();
            std::thread::spawn(move || agree(asker, &reply));
        }
    });
    Ok(())
}

/// Answers every question of one launcher, until it hangs up.
fn agree(asker: UnixStream, reply: &str) {
    let mut asker = BufReader::new(asker);
    let mut question = String::new();
    while asker.read_line(&mut question).is_ok_and(|read| read > 0) {
        // A launcher that died is found out by whoever waits for its agent.
        let _ = asker.get_mut().write_all(reply.as_bytes());
        question.clear();
    }
}
