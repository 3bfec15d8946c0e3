//! The networks of a policy: which are denied, and which are reached without the gate. Reads them as they are written,
//! and answers for them as the kernel's tries do; the rule itself is `shield_common::networks`.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use shield_common::addr::Address;
use shield_common::networks::{self, Lists, PORT_BITS, Passage, Place};

/// The lists.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Networks {
    /// What is not reached.
    pub deny: Vec<Network>,
    /// What is reached without the gate.
    pub direct: Vec<Network>,
}

/// A network, or one port of it: the first bits of a [`Place`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network {
    /// How many bits count, those of the port included.
    pub bits: u32,
    /// The bits; the others are zero.
    pub place: Place,
}

/// Bits before an IPv4 address in its v4-mapped spelling.
const MAPPED_BITS: u32 = 96;

impl Networks {
    /// What the lists say about a destination.
    pub fn judge(&self, destination: SocketAddr) -> Passage {
        networks::judge(self, address(destination.ip()), destination.port())
    }
}

impl Lists for Networks {
    fn denies(&self, place: Place) -> bool {
        self.deny.iter().any(|network| network.contains(place))
    }

    fn directs(&self, place: Place) -> bool {
        self.direct.iter().any(|network| network.contains(place))
    }
}

impl Network {
    /// Reads `10.0.0.0/8`, `192.0.2.7`, `192.0.2.0/24:443`, `2001:db8::/32` or `[2001:db8::/32]:443`. The error says what
    /// is wrong.
    pub fn parse(text: &str) -> Result<Self, String> {
        let wanted = || {
            format!(
                "expected a network such as 10.0.0.0/8, 192.0.2.7:443 or [2001:db8::/32]:443, not `{text}`"
            )
        };
        let (network, port) = split_port(text).ok_or_else(wanted)?;
        let port = match port {
            None => 0,
            Some(port) => port.parse().ok().filter(|port| *port != 0).ok_or_else(wanted)?,
        };
        if port == shield_common::scope::DNS_PORT {
            return Err("port 53 is always the gate's: it answers names itself".to_owned());
        }
        let (ip, length) = match network.split_once('/') {
            Some((ip, length)) => (ip, Some(length.parse::<u32>().map_err(|_| wanted())?)),
            None => (network, None),
        };
        let ip: IpAddr = ip.parse().map_err(|_| wanted())?;
        let (most, skipped) = if ip.is_ipv4() { (32, MAPPED_BITS) } else { (128, 0) };
        let length = length.unwrap_or(most);
        if length > most {
            return Err(wanted());
        }
        let bits = skipped + length;
        let network = Self { bits: PORT_BITS + bits, place: place(ip, port) };
        if network.masked() != network {
            let first = Ipv6Addr::from(network.masked().place.address.bytes()).to_canonical();
            return Err(format!("`{text}` names an address inside its network: write {first}/{length}"));
        }
        let mapped = place(IpAddr::V6(Ipv6Addr::from_bits(0xffff_0000_0000)), 0);
        if ip.is_ipv6()
            && bits < MAPPED_BITS
            && (Self { bits: PORT_BITS + bits, place: place(ip, 0) }).contains(mapped)
        {
            return Err(format!(
                "`{text}` would contain every IPv4 address: write 2000::/3 for the IPv6 internet"
            ));
        }
        Ok(network)
    }

    /// Its first address, how many bits of that count, and the one port it is about.
    pub fn parts(&self) -> (IpAddr, u32, Option<u16>) {
        let address = Ipv6Addr::from(self.place.address.bytes()).to_canonical();
        let length = self.bits - PORT_BITS - if address.is_ipv4() { MAPPED_BITS } else { 0 };
        let port = u16::from_be(self.place.port as u16);
        (address, length, (port != 0).then_some(port))
    }

    /// Whether a place is in it.
    pub fn contains(&self, place: Place) -> bool {
        Self { bits: self.bits, place }.masked().place == self.place
    }

    /// Without the bits that do not count.
    fn masked(self) -> Self {
        let length = self.bits - PORT_BITS;
        let mask = u128::MAX.checked_shl(128 - length).unwrap_or(0);
        let address = u128::from_be_bytes(self.place.address.bytes()) & mask;
        Self { place: Place { port: self.place.port, address: from_bits(address) }, ..self }
    }
}

/// The network and its port, if there is one.
fn split_port(text: &str) -> Option<(&str, Option<&str>)> {
    if let Some(rest) = text.strip_prefix('[') {
        let (network, port) = rest.split_once(']')?;
        return Some((network, if port.is_empty() { None } else { Some(port.strip_prefix(':')?) }));
    }
    // Without brackets more than one colon is IPv6.
    match text.split_once(':') {
        Some((network, port)) if !port.contains(':') => Some((network, Some(port))),
        _ => Some((text, None)),
    }
}

fn place(ip: IpAddr, port: u16) -> Place {
    Place { port: u32::from(port.to_be()), address: address(ip) }
}

/// An address as the hooks see it.
pub fn address(ip: IpAddr) -> Address {
    let v6 = match ip {
        IpAddr::V4(v4) => v4.to_ipv6_mapped(),
        IpAddr::V6(v6) => v6,
    };
    from_bits(v6.to_bits())
}

fn from_bits(bits: u128) -> Address {
    let word = |shift: u32| ((bits >> shift) as u32).to_be();
    Address([word(96), word(64), word(32), word(0)])
}

#[cfg(test)]
mod tests;
