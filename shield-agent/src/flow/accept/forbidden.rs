//! Addresses nothing is ever forwarded to: our own, the services that hand out a host's credentials, and the networks
//! policy denies.
//!
//! Asked when a flow is accepted and again before anything is dialled: policy may have become stricter meanwhile.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::sync::Arc;

use arc_swap::ArcSwap;
use shield_common::networks::Passage;

use crate::networks::{self, Networks};

/// The address refused.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("{address} is {what}: nothing is forwarded there")]
pub struct ForbiddenAddress {
    /// Where the flow was going.
    pub address: SocketAddr,
    /// What is there.
    pub what: &'static str,
}

/// The list of our own addresses, and the networks of the policy in force.
#[derive(Debug, Default)]
pub struct Forbidden {
    own: ArcSwap<Vec<SocketAddr>>,
    networks: ArcSwap<Networks>,
}

impl Forbidden {
    /// Adds addresses of ours.
    pub fn add(&self, addresses: &[SocketAddr]) {
        self.own.rcu(|own| own.iter().chain(addresses).copied().collect::<Vec<_>>());
    }

    /// Takes addresses of ours back that are no longer listened on, each as often as it was added.
    pub fn remove(&self, addresses: &[SocketAddr]) {
        self.own.rcu(|own| {
            let mut own = own.to_vec();
            for address in addresses {
                if let Some(place) = own.iter().position(|own| own == address) {
                    own.swap_remove(place);
                }
            }
            own
        });
    }

    /// Puts the networks of a policy into force.
    pub fn set_networks(&self, networks: &Networks) {
        self.networks.store(Arc::new(networks.clone()));
    }

    /// Whether something may be forwarded to `address` (in canonical form: no v4-mapped IPv6).
    pub fn check(&self, address: SocketAddr) -> Result<(), ForbiddenAddress> {
        let refuse = |what| Err(ForbiddenAddress { address, what });
        let ip = networks::address(address.ip());
        match self.networks.load().judge(address) {
            // The kernel takes the unspecified address for loopback: two spellings for our own.
            _ if ip.is_unspecified() => refuse("not an address of a host"),
            _ if ip.is_for_many() => refuse("an address of many hosts or none"),
            Passage::Reserved => refuse("link-local or a cloud's own, where metadata services are"),
            Passage::Denied => refuse("in a network that policy denies"),
            Passage::Gate | Passage::Direct if self.is_own(address) => {
                refuse("an address of agent.shield itself")
            }
            Passage::Gate | Passage::Direct => Ok(()),
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
            "[64:ff9b::a9fe:a9fe]:80",
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

    #[test]
    fn networks_that_policy_denies_are_refused_and_two_agents_may_share_an_address() {
        let forbidden = Forbidden::default();
        let deny = vec![crate::networks::Network::parse("10.0.0.0/8").unwrap()];
        let address: SocketAddr = "10.1.2.3:443".parse().unwrap();
        assert_eq!(forbidden.check(address), Ok(()));
        forbidden.set_networks(&Networks { deny, direct: vec![] });
        assert!(forbidden.check(address).is_err());

        let shared: SocketAddr = "127.0.0.1:40001".parse().unwrap();
        forbidden.add(&[shared]);
        forbidden.add(&[shared]);
        forbidden.remove(&[shared]);
        assert!(forbidden.check(shared).is_err(), "still the other one's");
        forbidden.remove(&[shared]);
        assert_eq!(forbidden.check(shared), Ok(()));
    }
}
