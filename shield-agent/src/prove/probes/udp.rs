//! UDP and UDP-Lite, by every call that sends a datagram.

use std::net::{Ipv4Addr, SocketAddr};
use std::os::fd::{AsRawFd as _, OwnedFd};

use nix::errno::Errno;

use super::socket::{self, bytes, connect, open, send, send_to, send_to_bytes, set};
use super::{At as _, Attempt, Refused};
use crate::prove::facts::Facts;

/// A nameserver everybody knows.
const NAMESERVER: Ipv4Addr = Ipv4Addr::new(8, 8, 8, 8);
/// Names of the local network.
const MULTICAST: Ipv4Addr = Ipv4Addr::new(224, 0, 0, 251);

pub(in crate::prove) fn connected_v4(facts: &Facts) -> Attempt {
    connected(libc::AF_INET, 0, socket::v4(), facts)
}

pub(in crate::prove) fn connected_v6(facts: &Facts) -> Attempt {
    connected(libc::AF_INET6, 0, socket::v6(), facts)
}

pub(in crate::prove) fn sent_v4(facts: &Facts) -> Attempt {
    sent(libc::AF_INET, 0, socket::v4(), facts)
}

pub(in crate::prove) fn sent_v6(facts: &Facts) -> Attempt {
    sent(libc::AF_INET6, 0, socket::v6(), facts)
}

pub(in crate::prove) fn sent_mapped(facts: &Facts) -> Attempt {
    sent(libc::AF_INET6, 0, socket::mapped(), facts)
}

pub(in crate::prove) fn name_asked(facts: &Facts) -> Attempt {
    sent(libc::AF_INET, 0, SocketAddr::from((NAMESERVER, 53)), facts)
}

pub(in crate::prove) fn multicast(facts: &Facts) -> Attempt {
    sent(libc::AF_INET, 0, SocketAddr::from((MULTICAST, 5353)), facts)
}

pub(in crate::prove) fn broadcast(facts: &Facts) -> Attempt {
    let datagram = datagram(libc::AF_INET, 0)?;
    set(&datagram, libc::SOL_SOCKET, libc::SO_BROADCAST, &1_i32.to_ne_bytes())?;
    send_to(&datagram, facts.secret.as_bytes(), SocketAddr::from((Ipv4Addr::BROADCAST, 9)))
}

pub(in crate::prove) fn lite_connected(facts: &Facts) -> Attempt {
    connected(libc::AF_INET, libc::IPPROTO_UDPLITE, socket::v4(), facts)
}

pub(in crate::prove) fn lite_sent(facts: &Facts) -> Attempt {
    sent(libc::AF_INET, libc::IPPROTO_UDPLITE, socket::v4(), facts)
}

/// An address whose family is left out is taken as IPv4.
pub(in crate::prove) fn sent_unspecified(facts: &Facts) -> Attempt {
    let mut address = bytes(socket::v4());
    address[..2].copy_from_slice(&(libc::AF_UNSPEC as u16).to_ne_bytes());
    send_to_bytes(&datagram(libc::AF_INET, 0)?, facts.secret.as_bytes(), &address, 0)
}

/// Many messages in one call.
pub(in crate::prove) fn sent_many(facts: &Facts) -> Attempt {
    let datagram = datagram(libc::AF_INET, 0)?;
    let mut address = bytes(socket::v4());
    let mut part =
        libc::iovec { iov_base: facts.secret.as_ptr().cast_mut().cast(), iov_len: facts.secret.len() };
    // SAFETY: a header of zeroes is an empty one.
    let mut message: libc::mmsghdr = unsafe { std::mem::zeroed() };
    message.msg_hdr.msg_name = address.as_mut_ptr().cast();
    message.msg_hdr.msg_namelen = address.len() as libc::socklen_t;
    message.msg_hdr.msg_iov = &raw mut part;
    message.msg_hdr.msg_iovlen = 1;
    let mut messages = [message, message];
    // SAFETY: everything the headers point at outlives the call and has the size it says.
    let count = unsafe { libc::sendmmsg(datagram.as_raw_fd(), messages.as_mut_ptr(), 2, 0) };
    Errno::result(count).map(drop).at("sendmmsg")
}

fn datagram(family: i32, protocol: i32) -> Result<OwnedFd, Refused> {
    open(family, libc::SOCK_DGRAM, protocol)
}

fn connected(family: i32, protocol: i32, to: SocketAddr, facts: &Facts) -> Attempt {
    let datagram = datagram(family, protocol)?;
    connect(&datagram, to)?;
    send(&datagram, facts.secret.as_bytes())
}

fn sent(family: i32, protocol: i32, to: SocketAddr, facts: &Facts) -> Attempt {
    send_to(&datagram(family, protocol)?, facts.secret.as_bytes(), to)
}
