//! Programs outside the gate that act for whoever talks to them: what they are told, they send over the wire. One
//! thread plays them all.

use std::fs;
use std::io::{self, IoSlice, PipeReader, PipeWriter, Read, Write};
use std::net::{TcpListener, UdpSocket};
use std::os::fd::{AsFd as _, AsRawFd as _, BorrowedFd};
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::{SocketAddr, UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::thread::JoinHandle;
use std::time::Duration;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{ControlMessage, MsgFlags, sendmsg};

use super::facts;
use super::netns::Netns;
use super::wire::FAR_V4;

/// Who connects says what it has to say at once.
const PATIENCE: Duration = Duration::from_millis(300);

/// The deputies of a world.
#[derive(Debug)]
pub(super) struct Deputies {
    /// Where they listen locally.
    pub(super) places: facts::Deputies,
    /// Port of the stranger's listener.
    pub(super) foreign_port: u16,
    /// Port of a listener that stands for the gate's own where there is no gate.
    pub(super) gate_port: u16,
    stop: Option<PipeWriter>,
    thread: Option<JoinHandle<()>>,
}

struct Ears {
    local: Vec<UnixListener>,
    giver: UnixListener,
    network: Vec<TcpListener>,
    relay: UdpSocket,
    given: UdpSocket,
    stop: PipeReader,
}

impl Deputies {
    /// Starts them in the agent's namespace, outside its gate: `run` and `tmp` are directories anybody may enter.
    pub(super) fn start(
        near: &Netns,
        name: &str,
        run: &Path,
        tmp: &Path,
        relay: UdpSocket,
    ) -> io::Result<Self> {
        let places = facts::Deputies {
            run: run.join(format!("{name}.sock")),
            tmp: tmp.join("deputy.sock"),
            later: tmp.join("later.sock"),
            unnamed: format!("shield-{name}-{}", std::process::id()),
            giver: tmp.join("giver.sock"),
        };
        let (stop, stopper) = io::pipe()?;
        let wanted = places.clone();
        let ears = near.enter(move || Ears::open(&wanted, relay, stop))?;
        let [foreign_port, gate_port] =
            [0, 1].map(|at: usize| ears.network[at].local_addr().map(|a| a.port()));
        let (foreign_port, gate_port) = (foreign_port?, gate_port?);
        let thread = Some(std::thread::spawn(move || ears.listen()));
        Ok(Self { places, foreign_port, gate_port, stop: Some(stopper), thread })
    }

    /// Gives some of them names, as whoever begins to listen later has one.
    pub(super) fn name_later(&self) -> io::Result<()> {
        fs::hard_link(&self.places.tmp, &self.places.later)?;
        fs::hard_link(early(&self.places.giver), &self.places.giver)
    }
}

/// The name the giver has before the agent is started.
fn early(giver: &Path) -> PathBuf {
    giver.with_extension("early")
}

impl Drop for Deputies {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // It ends by itself when the pipe is closed.
            let _ = thread.join();
        }
    }
}

impl Ears {
    /// Unnamed local sockets belong to a network namespace, as those of the network do.
    fn open(places: &facts::Deputies, relay: UdpSocket, stop: PipeReader) -> io::Result<Self> {
        let named = |place: &Path| {
            let listener = UnixListener::bind(place)?;
            fs::set_permissions(place, fs::Permissions::from_mode(0o777))?;
            Ok::<_, io::Error>(listener)
        };
        let unnamed = UnixListener::bind_addr(&SocketAddr::from_abstract_name(&places.unnamed)?)?;
        let given = UdpSocket::bind("0.0.0.0:0")?;
        given.connect((FAR_V4, 9))?;
        Ok(Self {
            local: vec![named(&places.run)?, named(&places.tmp)?, unnamed],
            giver: named(&early(&places.giver))?,
            network: vec![TcpListener::bind("0.0.0.0:0")?, TcpListener::bind("127.0.0.1:0")?],
            relay,
            given,
            stop,
        })
    }

    /// Until the pipe is closed.
    fn listen(self) {
        loop {
            let ears: Vec<BorrowedFd<'_>> = std::iter::once(self.stop.as_fd())
                .chain([self.giver.as_fd()])
                .chain(self.local.iter().map(|listener| listener.as_fd()))
                .chain(self.network.iter().map(|listener| listener.as_fd()))
                .collect();
            let mut waiting: Vec<_> = ears.iter().map(|ear| PollFd::new(*ear, PollFlags::POLLIN)).collect();
            if poll(&mut waiting, PollTimeout::NONE).is_err() {
                continue;
            }
            let heard = |index: usize| waiting[index].any().unwrap_or(false);
            if heard(0) {
                return;
            }
            // Whoever hangs up in the middle of it gets nothing, which is what the wire will say.
            if heard(1) {
                let _ = self.give();
            }
            for (index, listener) in self.local.iter().enumerate().filter(|(index, _)| heard(2 + index)) {
                let _ = index;
                let _ = listener.accept().and_then(|(asker, _)| self.act_for_local(asker));
            }
            let network = self.network.iter().enumerate();
            for (_, listener) in network.filter(|(index, _)| heard(2 + self.local.len() + index)) {
                let _ = listener.accept().and_then(|(asker, _)| {
                    asker.set_read_timeout(Some(PATIENCE))?;
                    self.act_for(asker)
                });
            }
        }
    }

    fn give(&self) -> io::Result<()> {
        let (asker, _) = self.giver.accept()?;
        let (body, rights) = ([IoSlice::new(b".")], [self.given.as_raw_fd()]);
        let rights = [ControlMessage::ScmRights(&rights)];
        sendmsg::<()>(asker.as_raw_fd(), &body, &rights, MsgFlags::MSG_NOSIGNAL, None)?;
        Ok(())
    }

    fn act_for_local(&self, asker: UnixStream) -> io::Result<()> {
        asker.set_read_timeout(Some(PATIENCE))?;
        self.act_for(asker)
    }

    fn act_for(&self, mut asker: impl Read + Write) -> io::Result<()> {
        let mut secret = [0; facts::SECRET];
        asker.read_exact(&mut secret)?;
        self.relay.send(&secret)?;
        asker.write_all(b".")
    }
}
