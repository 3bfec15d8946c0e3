//! The prover's end of an actor: starts it, asks, and hears what it says.

use std::collections::BTreeMap;
use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::net::UdpSocket;
use std::os::fd::AsRawFd as _;
use std::os::unix::process::CommandExt as _;
use std::process::{Child, ChildStdout, Command, Stdio};

use nix::errno::Errno;

use super::actor;
use super::facts::{Ask, Say};
use super::neighbour::plain;
use super::netns::Netns;
use super::probes::local::INHERITED;
use super::site::SiteError;
use super::wire::FAR_V4;

/// An actor that is who it should be.
#[derive(Debug)]
pub(super) struct Actor {
    child: Child,
    stdout: BufReader<ChildStdout>,
    /// How calls that cannot succeed are answered to it.
    pub(super) hollow: BTreeMap<String, i32>,
}

impl Actor {
    /// Starts one in the agent's namespace, with a socket from before.
    pub(super) fn start(near: &Netns, how: impl FnOnce(&mut Command)) -> Result<Self, SiteError> {
        let before = near.enter(|| {
            let socket = UdpSocket::bind("0.0.0.0:0")?;
            socket.connect((FAR_V4, 9))?;
            Ok(socket)
        })?;
        let mut command = near.command(actor::OURSELVES)?;
        how(&mut command);
        plain(&mut command).stderr(Stdio::piped());
        let hand_down = move || {
            // SAFETY: two numbers; the copy belongs to whoever is executed next.
            Errno::result(unsafe { libc::dup2(before.as_raw_fd(), INHERITED) })
                .map(drop)
                .map_err(io::Error::from)
        };
        // SAFETY: between fork and exec the closure calls dup2(2) only, which allocates nothing.
        unsafe { command.pre_exec(hand_down) };
        let mut child = command.spawn()?;
        let stdout = BufReader::new(child.stdout.take().ok_or_else(broken)?);
        let mut actor = Self { child, stdout, hollow: BTreeMap::new() };
        match actor.hear()? {
            Say::Hello { hollow } => {
                actor.hollow = hollow;
                Ok(actor)
            }
            Say::Unable(why) => Err(SiteError::Unable(why)),
            Say::Ready | Say::Over(_) => Err(io::Error::other("the actor is confused").into()),
        }
    }

    /// Asks it to try something.
    pub(super) fn ask(&mut self, what: &Ask) -> io::Result<()> {
        self.write(&serde_json::to_vec(what)?)
    }

    /// Tells an attempt that waits that nobody will call any more.
    pub(super) fn nudge(&mut self) -> io::Result<()> {
        self.write(b"")
    }

    /// The next thing it says. An attempt that hangs is ended by its own alarm.
    pub(super) fn hear(&mut self) -> io::Result<Say> {
        let mut line = String::new();
        if self.stdout.read_line(&mut line)? == 0 {
            return Err(io::Error::other(format!("the actor ended: {}", self.last_words())));
        }
        Ok(serde_json::from_str(&line)?)
    }

    fn write(&mut self, line: &[u8]) -> io::Result<()> {
        let stdin = self.child.stdin.as_mut().ok_or_else(broken)?;
        stdin.write_all(&[line, b"\n"].concat())
    }

    fn last_words(&mut self) -> String {
        let mut said = String::new();
        if let Some(stderr) = &mut self.child.stderr {
            // What cannot be read adds nothing.
            let _ = stderr.read_to_string(&mut said);
        }
        said.trim().replace('\n', "; ")
    }
}

fn broken() -> io::Error {
    io::ErrorKind::BrokenPipe.into()
}

impl Drop for Actor {
    fn drop(&mut self) {
        // The end of its input ends it; the launcher before it ends with it. Its cgroup is killed after that.
        drop(self.child.stdin.take());
        let _ = self.child.wait();
    }
}
