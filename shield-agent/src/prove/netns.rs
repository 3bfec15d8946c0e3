//! Network namespaces without names: each lives as long as a handle or a process in it, so that nothing is left behind.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::process::CommandExt as _;
use std::process::{Command, Stdio};
use std::thread;

use nix::sched::{CloneFlags, setns, unshare};

/// A network namespace.
#[derive(Debug)]
pub(super) struct Netns {
    handle: OwnedFd,
}

impl Netns {
    /// A new one, with nothing in it.
    pub(super) fn new() -> io::Result<Self> {
        on_a_thread(|| {
            unshare(CloneFlags::CLONE_NEWNET)?;
            Ok(Self { handle: File::open("/proc/thread-self/ns/net")?.into() })
        })
    }

    /// One somebody else made.
    pub(super) fn of(handle: impl Into<OwnedFd>) -> Self {
        Self { handle: handle.into() }
    }

    /// Anybody in it may ping, so that it is not the kernel's default that holds a ping back.
    pub(super) fn let_everybody_ping(&self) -> io::Result<()> {
        self.enter(|| fs::write("/proc/sys/net/ipv4/ping_group_range", "0 2147483647"))
    }

    /// Runs `body` inside, on a thread that ends with it; never outside.
    pub(super) fn enter<T: Send + 'static>(
        &self,
        body: impl FnOnce() -> io::Result<T> + Send + 'static,
    ) -> io::Result<T> {
        let handle = self.handle.try_clone()?;
        on_a_thread(move || {
            setns(&handle, CloneFlags::CLONE_NEWNET)?;
            body()
        })
    }

    /// A command that starts inside.
    pub(super) fn command(&self, program: &str) -> io::Result<Command> {
        let handle = self.handle.try_clone()?;
        let mut command = Command::new(program);
        let enter = move || Ok(setns(&handle, CloneFlags::CLONE_NEWNET)?);
        // SAFETY: between fork and exec the closure calls setns(2) only, which allocates nothing.
        unsafe { command.pre_exec(enter) };
        Ok(command)
    }

    /// Has `ip` do these things inside, one a line.
    pub(super) fn ip(&self, batch: &str) -> io::Result<()> {
        let mut ip = self.command("ip")?;
        ip.args(["-batch", "-"]).stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child = ip.spawn().map_err(|error| {
            io::Error::new(error.kind(), format!("ip could not be started, install iproute2: {error}"))
        })?;
        if let Some(mut stdin) = child.stdin.take() {
            stdin.write_all(batch.as_bytes())?;
        }
        let output = child.wait_with_output()?;
        match output.status.success() {
            true => Ok(()),
            false => Err(io::Error::other(format!("ip: {}", String::from_utf8_lossy(&output.stderr).trim()))),
        }
    }
}

impl AsFd for Netns {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.handle.as_fd()
    }
}

/// A namespace belongs to a thread: one that ends is as good as one that came back.
fn on_a_thread<T: Send + 'static>(body: impl FnOnce() -> io::Result<T> + Send + 'static) -> io::Result<T> {
    thread::spawn(body).join().unwrap_or_else(|_| Err(io::Error::other("a thread of the proof panicked")))
}
