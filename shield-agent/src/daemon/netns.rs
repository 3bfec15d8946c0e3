//! A network namespace for one agent alone, with nothing in it but loopback.
//!
//! Nothing crosses its edge: the agent's connections end at listeners that live inside. It belongs to the host's user
//! namespace, so that an agent that is root of its own has no rights over it.

use std::fs::File;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::os::fd::AsRawFd as _;
use std::thread;

use nix::errno::Errno;
use nix::sched::{CloneFlags, unshare};
use nix::sys::socket::{AddressFamily, SockFlag, SockType, socket};

/// Programs look whether the host has an address of a family, loopback apart, before they ask for names of it. These
/// are nobody's: the dummy address of RFC 7600, and one of the discard-only block of RFC 6666.
const ADDRESS_V4: Ipv4Addr = Ipv4Addr::new(192, 0, 0, 8);
const ADDRESS_V6: Ipv6Addr = Ipv6Addr::new(0x100, 0, 0, 0, 0, 0, 0, 8);

/// Of loopback, in every network namespace.
const LOOPBACK: libc::c_int = 1;

/// Makes one. It lasts as long as a descriptor or a process of it.
pub fn isolated() -> io::Result<File> {
    // A thread of its own: the supervisor's stays where it is.
    let maker = thread::spawn(|| {
        unshare(CloneFlags::CLONE_NEWNET)?;
        raise()?;
        // Without IPv6 there are no addresses of it to want.
        if let Err(error) = add_v6() {
            tracing::debug!("no IPv6 address for an isolated agent: {error}");
        }
        File::open("/proc/thread-self/ns/net")
    });
    maker.join().map_err(|_| io::Error::other("the thread that makes it panicked"))?
}

/// Brings loopback up, with an address that looks like any other.
fn raise() -> io::Result<()> {
    let control = socket(AddressFamily::Inet, SockType::Datagram, SockFlag::SOCK_CLOEXEC, None)?;
    let up = libc::IFF_UP as libc::c_short | libc::IFF_RUNNING as libc::c_short;
    ask(
        control.as_raw_fd(),
        libc::SIOCSIFFLAGS,
        &request("lo", libc::__c_anonymous_ifr_ifru { ifru_flags: up }),
    )?;
    let address = libc::sockaddr_in {
        sin_family: libc::AF_INET as libc::sa_family_t,
        sin_port: 0,
        sin_addr: libc::in_addr { s_addr: u32::from(ADDRESS_V4).to_be() },
        sin_zero: [0; 8],
    };
    // SAFETY: both are 16 bytes of plain data, and the kernel reads the one as the other.
    let ifru_addr = unsafe { std::mem::transmute::<libc::sockaddr_in, libc::sockaddr>(address) };
    ask(control.as_raw_fd(), libc::SIOCSIFADDR, &request("lo:1", libc::__c_anonymous_ifr_ifru { ifru_addr }))
}

fn add_v6() -> io::Result<()> {
    let control = socket(AddressFamily::Inet6, SockType::Datagram, SockFlag::SOCK_CLOEXEC, None)?;
    let request = libc::in6_ifreq {
        ifr6_addr: libc::in6_addr { s6_addr: ADDRESS_V6.octets() },
        ifr6_prefixlen: 128,
        ifr6_ifindex: LOOPBACK,
    };
    ask(control.as_raw_fd(), libc::SIOCSIFADDR, &request)
}

fn request(interface: &str, ifr_ifru: libc::__c_anonymous_ifr_ifru) -> libc::ifreq {
    let mut ifr_name = [0; libc::IFNAMSIZ];
    for (place, letter) in ifr_name.iter_mut().zip(interface.bytes()) {
        *place = letter.cast_signed();
    }
    libc::ifreq { ifr_name, ifr_ifru }
}

fn ask<T>(socket: libc::c_int, what: libc::Ioctl, request: &T) -> io::Result<()> {
    // SAFETY: `request` is the structure `what` expects, and outlives the call.
    let result = unsafe { libc::ioctl(socket, what, std::ptr::from_ref(request)) };
    Errno::result(result).map(drop).map_err(io::Error::from)
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd as _;

    use nix::sched::setns;

    use super::*;

    #[test]
    fn an_isolated_namespace_has_loopback_and_no_way_out() {
        if !nix::unistd::geteuid().is_root() {
            return;
        }
        let netns = isolated().unwrap();
        let seen = thread::spawn(move || {
            setns(netns.as_fd(), CloneFlags::CLONE_NEWNET).unwrap();
            let devices = nix::net::if_::if_nameindex().unwrap();
            let names: Vec<String> =
                devices.iter().map(|device| device.name().to_str().unwrap().to_owned()).collect();
            let out = std::net::UdpSocket::bind("0.0.0.0:0").unwrap().connect("198.51.100.1:9").unwrap_err();
            std::net::TcpListener::bind((ADDRESS_V4, 0)).unwrap();
            std::net::TcpListener::bind("127.0.0.1:0").unwrap();
            (names, out.raw_os_error())
        });
        assert_eq!(seen.join().unwrap(), (vec!["lo".to_owned()], Some(libc::ENETUNREACH)));
    }
}
