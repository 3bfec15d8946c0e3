//! Devices, rules and namespaces of the agent's own: roads beside the one the hooks watch.

use std::fs::{self, File};
use std::io::Write as _;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, UdpSocket};
use std::os::fd::AsRawFd as _;
use std::process::{Command, Stdio};

use nix::errno::Errno;
use nix::sched::{CloneFlags, setns};

use super::socket::{connect, open};
use super::{At as _, Attempt, raw};
use crate::prove::facts::Facts;
use crate::prove::wire::FAR_V4;

/// A host behind the tunnel.
const BEHIND: Ipv4Addr = Ipv4Addr::new(10, 98, 0, 2);
const TUNNEL: &[u8] = b"proof0";

/// `struct ifreq`, as far as it is used: a name, and flags or an address.
#[repr(C)]
struct Request {
    name: [u8; 16],
    value: [u8; 24],
}

/// Makes a tunnel, and has the kernel forward a packet that comes out of it.
pub(in crate::prove) fn tunnel(facts: &Facts) -> Attempt {
    let mut tunnel = File::options().read(true).write(true).open("/dev/net/tun").at("open")?;
    let flags = libc::IFF_TUN as u16 | libc::IFF_NO_PI as u16;
    control(tunnel.as_raw_fd(), libc::TUNSETIFF, &flags.to_ne_bytes())?;
    let any = open(libc::AF_INET, libc::SOCK_DGRAM, 0)?;
    control(
        any.as_raw_fd(),
        libc::SIOCSIFADDR,
        &super::socket::bytes((Ipv4Addr::new(10, 98, 0, 1), 0).into()),
    )?;
    control(any.as_raw_fd(), libc::SIOCSIFFLAGS, &(libc::IFF_UP as u16).to_ne_bytes())?;
    fs::write("/proc/sys/net/ipv4/ip_forward", "1").at("write")?;
    tunnel.write_all(&raw::datagram(BEHIND, facts)).at("write")
}

fn control(descriptor: i32, command: libc::c_ulong, value: &[u8]) -> Attempt {
    let mut request = Request { name: [0; 16], value: [0; 24] };
    request.name[..TUNNEL.len()].copy_from_slice(TUNNEL);
    request.value[..value.len()].copy_from_slice(value);
    // SAFETY: these commands read and write one such request, which outlives the call.
    Errno::result(unsafe { libc::ioctl(descriptor, command as _, &raw mut request) }).map(drop).at("ioctl")
}

const RULES: &str = "
add table ip proof
add chain ip proof out { type nat hook output priority -100; }
add chain ip proof post { type nat hook postrouting priority 100; }
add rule ip proof out ip daddr 127.0.0.1 tcp dport 8081 dnat to 10.99.0.2:443
add rule ip proof post oifname eth0 masquerade
";

/// Connects to a listener of its own, which is allowed, and has the packet filter send that elsewhere.
pub(in crate::prove) fn rewrite(_: &Facts) -> Attempt {
    let _own = TcpListener::bind(("127.0.0.1", 8081)).at("bind")?;
    fs::write("/proc/sys/net/ipv4/conf/all/route_localnet", "1").at("write")?;
    let mut nft = Command::new("nft");
    nft.args(["-f", "-"]).stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
    let mut nft = nft.spawn().at("nft")?;
    if let Some(mut rules) = nft.stdin.take() {
        // One that gave up before it read them says so by how it ends.
        let _ = rules.write_all(RULES.as_bytes());
    }
    let done = nft.wait().at("nft")?;
    if !done.success() {
        return Err(Errno::EPERM).at("nft");
    }
    let through = open(libc::AF_INET, libc::SOCK_STREAM, 0)?;
    let sent = connect(&through, SocketAddr::from(([127, 0, 0, 1], 8081)));
    // The next attempt is not to meet this rule. That the table goes is all that matters.
    let _ = Command::new("nft").args(["delete", "table", "ip", "proof"]).status();
    sent
}

/// Enters the namespace of a process outside, where no gate is served.
pub(in crate::prove) fn enter_elsewhere(facts: &Facts) -> Attempt {
    let elsewhere = File::open(&facts.elsewhere).at("open")?;
    setns(elsewhere, CloneFlags::CLONE_NEWNET).at("setns")?;
    let socket = UdpSocket::bind("0.0.0.0:0").at("bind")?;
    socket.send_to(facts.secret.as_bytes(), (FAR_V4, 9)).map(drop).at("sendto")
}
