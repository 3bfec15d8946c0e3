//! Packets the agent writes itself, header and all.

use std::net::{Ipv4Addr, SocketAddr};
use std::os::fd::AsRawFd as _;

use nix::errno::Errno;

use super::socket::{OUTSIDE_V4, PORT, connect, open, send_to, set};
use super::{At as _, Attempt};
use crate::prove::facts::Facts;
use crate::prove::wire::{DEVICE, NEAR_MAC, NEAR_V4};

/// Of experiments.
const ETHERTYPE: [u8; 2] = [0x88, 0xb5];
const SOL_PACKET: i32 = 263;
const PACKET_QDISC_BYPASS: i32 = 20;

pub(in crate::prove) fn icmp(facts: &Facts) -> Attempt {
    let raw = open(libc::AF_INET, libc::SOCK_RAW, libc::IPPROTO_ICMP)?;
    send_to(&raw, &echo(facts), SocketAddr::from((OUTSIDE_V4, 0)))
}

/// The kernel sums up the header of a ping itself.
pub(in crate::prove) fn ping(facts: &Facts) -> Attempt {
    let ping = open(libc::AF_INET, libc::SOCK_DGRAM, libc::IPPROTO_ICMP)?;
    connect(&ping, SocketAddr::from((OUTSIDE_V4, 0)))?;
    super::socket::send(&ping, &echo(facts))
}

pub(in crate::prove) fn own_headers(facts: &Facts) -> Attempt {
    let raw = open(libc::AF_INET, libc::SOCK_RAW, libc::IPPROTO_RAW)?;
    send_to(&raw, &datagram(NEAR_V4, facts), SocketAddr::from((OUTSIDE_V4, 0)))
}

pub(in crate::prove) fn packet(facts: &Facts) -> Attempt {
    frame(facts, false)
}

pub(in crate::prove) fn packet_past_the_queues(facts: &Facts) -> Attempt {
    frame(facts, true)
}

fn frame(facts: &Facts, past_the_queues: bool) -> Attempt {
    let wire = open(libc::AF_PACKET, libc::SOCK_RAW, 0)?;
    let index = nix::net::if_::if_nametoindex(DEVICE).at("if_nametoindex")?;
    if past_the_queues {
        set(&wire, SOL_PACKET, PACKET_QDISC_BYPASS, &1_i32.to_ne_bytes())?;
    }
    // SAFETY: an address of zeroes is valid; what matters is set below.
    let mut to: libc::sockaddr_ll = unsafe { std::mem::zeroed() };
    to.sll_family = libc::AF_PACKET as u16;
    to.sll_ifindex = index.cast_signed();
    to.sll_halen = 6;
    to.sll_addr[..6].fill(0xff);
    let frame = [&[0xff; 6][..], &NEAR_MAC, &ETHERTYPE, facts.secret.as_bytes(), &[0; 46]].concat();
    let (at, size) = ((&raw const to).cast(), size_of_val(&to) as libc::socklen_t);
    // SAFETY: frame and address are as long as they say and outlive the call.
    let sent = unsafe { libc::sendto(wire.as_raw_fd(), frame.as_ptr().cast(), frame.len(), 0, at, size) };
    Errno::result(sent).map(drop).at("sendto")
}

/// A UDP datagram with its IP header, from an address of choice. The kernel fills in the sums.
pub(super) fn datagram(from: Ipv4Addr, facts: &Facts) -> Vec<u8> {
    let secret = facts.secret.as_bytes();
    let length = (8 + secret.len()) as u16;
    let ports = [1_u16.to_be_bytes(), PORT.to_be_bytes(), length.to_be_bytes(), [0, 0]].concat();
    let total = (20 + length).to_be_bytes();
    let mut head = [&[0x45, 0][..], &total, &[0, 1, 0, 0, 64, 17, 0, 0], &from.octets()].concat();
    head.extend(OUTSIDE_V4.octets());
    let sum = checksum(&head).to_be_bytes();
    head[10..12].copy_from_slice(&sum);
    [head, ports, secret.to_vec()].concat()
}

fn echo(facts: &Facts) -> Vec<u8> {
    let mut echo = [&[8, 0, 0, 0, 0, 1, 0, 1][..], facts.secret.as_bytes()].concat();
    let sum = checksum(&echo).to_be_bytes();
    echo[2..4].copy_from_slice(&sum);
    echo
}

/// The internet's sum, over an even number of bytes.
fn checksum(data: &[u8]) -> u16 {
    let words = data.chunks_exact(2).map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]])));
    let mut sum: u32 = words.sum();
    while sum >> 16 != 0 {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}
