//! Network namespaces without names: each lives as long as a handle or a process in it, so that nothing is left
//! behind, however a test ends.

use std::fs::File;
use std::os::fd::{AsFd, AsRawFd as _, OwnedFd};
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::Command;
use std::thread;

use anyhow::{Context as _, Result, bail};
use nix::sched::{CloneFlags, setns, unshare};

/// A network namespace.
#[derive(Debug)]
pub struct Netns {
    handle: OwnedFd,
}

impl Netns {
    /// A new namespace with its loopback up and nothing else.
    pub fn new() -> Result<Self> {
        let made = thread::spawn(|| -> Result<Self> {
            unshare(CloneFlags::CLONE_NEWNET).context("cannot make a network namespace: root is needed")?;
            Self::current()
        });
        let netns = made.join().expect("making a namespace does not panic")?;
        netns.ip(&["link", "set", "lo", "up"])?;
        Ok(netns)
    }

    /// The namespace this thread is in.
    pub fn current() -> Result<Self> {
        let file = File::open("/proc/thread-self/ns/net").context("cannot open this thread's namespace")?;
        Ok(Self { handle: file.into() })
    }

    /// Runs `body` on a thread of its own inside the namespace.
    pub fn enter<T: Send + 'static>(
        &self,
        body: impl FnOnce() -> T + Send + 'static,
    ) -> Result<thread::JoinHandle<T>> {
        let handle = self.handle.try_clone().context("cannot copy the handle of a namespace")?;
        let (entered, result) = std::sync::mpsc::channel();
        let thread = thread::spawn(move || {
            let outcome = setns(&handle, CloneFlags::CLONE_NEWNET);
            let inside = outcome.is_ok();
            // The other end waits for exactly this message.
            let _ = entered.send(outcome);
            assert!(inside, "never run outside the namespace meant");
            body()
        });
        result.recv().context("the thread died")?.context("cannot enter the namespace")?;
        Ok(thread)
    }

    /// A command that starts inside the namespace.
    pub fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new(program);
        let handle = self.handle.try_clone().expect("a handle can be copied");
        // SAFETY: between fork and exec the closure calls setns(2) only, which is async-signal-safe and allocates nothing.
        unsafe {
            command.pre_exec(move || Ok(setns(&handle, CloneFlags::CLONE_NEWNET)?));
        }
        command
    }

    /// Runs `ip` inside the namespace.
    pub fn ip(&self, arguments: &[&str]) -> Result<()> {
        let output =
            self.command("ip").args(arguments).output().context("cannot start ip: install iproute2")?;
        if !output.status.success() {
            bail!("ip {}: {}", arguments.join(" "), String::from_utf8_lossy(&output.stderr).trim());
        }
        Ok(())
    }

    /// Joins this namespace with another by a pair of interfaces, each with its addresses (`a.b.c.d/len`).
    pub fn join(&self, (name, addresses): Interface<'_>, other: &Self, theirs: Interface<'_>) -> Result<()> {
        let place = other.path();
        let place = place.to_str().expect("a path of digits");
        self.ip(&["link", "add", name, "type", "veth", "peer", "name", theirs.0, "netns", place])?;
        self.raise((name, addresses))?;
        other.raise(theirs)
    }

    fn raise(&self, (name, addresses): Interface<'_>) -> Result<()> {
        for address in addresses {
            // Without duplicate address detection an IPv6 address can be used at once.
            let flags: &[&str] = if address.contains(':') { &["nodad"] } else { &[] };
            self.ip(&[&["address", "add", address, "dev", name], flags].concat())?;
        }
        self.ip(&["link", "set", name, "up"])
    }

    fn path(&self) -> PathBuf {
        format!("/proc/{}/fd/{}", std::process::id(), self.handle.as_raw_fd()).into()
    }
}

impl AsFd for Netns {
    fn as_fd(&self) -> std::os::fd::BorrowedFd<'_> {
        self.handle.as_fd()
    }
}

/// An interface's name and addresses.
pub type Interface<'a> = (&'a str, &'a [&'a str]);
