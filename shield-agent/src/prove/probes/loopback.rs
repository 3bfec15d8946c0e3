//! Services on this host that are not the agent's, and the gate's own.

use std::io::{Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream};
use std::time::Duration;

use super::{At as _, Attempt};
use crate::prove::facts::Facts;
use crate::prove::wire::NEAR_V4;

/// A service on this host answers at once or not at all.
const PATIENCE: Duration = Duration::from_millis(500);

pub(in crate::prove) fn stranger(facts: &Facts) -> Attempt {
    tell(facts, IpAddr::V4(Ipv4Addr::LOCALHOST), facts.foreign_port)
}

pub(in crate::prove) fn own_address(facts: &Facts) -> Attempt {
    tell(facts, IpAddr::V4(NEAR_V4), facts.foreign_port)
}

pub(in crate::prove) fn gate(facts: &Facts) -> Attempt {
    tell(facts, IpAddr::V4(Ipv4Addr::LOCALHOST), facts.gate_port)
}

fn tell(facts: &Facts, address: IpAddr, port: u16) -> Attempt {
    let mut stream = TcpStream::connect_timeout(&SocketAddr::new(address, port), PATIENCE).at("connect")?;
    stream.set_read_timeout(Some(PATIENCE)).at("setsockopt")?;
    stream.write_all(facts.secret.as_bytes()).at("write")?;
    // Whoever passes it on says so when that is done.
    stream.read(&mut [0]).map(drop).at("read")
}
