//! Sockets of other processes, and the network namespaces they live in.

use std::fs::{self, File};
use std::io;
use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd};
use std::os::unix::fs::MetadataExt as _;

use anyhow::{Context as _, Result};
use nix::unistd::Pid;

const SIOCGSKNS: libc::Ioctl = 0x894c;

/// How many sockets `pid` has outside the network namespace it runs in.
pub fn abroad(pid: Pid) -> Result<usize> {
    let home = fs::metadata(format!("/proc/{pid}/ns/net")).context("the process has ended")?.ino();
    let process = call(libc::SYS_pidfd_open, [pid.as_raw().into(), 0, 0]).context("the process has ended")?;
    let mut abroad = 0;
    for entry in fs::read_dir(format!("/proc/{pid}/fd"))? {
        let number = entry?.file_name().to_string_lossy().parse()?;
        // What was closed since the listing is no socket any more.
        let Ok(copy) = call(libc::SYS_pidfd_getfd, [process.as_raw_fd().into(), number, 0]) else { continue };
        // What is not a socket has no network namespace.
        let Ok(netns) = netns_of(&copy) else { continue };
        abroad += usize::from(File::from(netns).metadata()?.ino() != home);
    }
    Ok(abroad)
}

fn netns_of(socket: &OwnedFd) -> io::Result<OwnedFd> {
    // SAFETY: the request takes no argument and returns a new descriptor.
    owned(unsafe { libc::ioctl(socket.as_raw_fd(), SIOCGSKNS) }.into())
}

fn call(number: libc::c_long, [first, second, third]: [libc::c_long; 3]) -> io::Result<OwnedFd> {
    // SAFETY: both calls made with this take plain numbers and return a new descriptor.
    owned(unsafe { libc::syscall(number, first, second, third) })
}

fn owned(descriptor: libc::c_long) -> io::Result<OwnedFd> {
    if descriptor < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel has just made it; nothing else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(i32::try_from(descriptor).map_err(io::Error::other)?) })
}
