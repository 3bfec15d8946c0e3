//! A terminal of the agent's own, relayed to the caller's: what the agent does to it stays there.
//!
//! It is never the caller's terminal itself, so the agent can type nothing into the shell that started it and changes
//! no mode that would outlive it.

use std::fs::File;
use std::io::{self, IsTerminal as _, Read as _, Write as _};
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd, OwnedFd};

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::pty::{OpenptyResult, openpty};
use nix::sys::termios::{LocalFlags, OutputFlags, SetArg, Termios, cfmakeraw, tcgetattr, tcsetattr};

/// Bytes copied at a time.
const CHUNK: usize = 16 << 10;

/// How long the last words of an agent whose terminal somebody keeps may take to arrive, in milliseconds.
const LAST_WORDS_MS: u16 = 100;

/// End of input, as a terminal types it.
const END_OF_INPUT: u8 = 4;

/// The agent's terminal, seen from ours.
#[derive(Debug)]
pub(super) struct Terminal {
    master: File,
    /// Until it is handed over.
    agents: Option<OwnedFd>,
    /// Ours, where it is read, and where it is written.
    input: Option<File>,
    output: File,
    /// How ours was before it was made to pass on every key; while it is.
    before: Option<Termios>,
    /// Whether every key is to be passed on: not in a pipeline, where another program reads the terminal too.
    raw: bool,
    /// Typed and not taken by the agent yet.
    pending: Vec<u8>,
    /// Whether the agent's side is open.
    open: bool,
}

impl Terminal {
    /// One for the agent, like the caller's; `None` when no standard stream is a terminal.
    pub(super) fn open() -> io::Result<Option<Self>> {
        let (stdin, stdout, stderr) = (io::stdin(), io::stdout(), io::stderr());
        let output = match (stdout.is_terminal(), stderr.is_terminal(), stdin.is_terminal()) {
            (true, ..) => stdout.as_fd().try_clone_to_owned()?,
            (_, true, _) => stderr.as_fd().try_clone_to_owned()?,
            (.., true) => stdin.as_fd().try_clone_to_owned()?,
            _ => return Ok(None),
        };
        let mut modes = tcgetattr(&output)?;
        let raw = stdin.is_terminal() && stdout.is_terminal();
        if !raw {
            // Ours shows what is typed and ends lines already.
            modes.local_flags.remove(LocalFlags::ECHO);
            modes.output_flags.remove(OutputFlags::OPOST);
        }
        let OpenptyResult { master, slave } = openpty(&size(output.as_fd()), Some(&modes))?;
        for end in [&master, &slave] {
            fcntl(end, FcntlArg::F_SETFD(nix::fcntl::FdFlag::FD_CLOEXEC))?;
        }
        fcntl(&master, FcntlArg::F_SETFL(OFlag::O_NONBLOCK | OFlag::O_RDWR))?;
        let input = if stdin.is_terminal() { Some(stdin.as_fd().try_clone_to_owned()?.into()) } else { None };
        Ok(Some(Self {
            master: master.into(),
            agents: Some(slave),
            input,
            output: output.into(),
            before: None,
            raw,
            pending: Vec::new(),
            open: true,
        }))
    }

    /// The agent's side; only the agent has it afterwards.
    pub(super) fn take_agents(&mut self) -> Option<OwnedFd> {
        self.agents.take()
    }

