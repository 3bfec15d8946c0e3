//! The same by a ring: the kernel makes the calls, so that no filter of system calls sees them.

use io_uring::{IoUring, opcode, squeue, types};

use super::{At as _, Attempt, Refused, socket};
use crate::prove::facts::Facts;

/// Entries of a ring.
const ENTRIES: u32 = 8;
/// How long the kernel's thread looks for entries before it sleeps.
const IDLE_MS: u32 = 100;

pub(in crate::prove) fn connect(_: &Facts) -> Attempt {
    open_and_connect(&mut IoUring::new(ENTRIES).at("io_uring_setup")?)
}

pub(in crate::prove) fn connect_by_kernel_thread(_: &Facts) -> Attempt {
    let ring = IoUring::builder().setup_sqpoll(IDLE_MS).build(ENTRIES);
    open_and_connect(&mut ring.at("io_uring_setup")?)
}

pub(in crate::prove) fn send(facts: &Facts) -> Attempt {
    let mut ring = IoUring::new(ENTRIES).at("io_uring_setup")?;
    let made = opcode::Socket::new(libc::AF_INET, libc::SOCK_DGRAM, 0).build();
    let datagram = types::Fd(perform(&mut ring, &made, "io_uring socket")?);
    let (address, secret) = (socket::bytes(socket::v4()), facts.secret.as_bytes());
    let send = opcode::Send::new(datagram, secret.as_ptr(), secret.len() as u32)
        .dest_addr(address.as_ptr().cast())
        .dest_addr_len(address.len() as libc::socklen_t);
    perform(&mut ring, &send.build(), "io_uring send").map(drop)
}

fn open_and_connect(ring: &mut IoUring) -> Attempt {
    let made = opcode::Socket::new(libc::AF_INET, libc::SOCK_STREAM | libc::SOCK_NONBLOCK, 0).build();
    let stream = types::Fd(perform(ring, &made, "io_uring socket")?);
    let address = socket::bytes(socket::v4());
    let size = address.len() as libc::socklen_t;
    let connect = opcode::Connect::new(stream, address.as_ptr().cast(), size).build();
    match perform(ring, &connect, "io_uring connect") {
        // In the control world nobody listens there: the refusal came over the wire.
        Err(Refused { errno: libc::EINPROGRESS, .. }) => Ok(()),
        result => result.map(drop),
    }
}

/// Has the kernel do one operation, and gives its result.
fn perform(ring: &mut IoUring, operation: &squeue::Entry, name: &'static str) -> Result<i32, Refused> {
    // SAFETY: what the operation points at outlives this function, which waits for it.
    unsafe { ring.submission().push(operation) }.map_err(std::io::Error::other).at(name)?;
    ring.submit_and_wait(1).at(name)?;
    let done = ring.completion().next().ok_or_else(|| std::io::Error::other("no result")).at(name)?;
    match done.result() {
        result if result < 0 => Err(Refused { call: name, errno: -result }),
        result => Ok(result),
    }
}
