//! Whether this host has a way to an address. Asks the kernel alone; nothing leaves.

use std::net::{Ipv6Addr, UdpSocket};

use nix::errno::Errno;

/// Whether there is a route to `address`. What cannot be found out counts as one.
///
/// Behind the gate every connection succeeds, so a program that is given addresses of both kinds does not notice that one
/// of them leads nowhere and never tries the other.
pub(super) fn leads_to(address: Ipv6Addr) -> bool {
    // The kernel looks for a route when a datagram socket is connected, and sends nothing.
    let connected =
        UdpSocket::bind((Ipv6Addr::UNSPECIFIED, 0)).and_then(|socket| socket.connect((address, 443)));
    let nowhere = [Errno::ENETUNREACH, Errno::EHOSTUNREACH, Errno::EADDRNOTAVAIL, Errno::EAFNOSUPPORT];
    connected
        .err()
        .and_then(|error| error.raw_os_error())
        .is_none_or(|code| !nowhere.contains(&Errno::from_raw(code)))
}
