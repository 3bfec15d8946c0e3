//! The oracle: every frame that comes out at the far end of the wire. What a system call answered proves nothing; what
//! arrives here has left.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, UdpSocket};
use std::os::fd::{AsRawFd as _, OwnedFd};

use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, recv, setsockopt, socket, sockopt,
};
use nix::sys::time::TimeVal;

use super::netns::Netns;
use super::wire::{FAR_MAC, FAR_V4, NEAR_MAC};

/// Port markers are sent to, and whatever somebody sends for the agent.
const MARKER_PORT: u16 = 9;
/// What every marker begins with.
const MARKER: &[u8] = b"marker ";
/// A marker arrives within microseconds: longer than this and the wire is broken.
const PATIENCE: TimeVal = TimeVal::new(5, 0);
const MAX_FRAME: usize = 2048;
/// Frames the kernel keeps until they are read, bytes.
const BUFFER: usize = 4 << 20;

/// A sniffer at the far end, and the marks that tell one attempt's frames from the next one's.
#[derive(Debug)]
pub(super) struct Sniffer {
    wire: OwnedFd,
    marks: UdpSocket,
    // Nobody reads it: without it every mark would be answered by an error.
    _sink: UdpSocket,
    number: u64,
}

impl Sniffer {
    /// Listens at the far end from now on.
    pub(super) fn start(near: &Netns, far: &Netns) -> io::Result<Self> {
        let wire = far.enter(|| {
            let kind = (SockType::Raw, SockFlag::SOCK_CLOEXEC, SockProtocol::EthAll);
            Ok(socket(AddressFamily::Packet, kind.0, kind.1, kind.2)?)
        })?;
        setsockopt(&wire, sockopt::RcvBuf, &BUFFER)?;
        setsockopt(&wire, sockopt::ReceiveTimeout, &PATIENCE)?;
        let marks = near.enter(|| {
            let socket = UdpSocket::bind("0.0.0.0:0")?;
            socket.connect((FAR_V4, MARKER_PORT))?;
            Ok(socket)
        })?;
        let sink = far.enter(|| UdpSocket::bind(("0.0.0.0", MARKER_PORT)))?;
        Ok(Self { wire, marks, _sink: sink, number: 0 })
    }

    /// A socket in the agent's namespace and outside its gate: whoever acts for the agent sends through it.
    pub(super) fn relay(&self) -> io::Result<UdpSocket> {
        self.marks.try_clone()
    }

    /// What left since the last call, described: frames from the agent's end, and any that carry `secret`.
    pub(super) fn left(&mut self, secret: &str) -> io::Result<Vec<String>> {
        self.number += 1;
        let marker = [MARKER, self.number.to_string().as_bytes(), b"."].concat();
        self.marks.send(&marker)?;
        let mut left = Vec::new();
        let mut buffer = [0; MAX_FRAME];
        loop {
            let size = match recv(self.wire.as_raw_fd(), &mut buffer, MsgFlags::empty()) {
                Ok(size) => size,
                Err(Errno::EINTR) => continue,
                Err(Errno::EAGAIN) => return Err(io::Error::other("the sniffer hears nothing")),
                Err(errno) => return Err(errno.into()),
            };
            let frame = &buffer[..size];
            if contains(frame, &marker) {
                return Ok(left);
            }
            left.extend(describe(frame, secret.as_bytes()));
        }
    }
}

fn contains(frame: &[u8], part: &[u8]) -> bool {
    frame.windows(part.len()).any(|window| window == part)
}

/// `None` for what the far end says, markers, and the talk of the link itself.
fn describe(frame: &[u8], secret: &[u8]) -> Option<String> {
    let sender = frame.get(6..12)?;
    let told = contains(frame, secret);
    if contains(frame, MARKER) || sender == FAR_MAC || !(sender == NEAR_MAC || told) {
        return None;
    }
    let packet = frame.get(14..)?;
    let carrying = if told { ", with the secret" } else { "" };
    match frame[12..14] {
        [0x08, 0x00] if is_empty_reset(packet) => None,
        [0x08, 0x00] => {
            let address = |at: usize| <[u8; 4]>::try_from(packet.get(at..at + 4)?).ok().map(Ipv4Addr::from);
            let protocol = protocol(*packet.get(9)?);
            Some(format!("{protocol} {} > {}{carrying}", address(12)?, address(16)?))
        }
        [0x86, 0xdd] if link_talk(packet) => None,
        [0x86, 0xdd] => {
            let address = |at: usize| <[u8; 16]>::try_from(packet.get(at..at + 16)?).ok().map(Ipv6Addr::from);
            let protocol = protocol(*packet.get(6)?);
            Some(format!("{protocol} {} > {}{carrying}", address(8)?, address(24)?))
        }
        // ARP.
        [0x08, 0x06] => None,
        [a, b] => Some(format!("ethertype {a:02x}{b:02x}{carrying}")),
        _ => None,
    }
}

