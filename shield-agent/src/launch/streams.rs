//! Standard streams: the agent gets the caller's files and pipes, a terminal of its own for a terminal, and a pipe for a
//! socket, which would be a way past the gate.
//!
//! A socket keeps the cgroup it was made in, whoever uses it. A local one (systemd's journal, a supervisor) is relayed
//! by the caller, which stays outside; a network one is refused, by the caller in words and by the launcher in any case.

use std::fs::File;
use std::io::{self, IsTerminal as _, PipeReader, PipeWriter, Read as _, Write as _};
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

/// The caller's threads that copy what the agent writes.
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

    /// What the agent gets: each stream's pipe, else `terminal` for what is one, else what we have.
    pub(super) fn for_the_agent(&self, terminal: Option<&OwnedFd>) -> io::Result<[OwnedFd; 3]> {
        let of = |stream: Stream| {
            let pipe = self.pipes.iter().find(|(piped, ..)| *piped == stream);
            match (pipe, stream.own()) {
                (Some((Stream::Input, reader, _)), _) => reader.as_fd().try_clone_to_owned(),
                (Some((.., writer)), _) => writer.as_fd().try_clone_to_owned(),
                (None, Ok(own)) => match terminal.filter(|_| own.is_terminal()) {
                    Some(terminal) => terminal.try_clone(),
                    None => Ok(own),
                },
                // A closed stream stays empty.
                (None, Err(_)) => File::options().read(true).write(true).open("/dev/null").map(OwnedFd::from),
            }
        };
        Ok([of(Stream::Input)?, of(Stream::Output)?, of(Stream::Error)?])
    }

    /// Once the agent has its ends: copies between our streams and the agent's.
    pub(super) fn relay(self) -> Result<Relays, LaunchError> {
        let failed = || LaunchError::setup("relaying", "standard streams");
        let (ended, agent_lives) = io::pipe().map_err(failed())?;
        let mut outputs = Vec::new();
        for (stream, reader, writer) in self.pipes {
            let ours = File::from(stream.own().map_err(failed())?);
            if stream == Stream::Input {
                drop(reader);
                // Ends with the process: nobody waits for input that may never come.
                thread::spawn(move || copy_input(ours, writer));
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

/// The launcher's look at what a caller sent: whatever it says, only what holds no way out becomes a stream.
///
/// No socket, no directory, through which the caller's view of the host could be walked, and nothing without a type,
/// such as a ring of system calls.
pub(super) fn accept(sent: Vec<OwnedFd>) -> Result<[OwnedFd; 3], LaunchError> {
    let harmless = |stream: &OwnedFd| {
        let kind = fstat(stream).map(|stat| SFlag::from_bits_truncate(stat.st_mode) & SFlag::S_IFMT);
        matches!(kind, Ok(SFlag::S_IFREG | SFlag::S_IFCHR | SFlag::S_IFIFO | SFlag::S_IFBLK))
    };
    let names = [Stream::Input, Stream::Output, Stream::Error].map(Stream::name);
    if let Some((_, name)) = sent.iter().zip(names).find(|(stream, _)| !harmless(stream)) {
        return Err(LaunchError::StrangeStream(name));
    }
    sent.try_into().map_err(|_| LaunchError::StrangeStream("one of three standard streams"))
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

/// Copies piece by piece: `io::copy` would splice, and a splice from a local socket waits for more than there is.
fn copy_input(mut from: File, mut to: PipeWriter) -> io::Result<()> {
    let mut chunk = vec![0; CHUNK];
    loop {
        match from.read(&mut chunk)? {
            0 => return Ok(()),
            read => to.write_all(&chunk[..read])?,
        }
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
    fn a_socket_a_directory_and_a_nameless_thing_never_become_an_agents_stream() {
        let fine = || OwnedFd::from(File::open("/dev/null").unwrap());
        assert!(accept(vec![fine(), fine(), fine()]).is_ok());
        assert!(accept(vec![fine(), fine()]).is_err());
        let counter = nix::sys::eventfd::EventFd::new().unwrap();
        let strange: [OwnedFd; 3] =
            [UnixStream::pair().unwrap().0.into(), File::open("/tmp").unwrap().into(), counter.into()];
        for stream in strange {
            let error = accept(vec![fine(), stream, fine()]).unwrap_err();
            assert!(matches!(error, LaunchError::StrangeStream("standard output")), "{error}");
        }
    }

    #[test]
    fn a_line_of_input_arrives_before_the_next_one_is_typed() {
        let (mut ours, theirs) = UnixStream::pair().unwrap();
        let (agent, to) = io::pipe().unwrap();
        thread::spawn(move || copy_input(File::from(OwnedFd::from(theirs)), to));
        ours.write_all(b"yes\n").unwrap();
        let mut line = [0; 4];
        (&agent).read_exact(&mut line).unwrap();
        assert_eq!(&line, b"yes\n");
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
