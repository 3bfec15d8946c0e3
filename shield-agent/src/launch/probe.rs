//! Proving the gate from inside: what must be refused is refused, what must be redirected arrives.
//!
//! Asked in the agent's cgroup, with the agent's rights, right before the command. It speaks to TEST-NET-1, which no
//! network routes: a probe that gets out hurts nobody.

use std::io::{self, Read as _};
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::time::Duration;

use nix::errno::Errno;
use shield_common::event::Reason;
use shield_common::limits::{PROBE_ADDRESS, PROBE_GREETING, PROBE_PORT};

use crate::names::AgentName;

/// Discard, over UDP: a datagram nobody may send.
const REFUSED_PORT: u16 = 9;

/// What a proof adds to the counters of its gate.
pub const COUNTED: [(Reason, u64); 3] = [(Reason::Datagram, 1), (Reason::SocketKind, 1), (Reason::Taken, 1)];

/// How long the worker may take to greet.
const PATIENCE: Duration = Duration::from_secs(5);

/// Longest greeting.
const MAX_GREETING: u64 = 128;

/// Proves that this process is inside the gate of `agent`, or says which proof failed.
pub(super) fn prove(agent: &AgentName) -> Result<(), String> {
    datagrams_are_refused()?;
    other_protocols_are_refused()?;
    other_families_are_refused()?;
    connections_are_redirected(agent)
}

/// Proves that this network namespace has nothing but its loopback: no way out for anybody inside, whatever they are.
pub(super) fn prove_isolated() -> Result<(), String> {
    let devices = nix::net::if_::if_nameindex()
        .map_err(|errno| format!("network devices cannot be listed: {errno}"))?;
    let other = devices.iter().find(|device| device.name() != c"lo");
    other.map_or(Ok(()), |device| Err(format!("its network namespace has a device {:?}", device.name())))
}

fn datagrams_are_refused() -> Result<(), String> {
    let refused = UdpSocket::bind("0.0.0.0:0")
        .and_then(|socket| socket.connect((PROBE_ADDRESS, REFUSED_PORT)))
        .map_err(|error| error.kind());
    match refused {
        Err(io::ErrorKind::ConnectionRefused) => Ok(()),
        Err(kind) => {
            Err(format!("a datagram socket was refused with `{kind}` instead of `connection refused`"))
        }
        Ok(()) => Err("a datagram socket could be connected to the outside".to_owned()),
    }
}

fn other_protocols_are_refused() -> Result<(), String> {
    match open(libc::AF_INET, libc::SOCK_DGRAM, libc::IPPROTO_UDPLITE) {
        Err(Errno::EPROTONOSUPPORT | Errno::EPERM) => Ok(()),
        Err(errno) => {
            Err(format!("a UDP-Lite socket was refused with `{errno}`, which is not the gate's answer"))
        }
        Ok(_) => Err("a UDP-Lite socket could be opened".to_owned()),
    }
}

/// No hook sees them: the filter of system calls has to be there.
fn other_families_are_refused() -> Result<(), String> {
    match open(libc::AF_VSOCK, libc::SOCK_STREAM, 0) {
        Err(Errno::EAFNOSUPPORT) => Ok(()),
        Err(errno) => Err(format!(
            "a socket to the hypervisor was refused with `{errno}`, which is not the filter's answer"
        )),
        Ok(_) => Err("a socket to the hypervisor could be opened".to_owned()),
    }
}

fn open(family: i32, kind: i32, protocol: i32) -> Result<i32, Errno> {
    // SAFETY: the call takes plain numbers; the descriptor it may return stays open until the process ends, which a
    // failed proof brings about.
    Errno::result(unsafe { libc::socket(family, kind | libc::SOCK_CLOEXEC, protocol) })
}

fn connections_are_redirected(agent: &AgentName) -> Result<(), String> {
    let greeting = greeting().map_err(|error| format!("a redirected connection did not arrive: {error}"))?;
    let expected = format!("{PROBE_GREETING}{agent}\n");
    match greeting == expected {
        true => Ok(()),
        false => Err(format!("a redirected connection arrived at {greeting:?} instead of {expected:?}")),
    }
}

fn greeting() -> io::Result<String> {
    let address = SocketAddr::from((PROBE_ADDRESS, PROBE_PORT));
    let stream = TcpStream::connect_timeout(&address, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let mut greeting = String::new();
    stream.take(MAX_GREETING).read_to_string(&mut greeting)?;
    Ok(greeting)
}
