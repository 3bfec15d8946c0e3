//! Calls that cannot succeed, and how they are answered: a filter of system calls answers before the kernel looks at
//! the arguments, so its answer to a hollow call differs from the kernel's.

use std::collections::BTreeMap;

use libc::c_long;
use nix::errno::Errno;

/// Name, number and impossible arguments of each call. None of them has an effect anywhere.
const CALLS: [(&str, [c_long; 4]); 7] = [
    ("socket", [libc::SYS_socket, libc::AF_VSOCK as c_long, -1, 0]),
    ("io_uring_setup", [libc::SYS_io_uring_setup, 0, 0, 0]),
    ("bpf", [libc::SYS_bpf, -1, 0, 0]),
    ("setns", [libc::SYS_setns, -1, 0, 0]),
    ("mount", [libc::SYS_mount, 0, 0, 0]),
    ("ptrace", [libc::SYS_ptrace, -1, 0, 0]),
    ("pidfd_getfd", [libc::SYS_pidfd_getfd, -1, -1, 0]),
];

/// Error number by call.
pub(in crate::prove) fn answers() -> BTreeMap<String, i32> {
    let answer = |(name, [number, a, b, c]): (&str, [c_long; 4])| {
        // SAFETY: descriptors, families, commands and addresses that do not exist: the kernel refuses them all.
        let result = unsafe { libc::syscall(number, a, b, c, 0, 0) };
        (name.to_owned(), Errno::result(result).err().map_or(0, |errno| errno as i32))
    };
    CALLS.into_iter().map(answer).collect()
}
