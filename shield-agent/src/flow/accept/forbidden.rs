//! Addresses nothing is ever forwarded to: our own, and the link-local services that hand out a host's credentials.
//!
//! Asked when a flow is accepted and again before anything is dialled.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};

use arc_swap::ArcSwap;

/// The address refused.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("{address} is {what}: nothing is forwarded there")]
pub struct ForbiddenAddress {
    /// Where the flow was going.
    pub address: SocketAddr,
    /// What is there.
    pub what: &'static str,
}

/// The list of our own addresses and the fixed ones.
#[derive(Debug, Default)]
pub struct Forbidden {
    own: ArcSwap<Vec<SocketAddr>>,
}

/// The metadata service of AWS over IPv6.
const METADATA_V6: Ipv6Addr = Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254);

impl Forbidden {
    /// Adds addresses of ours.
    pub fn add(&self, addresses: &[SocketAddr]) {
        self.own.rcu(|own| own.iter().chain(addresses).copied().collect::<Vec<_>>());
    }

    /// Takes addresses of ours back that are no longer listened on.
    pub fn remove(&self, addresses: &[SocketAddr]) {
        self.own.rcu(|own| own.iter().filter(|own| !addresses.contains(own)).copied().collect::<Vec<_>>());
    }

    /// Whether something may be forwarded to `address` (in canonical form: no v4-mapped IPv6).
    pub fn check(&self, address: SocketAddr) -> Result<(), ForbiddenAddress> {
        let refuse = |what| Err(ForbiddenAddress { address, what });
        match address.ip() {
            // The kernel takes the unspecified address for loopback: two spellings for our own.
            ip if ip.is_unspecified() => refuse("not an address of a host"),
            ip if ip.is_multicast() => refuse("a multicast address"),
            IpAddr::V4(ip) if ip.is_link_local() => refuse("link-local, where metadata services are"),
            IpAddr::V4(Ipv4Addr::BROADCAST) => refuse("a broadcast address"),
            IpAddr::V6(METADATA_V6) => refuse("a metadata service"),
            IpAddr::V6(ip) if ip.is_unicast_link_local() => refuse("link-local, where metadata services are"),
            _ if self.is_own(address) => refuse("an address of agent.shield itself"),
            _ => Ok(()),
        }
    }

    fn is_own(&self, address: SocketAddr) -> bool {
        self.own.load().iter().any(|own| {
            own.port() == address.port()
                && (own.ip() == address.ip() || own.ip().is_unspecified() && is_this_host(address.ip()))
        })
    }
}

/// Whether an address is one of this host's: then the kernel would send from it to itself.
fn is_this_host(ip: IpAddr) -> bool {
    let any: IpAddr = if ip.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    let source = UdpSocket::bind((any, 0)).and_then(|socket| {
        // Nothing is sent: connecting a datagram socket only chooses a route.
        socket.connect((ip, 9))?;
        socket.local_addr()
    });
    // A place that cannot be reached cannot be us either.
    source.is_ok_and(|source| source.ip() == ip)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_own_addresses_and_metadata_services_are_refused() {
        let forbidden = Forbidden::default();
        forbidden.add(&["127.0.0.1:7443".parse().unwrap(), "0.0.0.0:9464".parse().unwrap()]);
        let refused = [
            "127.0.0.1:7443",
            "127.0.0.1:9464",
            "0.0.0.0:80",
            "[::]:80",
            "169.254.169.254:80",
            "[fd00:ec2::254]:80",
            "[fe80::1]:80",
            "224.0.0.1:80",
            "255.255.255.255:80",
        ];
        for address in refused {
            assert!(forbidden.check(address.parse().unwrap()).is_err(), "{address}");
        }
        for address in ["127.0.0.1:80", "192.0.2.7:9464", "192.0.2.7:7443", "[2001:db8::1]:443"] {
            assert_eq!(forbidden.check(address.parse().unwrap()), Ok(()), "{address}");
        }
        forbidden.remove(&["127.0.0.1:7443".parse().unwrap()]);
        assert_eq!(forbidden.check("127.0.0.1:7443".parse().unwrap()), Ok(()));
    }
}