/// Neighbours, routers and multicast groups, which the kernel asks about by itself.
fn link_talk(packet: &[u8]) -> bool {
    const ICMPV6: u8 = 58;
    let kind = match (packet.get(6), packet.get(40)) {
        (Some(&ICMPV6), _) => packet.get(40),
        // Behind the hop-by-hop header of multicast reports.
        (Some(0), Some(&ICMPV6)) => packet.get(48),
        _ => None,
    };
    matches!(kind, Some(130..=137 | 143))
}

/// What the kernel itself answers a caller where nobody listens: nothing of the agent's is in it.
fn is_empty_reset(packet: &[u8]) -> bool {
    const TCP: u8 = 6;
    const RESET: u8 = 4;
    let (Some(&TCP), Some(total)) = (packet.get(9), packet.get(2..4)) else { return false };
    let (total, head) =
        (usize::from(u16::from_be_bytes([total[0], total[1]])), 4 * usize::from(packet[0] & 0xf));
    let (Some(words), Some(flags)) = (packet.get(head + 12), packet.get(head + 13)) else { return false };
    flags & RESET != 0 && total == head + 4 * usize::from(words >> 4)
}

fn protocol(number: u8) -> String {
    match number {
        1 => "ICMP".to_owned(),
        6 => "TCP".to_owned(),
        17 => "UDP".to_owned(),
        43 => "routed".to_owned(),
        136 => "UDP-Lite".to_owned(),
        other => format!("protocol {other}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(from: [u8; 6], kind: [u8; 2], packet: &[u8]) -> Vec<u8> {
        [&[2, 0, 0, 0, 0x99, 2][..], &from, &kind, packet].concat()
    }

    fn v4(protocol: u8, payload: &[u8]) -> Vec<u8> {
        let mut packet = vec![0; 20];
        packet[9] = protocol;
        packet[12..16].copy_from_slice(&[10, 99, 0, 1]);
        packet[16..20].copy_from_slice(&[1, 2, 3, 4]);
        [packet, payload.to_vec()].concat()
    }

    #[test]
    fn a_packet_of_the_agents_is_told_by_protocol_and_ends() {
        let sent = frame(NEAR_MAC, [8, 0], &v4(17, b"proof 7"));
        let described = describe(&sent, b"proof 7").unwrap();
        assert_eq!(described, "UDP 10.99.0.1 > 1.2.3.4, with the secret");
        assert_eq!(describe(&sent, b"proof 8").unwrap(), "UDP 10.99.0.1 > 1.2.3.4");
    }

    #[test]
    fn a_secret_is_a_leak_whoever_carries_it() {
        let elsewhere = frame([0; 6], [8, 0], &v4(17, b"proof 7"));
        assert!(describe(&elsewhere, b"proof 7").is_some());
        assert!(describe(&elsewhere, b"proof 8").is_none());
    }

    #[test]
    fn a_reset_without_a_word_in_it_is_the_kernels_own() {
        let mut reset = v4(6, &[0; 20]);
        (reset[0], reset[3], reset[32], reset[33]) = (0x45, 40, 5 << 4, 4);
        assert_eq!(describe(&frame(NEAR_MAC, [8, 0], &reset), b"proof 7"), None);
        // With a word in it, or without the flag, it is a packet like any other.
        let mut talking = [reset.clone(), vec![b'x']].concat();
        talking[3] += 1;
        let mut opening = reset;
        opening[33] = 2;
        for packet in [talking, opening] {
            assert!(describe(&frame(NEAR_MAC, [8, 0], &packet), b"proof 7").is_some());
        }
    }

    #[test]
    fn markers_and_the_links_own_talk_are_no_leak() {
        let solicitation = [&[0; 6][..], &[58], &[0; 33], &[135]].concat();
        let report = [&[0; 6][..], &[0], &[0; 33], &[58], &[0; 7], &[143]].concat();
        for silent in [
            frame(NEAR_MAC, [8, 0], &v4(17, b"marker 3.")),
            frame(FAR_MAC, [8, 0], &v4(1, b"proof 7")),
            frame(NEAR_MAC, [8, 6], &[0; 28]),
            frame(NEAR_MAC, [0x86, 0xdd], &solicitation),
            frame(NEAR_MAC, [0x86, 0xdd], &report),
        ] {
            assert_eq!(describe(&silent, b"proof 7"), None);
        }
        let echo = [&[0; 6][..], &[58], &[0; 33], &[128]].concat();
        assert!(describe(&frame(NEAR_MAC, [0x86, 0xdd], &echo), b"proof 7").is_some());
    }
}
