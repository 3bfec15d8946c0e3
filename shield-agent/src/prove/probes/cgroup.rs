//! Leaving the gated cgroup, by every door there is. Whoever gets out opens a connection.

use std::fs;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use nix::sys::wait::waitpid;
use nix::unistd::Pid;

use super::{At as _, Attempt, tcp};
use crate::capture::cgroup::cgroup2_mount;
use crate::prove::facts::Facts;

/// A directory to mount over; what is there is not touched.
const MOUNT_POINT: &str = "/mnt";

/// `linux/sched.h`.
const CLONE_INTO_CGROUP: u64 = 0x2_0000_0000;

pub(in crate::prove) fn procs(facts: &Facts) -> Attempt {
    fs::write(facts.outside.join("cgroup.procs"), "0").at("write")?;
    tcp::v4(facts)
}

pub(in crate::prove) fn threads(facts: &Facts) -> Attempt {
    fs::write(facts.outside.join("cgroup.threads"), "0").at("write")?;
    tcp::v4(facts)
}

/// A child that is born outside.
pub(in crate::prove) fn clone_elsewhere(facts: &Facts) -> Attempt {
    let outside = fs::File::open(&facts.outside).at("open")?;
    // SAFETY: arguments of zeroes ask for nothing.
    let mut arguments: libc::clone_args = unsafe { std::mem::zeroed() };
    arguments.flags = CLONE_INTO_CGROUP;
    arguments.exit_signal = libc::SIGCHLD as u64;
    arguments.cgroup = std::os::fd::AsRawFd::as_raw_fd(&outside) as u64;
    let (at, size) = (&raw const arguments, size_of_val(&arguments));
    // SAFETY: like fork: this process has one thread, and the child has its own memory and goes on as it is.
    let child = Errno::result(unsafe { libc::syscall(libc::SYS_clone3, at, size) }).at("clone3")?;
    if child == 0 {
        // What it sent is seen or not; nobody asks how it ended.
        let _ = tcp::v4(facts);
        std::process::exit(0);
    }
    waitpid(Pid::from_raw(child as i32), None).map(drop).at("waitpid")
}

/// Another view of the cgroups, writable and whole.
pub(in crate::prove) fn new_mount(facts: &Facts) -> Attempt {
    // Where this is refused, mounting is too; where it is not, nothing outside sees the mount.
    if unshare(CloneFlags::CLONE_NEWNS).is_ok() {
        let private = MsFlags::MS_REC | MsFlags::MS_PRIVATE;
        mount(None::<&str>, "/", None::<&str>, private, None::<&str>).at("mount")?;
    }
    mount(Some("proof"), MOUNT_POINT, Some("cgroup2"), MsFlags::empty(), None::<&str>).at("mount")?;
    let outside = Path::new(MOUNT_POINT).join(below_the_mount(facts)?);
    fs::write(outside.join("cgroup.procs"), "0").at("write")?;
    tcp::v4(facts)
}

/// The host's view, through a process that has it.
pub(in crate::prove) fn through_proc(facts: &Facts) -> Attempt {
    let root = format!("/proc/{}/root", facts.prover);
    let below = facts.outside.strip_prefix("/").unwrap_or(&facts.outside);
    fs::write(Path::new(&root).join(below).join("cgroup.procs"), "0").at("write")?;
    tcp::v4(facts)
}

fn below_the_mount(facts: &Facts) -> Result<PathBuf, super::Refused> {
    let mount = cgroup2_mount().map_err(|_| Errno::ENOENT).at("open")?;
    let below = facts.outside.strip_prefix(mount).map_err(|_| Errno::ENOENT).at("open")?;
    Ok(below.to_owned())
}
