//! Sockets by the bare system calls: every family, kind, option and address, also those no library would let through.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd};

use libc::c_int;
use nix::errno::Errno;

use super::{At as _, Attempt, Refused};

/// Somebody on the internet.
pub(super) const OUTSIDE_V4: Ipv4Addr = Ipv4Addr::new(1, 2, 3, 4);
/// The port of most services there.
pub(super) const PORT: u16 = 443;

/// Somebody on the internet, over IPv4.
pub(super) fn v4() -> SocketAddr {
    SocketAddr::new(IpAddr::V4(OUTSIDE_V4), PORT)
}

/// Somebody on the internet, over IPv6.
pub(super) fn v6() -> SocketAddr {
    SocketAddr::from(([0x2001, 0xdb8, 0, 0, 0, 0, 0, 1], PORT))
}

/// The one over IPv4, spelled as the other.
pub(super) fn mapped() -> SocketAddr {
    SocketAddr::new(IpAddr::V6(OUTSIDE_V4.to_ipv6_mapped()), PORT)
}

/// `socket()`, not waiting for anything.
pub(super) fn open(family: c_int, kind: c_int, protocol: c_int) -> Result<OwnedFd, Refused> {
    // SAFETY: plain numbers.
    let made = unsafe { libc::socket(family, kind | libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK, protocol) };
    let made = Errno::result(made).at("socket")?;
    // SAFETY: the kernel just gave us this descriptor; nobody else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(made) })
}

/// `connect()`; one that is under way has sent what it sends first.
pub(super) fn connect(socket: &OwnedFd, to: SocketAddr) -> Attempt {
    let address = bytes(to);
    let size = address.len() as libc::socklen_t;
    // SAFETY: the address is as long as it says and outlives the call.
    let result = unsafe { libc::connect(socket.as_raw_fd(), address.as_ptr().cast(), size) };
    match Errno::result(result) {
        Err(Errno::EINPROGRESS) => Ok(()),
        result => result.map(drop).at("connect"),
    }
}

/// `bind()`.
pub(super) fn bind(socket: &OwnedFd, to: SocketAddr) -> Attempt {
    let address = bytes(to);
    let size = address.len() as libc::socklen_t;
    // SAFETY: the address is as long as it says and outlives the call.
    let result = unsafe { libc::bind(socket.as_raw_fd(), address.as_ptr().cast(), size) };
    Errno::result(result).map(drop).at("bind")
}

/// `send()` on a connected socket.
pub(super) fn send(socket: &OwnedFd, what: &[u8]) -> Attempt {
    nix::sys::socket::send(socket.as_raw_fd(), what, nix::sys::socket::MsgFlags::MSG_NOSIGNAL)
        .map(drop)
        .at("send")
}

/// `sendto()`.
pub(super) fn send_to(socket: &OwnedFd, what: &[u8], to: SocketAddr) -> Attempt {
    send_to_bytes(socket, what, &bytes(to), 0)
}

/// `sendto()` with an address of any shape; one that is under way has sent what it sends first.
pub(super) fn send_to_bytes(socket: &OwnedFd, what: &[u8], to: &[u8], flags: c_int) -> Attempt {
    let (at, size) = (to.as_ptr().cast(), to.len() as libc::socklen_t);
    // SAFETY: both buffers are as long as they say and outlive the call.
    let sent = unsafe { libc::sendto(socket.as_raw_fd(), what.as_ptr().cast(), what.len(), flags, at, size) };
    match Errno::result(sent) {
        Err(Errno::EINPROGRESS) => Ok(()),
        result => result.map(drop).at("sendto"),
    }
}

/// `sendmsg()` with one control message.
pub(super) fn send_with(socket: &OwnedFd, what: &[u8], to: SocketAddr, control: &Control<'_>) -> Attempt {
    let mut address = bytes(to);
    let mut part = libc::iovec { iov_base: what.as_ptr().cast_mut().cast(), iov_len: what.len() };
    let mut room = control.bytes();
    // SAFETY: a header of zeroes is an empty one.
    let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
    message.msg_name = address.as_mut_ptr().cast();
    message.msg_namelen = address.len() as libc::socklen_t;
    message.msg_iov = &raw mut part;
    message.msg_iovlen = 1;
    message.msg_control = room.as_mut_ptr().cast();
    message.msg_controllen = room.len();
    // SAFETY: everything the header points at outlives the call and has the size it says.
    let sent = unsafe { libc::sendmsg(socket.as_raw_fd(), &raw const message, 0) };
    Errno::result(sent).map(drop).at("sendmsg")
}

/// A control message.
pub(super) struct Control<'a> {
    pub(super) level: c_int,
    pub(super) kind: c_int,
    pub(super) data: &'a [u8],
}

impl Control<'_> {
    /// As `struct cmsghdr` and what follows it, padded.
    fn bytes(&self) -> Vec<u8> {
        let head = size_of::<libc::cmsghdr>();
        let size = (head + self.data.len()).to_ne_bytes();
        let mut bytes = [&size[..], &self.level.to_ne_bytes(), &self.kind.to_ne_bytes(), self.data].concat();
        bytes.resize(bytes.len().next_multiple_of(size_of::<usize>()), 0);
        bytes
    }
}

/// `setsockopt()`.
pub(super) fn set(socket: &OwnedFd, level: c_int, name: c_int, value: &[u8]) -> Attempt {
    let (at, size) = (value.as_ptr().cast(), value.len() as libc::socklen_t);
    // SAFETY: the value is as long as it says and outlives the call.
    let result = unsafe { libc::setsockopt(socket.as_raw_fd(), level, name, at, size) };
    Errno::result(result).map(drop).at("setsockopt")
}

/// An address as the kernel reads it.
pub(super) fn bytes(address: SocketAddr) -> Vec<u8> {
    let port = address.port().to_be_bytes();
    match address.ip() {
        IpAddr::V4(ip) => {
            let family = (libc::AF_INET as u16).to_ne_bytes();
            [&family[..], &port, &ip.octets(), &[0; 8]].concat()
        }
        IpAddr::V6(ip) => {
            let family = (libc::AF_INET6 as u16).to_ne_bytes();
            [&family[..], &port, &[0; 4], &ip.octets(), &[0; 4]].concat()
        }
    }
}
