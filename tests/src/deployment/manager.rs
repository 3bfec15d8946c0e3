//! A service manager as far as the daemon can tell: keeps the descriptors it is sent, and hands them to the next daemon.

use std::io::IoSliceMut;
use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd, RawFd};
use std::os::unix::net::UnixDatagram;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use anyhow::{Context as _, Result};
use nix::fcntl::{FcntlArg, fcntl};
use nix::sys::socket::{ControlMessageOwned, MsgFlags, recvmsg};

use crate::netns::Netns;

/// Descriptors are passed from this one on.
const FIRST: RawFd = 3;
/// Above every number descriptors are passed as.
const OUT_OF_THE_WAY: RawFd = 500;
/// Most descriptors one message brings.
const MOST: usize = 253;

type Store = Arc<Mutex<Vec<(String, OwnedFd)>>>;

/// See the module. Its thread lives as long as the tests run.
#[derive(Debug)]
pub(super) struct ServiceManager {
    socket: PathBuf,
    store: Store,
}

impl ServiceManager {
    pub(super) fn start(dir: &Path) -> Result<Self> {
        let (socket, store) = (dir.join("notify"), Store::default());
        let listener =
            UnixDatagram::bind(&socket).context("cannot bind the socket of the service manager")?;
        let kept = store.clone();
        std::thread::spawn(move || while hear(&listener, &kept).is_ok() {});
        Ok(Self { socket, store })
    }

    pub(super) fn kept(&self) -> usize {
        lock(&self.store).len()
    }

    /// A command that becomes `program`, with everything that is kept.
    pub(super) fn command(&self, place: &Netns, program: &Path) -> Command {
        let store = lock(&self.store);
        let copy = |(_, kept): &(String, OwnedFd)| {
            let copy =
                fcntl(kept, FcntlArg::F_DUPFD_CLOEXEC(OUT_OF_THE_WAY)).expect("a descriptor can be copied");
            // SAFETY: the call just made it; nobody else owns it.
            unsafe { OwnedFd::from_raw_fd(copy) }
        };
        let copies: Vec<OwnedFd> = store.iter().map(copy).collect();
        let names: Vec<&str> = store.iter().map(|(name, _)| name.as_str()).collect();
        let mut command = place.command("sh");
        // Only after it was started is its number known.
        command.args(["-c", r#"LISTEN_PID=$$ exec "$0" "$@""#]).arg(program);
        command.env("NOTIFY_SOCKET", &self.socket);
        command.env("LISTEN_FDS", copies.len().to_string()).env("LISTEN_FDNAMES", names.join(":"));
        // SAFETY: between fork and exec the closure calls dup2(2) only, which is async-signal-safe and allocates nothing.
        unsafe {
            command.pre_exec(move || {
                for (number, copy) in (FIRST..).zip(&copies) {
                    if libc::dup2(copy.as_raw_fd(), number) < 0 {
                        return Err(std::io::Error::last_os_error());
                    }
                }
                Ok(())
            });
        }
        command
    }
}

fn hear(listener: &UnixDatagram, store: &Store) -> Result<()> {
    let mut text = [0; 4096];
    let mut space = nix::cmsg_space!([RawFd; MOST]);
    let mut parts = [IoSliceMut::new(&mut text)];
    let heard =
        recvmsg::<()>(listener.as_raw_fd(), &mut parts, Some(&mut space), MsgFlags::MSG_CMSG_CLOEXEC)?;
    let mut sockets = Vec::new();
    for message in heard.cmsgs()? {
        if let ControlMessageOwned::ScmRights(descriptors) = message {
            // SAFETY: they were just installed for us; nobody else owns them.
            sockets.extend(descriptors.into_iter().map(|it| unsafe { OwnedFd::from_raw_fd(it) }));
        }
    }
    let size = heard.bytes;
    let text = String::from_utf8_lossy(&text[..size]).into_owned();
    let name = text.lines().find_map(|line| line.strip_prefix("FDNAME=")).unwrap_or("stored").to_owned();
    let mut store = lock(store);
    if text.contains("FDSTOREREMOVE=1") || text.contains("FDSTORE=1") {
        // The real one recognises what it has already; this one takes the newer.
        store.retain(|(kept, _)| *kept != name);
    }
    if text.contains("FDSTORE=1") {
        store.extend(sockets.into_iter().map(|socket| (name.clone(), socket)));
    }
    Ok(())
}

fn lock(store: &Store) -> MutexGuard<'_, Vec<(String, OwnedFd)>> {
    store.lock().unwrap_or_else(PoisonError::into_inner)
}