    /// What there is to wait for: the agent's output, room for its input, and what is typed.
    pub(super) fn awaited(&self) -> Vec<PollFd<'_>> {
        let mut events = PollFlags::POLLIN;
        events.set(PollFlags::POLLOUT, !self.pending.is_empty());
        let mut awaited = Vec::new();
        if self.open {
            awaited.push(PollFd::new(self.master.as_fd(), events));
            let input = self.input.as_ref().filter(|_| self.pending.is_empty() && self.is_in_front());
            awaited.extend(input.map(|input| PollFd::new(input.as_fd(), PollFlags::POLLIN)));
        }
        awaited
    }

    /// Passes on whatever is there, either way, without waiting.
    pub(super) fn relay(&mut self) -> io::Result<()> {
        self.take_typed()?;
        self.give_typed();
        if self.open {
            self.show()?;
        }
        Ok(())
    }

    /// Shows the last words of an agent that has ended: until its terminal is closed, or silent for a moment when
    /// something it left behind keeps it.
    pub(super) fn finish(mut self) -> io::Result<()> {
        while self.open {
            let mut output = [PollFd::new(self.master.as_fd(), PollFlags::POLLIN)];
            match poll(&mut output, PollTimeout::from(LAST_WORDS_MS)) {
                Ok(0) => break,
                Ok(_) => drop(self.show()?),
                Err(Errno::EINTR) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
        Ok(())
    }

    /// Has every key reach the agent, Ctrl-C included, as long as we are the terminal's foreground.
    pub(super) fn pass_keys_on(&mut self) -> io::Result<()> {
        if self.raw && self.before.is_none() && self.is_in_front() {
            let before = tcgetattr(&self.output)?;
            let mut raw = before.clone();
            cfmakeraw(&mut raw);
            tcsetattr(&self.output, SetArg::TCSADRAIN, &raw)?;
            self.before = Some(before);
        }
        Ok(())
    }

    /// Gives the terminal back as it was.
    pub(super) fn restore(&mut self) {
        if let Some(before) = self.before.take() {
            // A terminal that is gone needs no modes.
            let _ = tcsetattr(&self.output, SetArg::TCSADRAIN, &before);
        }
    }

    /// Makes the agent's as large as ours; the kernel tells the agent.
    pub(super) fn copy_size(&self) {
        let size = size(self.output.as_fd());
        // SAFETY: the call reads a `winsize` that outlives it. A terminal that is gone has no size.
        let _ = unsafe { libc::ioctl(self.master.as_raw_fd(), libc::TIOCSWINSZ, &raw const size) };
    }

    fn is_in_front(&self) -> bool {
        nix::unistd::tcgetpgrp(&self.output) == Ok(nix::unistd::getpgrp())
    }

    fn take_typed(&mut self) -> io::Result<()> {
        let takes = self.pending.is_empty() && self.is_in_front();
        let Some(input) = self.input.as_mut().filter(|_| takes) else { return Ok(()) };
        if poll(&mut [PollFd::new(input.as_fd(), PollFlags::POLLIN)], PollTimeout::ZERO)? == 0 {
            return Ok(());
        }
        let mut chunk = vec![0; CHUNK];
        match input.read(&mut chunk) {
            Ok(0) => self.pending.push(END_OF_INPUT),
            Ok(read) => self.pending.extend(&chunk[..read]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            // It was hung up.
            Err(_) => self.input = None,
        }
        Ok(())
    }

    fn give_typed(&mut self) {
        if !self.pending.is_empty() {
            // An agent that reads nothing has to wait; one that closed its terminal will be seen to have.
            let taken = self.master.write(&self.pending).unwrap_or(0);
            self.pending.drain(..taken);
        }
    }

    /// Shows a piece of the agent's output; whether there was one.
    fn show(&mut self) -> io::Result<bool> {
        let mut chunk = vec![0; CHUNK];
        match self.master.read(&mut chunk) {
            Ok(0) => self.open = false,
            Ok(read) => {
                self.output.write_all(&chunk[..read])?;
                return Ok(true);
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) if error.kind() == io::ErrorKind::Interrupted => return Ok(true),
            // All of the agent's ends are closed.
            Err(error) if error.raw_os_error() == Some(libc::EIO) => self.open = false,
            Err(error) => return Err(error),
        }
        Ok(false)
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        self.restore();
    }
}

/// A terminal's size; none when it will not say.
fn size(terminal: BorrowedFd<'_>) -> libc::winsize {
    let mut size = libc::winsize { ws_row: 0, ws_col: 0, ws_xpixel: 0, ws_ypixel: 0 };
    // SAFETY: the call fills a `winsize` that outlives it; on failure it stays empty.
    let _ = unsafe { libc::ioctl(terminal.as_raw_fd(), libc::TIOCGWINSZ, &raw mut size) };
    size
}
