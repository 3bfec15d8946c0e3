//! Standard streams that are sockets: a way past the gate, so the agent gets pipes instead.
//!
//! A socket keeps the cgroup it was made in, whoever uses it. A local one (systemd's journal, a supervisor) is relayed
//! by the parent, which stays outside; a network one is refused.

use std::fs::File;
use std::io::{self, PipeReader, PipeWriter, Read as _, Write as _};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::thread::{self, JoinHandle};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{SockaddrLike as _, SockaddrStorage, getsockname};
use nix::sys::stat::{SFlag, fstat};

use super::LaunchError;

/// Bytes copied at a time.
const CHUNK: usize = 16 << 10;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stream {
    Input,
    Output,
    Error,
}

/// The streams that need a relay, each with the pipe the agent gets.
#[derive(Debug)]
pub(super) struct Streams {
    pipes: Vec<(Stream, PipeReader, PipeWriter)>,
}

/// The parent's threads that copy what the agent writes.
#[derive(Debug)]
pub(super) struct Relays {
    outputs: Vec<JoinHandle<io::Result<()>>>,
    /// Closed when the agent has ended.
    agent_lives: PipeWriter,
}

impl Streams {
    /// Looks at our streams; one that is a network socket is an error.
    pub(super) fn examine() -> Result<Self, LaunchError> {
        let mut pipes = Vec::new();
        for stream in [Stream::Input, Stream::Output, Stream::Error] {
            if stream.needs_relay()? {
                let (reader, writer) =
                    io::pipe().map_err(LaunchError::setup("making a pipe for", stream.name()))?;
                pipes.push((stream, reader, writer));
            }
        }
        Ok(Self { pipes })
    }

    /// In the child: the pipes become its streams.
    pub(super) fn install(&self) -> Result<(), LaunchError> {
        for (stream, reader, writer) in &self.pipes {
            let installed = match stream {
                Stream::Input => nix::unistd::dup2_stdin(reader),
                Stream::Output => nix::unistd::dup2_stdout(writer),
                Stream::Error => nix::unistd::dup2_stderr(writer),
            };
            installed.map_err(|errno| LaunchError::setup("replacing", stream.name())(errno.into()))?;
        }
        Ok(())
    }

    /// In the parent, after the fork: copies between our streams and the agent's.
    pub(super) fn relay(self) -> Result<Relays, LaunchError> {
        let failed = || LaunchError::setup("relaying", "standard streams");
        let (ended, agent_lives) = io::pipe().map_err(failed())?;
        let mut outputs = Vec::new();
        for (stream, reader, writer) in self.pipes {
            let ours = File::from(stream.own().map_err(failed())?);
            if stream == Stream::Input {
                drop(reader);
                // Ends with the process: nobody waits for input that may never come.
                thread::spawn(move || io::copy(&mut &ours, &mut &writer));
            } else {
                drop(writer);
                let ended = ended.try_clone().map_err(failed())?;
                outputs.push(thread::spawn(move || copy_output(reader, ours, &ended)));
            }
        }
        Ok(Relays { outputs, agent_lives })
    }
}

impl Relays {
    /// Waits until everything the agent wrote has been passed on.
    pub(super) fn finish(self) {
        drop(self.agent_lives);
        for output in self.outputs {
            // A reader that went away loses the rest, as with any pipe.
            let _ = output.join();
        }
    }
}

impl Stream {
    fn name(self) -> &'static str {
        match self {
            Self::Input => "standard input",
            Self::Output => "standard output",
            Self::Error => "standard error",
        }
    }

    /// A copy of our descriptor.
    fn own(self) -> io::Result<OwnedFd> {
        match self {
            Self::Input => io::stdin().as_fd().try_clone_to_owned(),
            Self::Output => io::stdout().as_fd().try_clone_to_owned(),
            Self::Error => io::stderr().as_fd().try_clone_to_owned(),
        }
    }

    fn needs_relay(self) -> Result<bool, LaunchError> {
        // A closed stream is no way out.
        let Ok(ours) = self.own() else { return Ok(false) };
        match is_socket(ours.as_fd()) {
            Kind::NoSocket => Ok(false),
            Kind::Local => Ok(true),
            Kind::Network => Err(LaunchError::SocketStream(self.name())),
        }
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Kind {
    NoSocket,
    Local,
    Network,
}

fn is_socket(descriptor: BorrowedFd<'_>) -> Kind {
    let kind = fstat(descriptor).map(|stat| SFlag::from_bits_truncate(stat.st_mode) & SFlag::S_IFMT);
    if kind != Ok(SFlag::S_IFSOCK) {
        return Kind::NoSocket;
    }
    let name = getsockname::<SockaddrStorage>(std::os::fd::AsRawFd::as_raw_fd(&descriptor));
    let family: Result<_, Errno> = name.map(|name| name.family());
    // What cannot be told is not let through.
    match family {
        Ok(Some(nix::sys::socket::AddressFamily::Unix)) => Kind::Local,
        _ => Kind::Network,
    }
}

/// Copies until the agent has closed its end, or has ended and nothing is left: what it started may keep the pipe.
fn copy_output(mut from: PipeReader, mut to: File, ended: &PipeReader) -> io::Result<()> {
    let mut chunk = vec![0; CHUNK];
    loop {
        let mut waiting =
            [PollFd::new(from.as_fd(), PollFlags::POLLIN), PollFd::new(ended.as_fd(), PollFlags::POLLIN)];
        match poll(&mut waiting, PollTimeout::NONE) {
            Err(Errno::EINTR) => continue,
            result => result?,
        };
        let nothing_left = !waiting[0].any().unwrap_or(true);
        if nothing_left {
            return Ok(());
        }
        match from.read(&mut chunk)? {
            0 => return Ok(()),
            read => to.write_all(&chunk[..read])?,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;
    use std::os::unix::net::UnixStream;

    use super::*;

    #[test]
    fn local_sockets_are_told_from_network_ones_and_from_files() {
        let (local, _other) = UnixStream::pair().unwrap();
        assert_eq!(is_socket(local.as_fd()), Kind::Local);
        assert_eq!(is_socket(TcpListener::bind("127.0.0.1:0").unwrap().as_fd()), Kind::Network);
        assert_eq!(is_socket(File::open("/dev/null").unwrap().as_fd()), Kind::NoSocket);
    }

    #[test]
    fn what_was_written_arrives_even_while_somebody_keeps_the_pipe() {
        let (from, mut agent) = io::pipe().unwrap();
        let (mut seen, to) = io::pipe().unwrap();
        let (ended, agent_lives) = io::pipe().unwrap();
        agent.write_all(b"last words").unwrap();
        drop(agent_lives);
        copy_output(from, File::from(OwnedFd::from(to)), &ended).unwrap();
        let mut text = String::new();
        seen.read_to_string(&mut text).unwrap();
        assert_eq!(text, "last words");
        drop(agent);
    }
}
