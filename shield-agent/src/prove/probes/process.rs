//! Processes of the agent's user that no gate covers: their sockets and their memory.

use std::fs::File;
use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd};
use std::os::unix::fs::FileExt as _;

use nix::errno::Errno;
use nix::sys::ptrace;
use nix::sys::wait::waitpid;
use nix::unistd::Pid;

use super::{At as _, Attempt, Refused, socket};
use crate::prove::facts::Facts;

pub(in crate::prove) fn steal_socket(facts: &Facts) -> Attempt {
    let neighbour = &facts.neighbour;
    let process = descriptor("pidfd_open", [libc::SYS_pidfd_open, neighbour.pid.into(), 0, 0])?;
    let steal = [libc::SYS_pidfd_getfd, process.as_raw_fd().into(), neighbour.socket.into(), 0];
    socket::send(&descriptor("pidfd_getfd", steal)?, facts.secret.as_bytes())
}

/// Writes into its memory, a word at a time, what it sends next.
pub(in crate::prove) fn trace(facts: &Facts) -> Attempt {
    let pid = Pid::from_raw(facts.neighbour.pid);
    ptrace::attach(pid).at("ptrace")?;
    waitpid(pid, None).at("waitpid")?;
    for (index, word) in facts.secret.as_bytes().chunks_exact(size_of::<libc::c_long>()).enumerate() {
        let place = facts.neighbour.words + (index * size_of::<libc::c_long>()) as u64;
        let word = libc::c_long::from_ne_bytes(word.try_into().expect("chunks have this size"));
        ptrace::write(pid, place as ptrace::AddressType, word).at("ptrace")?;
    }
    ptrace::detach(pid, None).at("ptrace")
}

pub(in crate::prove) fn write_memory(facts: &Facts) -> Attempt {
    let memory = File::options().write(true).open(format!("/proc/{}/mem", facts.neighbour.pid)).at("open")?;
    memory.write_all_at(facts.secret.as_bytes(), facts.neighbour.words).at("write")
}

/// A call of four numbers that gives a descriptor.
fn descriptor(call: &'static str, [number, a, b, c]: [libc::c_long; 4]) -> Result<OwnedFd, Refused> {
    // SAFETY: plain numbers.
    let made = Errno::result(unsafe { libc::syscall(number, a, b, c) }).at(call)?;
    let made = i32::try_from(made).map_err(|_| Errno::EBADF).at(call)?;
    // SAFETY: the kernel just gave us this descriptor; nobody else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(made) })
}
