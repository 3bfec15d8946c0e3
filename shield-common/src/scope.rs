//! What may become of an attempt to reach an address: the one rule, used by every connect and send hook.

use crate::addr::Address;
use crate::limits::{INTERNAL_ADDRESS, PROBE_ADDRESS, PROBE_PORT};
use crate::networks::{self, Lists, Passage};

/// The port whose traffic is names being asked.
pub const DNS_PORT: u16 = 53;

/// How an agent reaches out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// TCP.
    Stream,
    /// UDP.
    Datagram,
}

/// What becomes of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// It goes to the agent's TCP listener, which learns where it was going.
    Take,
    /// It goes to the agent's DNS sockets, whoever was asked.
    Dns,
    /// It stays on this host: allowed only to a listener the agent itself opened.
    Loopback,
    /// It goes where it was going, past the gate.
    Direct,
    /// It is refused at once.
    Refuse(Refusal),
}

/// Why it is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// UDP other than names.
    Datagram,
    /// Port zero, multicast, broadcast.
    Destination,
    /// A network that is denied.
    DeniedNetwork,
    /// Link-local, or a metadata service.
    Metadata,
}

/// Judges an attempt to reach `port` at `address`, by the lists of networks.
///
/// Names asked over TCP are *taken* like any stream, even on loopback: the listener sees port 53 and answers them. So
/// networks have no say in names, nor in the two places that are never anywhere else than here.
#[inline(always)]
pub fn of(transport: Transport, address: Address, port: u16, lists: &impl Lists) -> Scope {
    match transport {
        Transport::Datagram if port == DNS_PORT => Scope::Dns,
        Transport::Datagram => Scope::Refuse(Refusal::Datagram),
        Transport::Stream if port == 0 || address.is_for_many() => Scope::Refuse(Refusal::Destination),
        Transport::Stream if port == DNS_PORT => Scope::Take,
        Transport::Stream if address.is_loopback() || address.is_unspecified() => Scope::Loopback,
        Transport::Stream if is_here(address, port) => Scope::Take,
        Transport::Stream => match networks::judge(lists, address, port) {
            Passage::Gate => Scope::Take,
            Passage::Direct => Scope::Direct,
            Passage::Denied => Scope::Refuse(Refusal::DeniedNetwork),
            Passage::Reserved => Scope::Refuse(Refusal::Metadata),
        },
    }
}

/// Whether the worker itself answers there: `shield.internal` and the launcher's probe.
#[inline(always)]
fn is_here(address: Address, port: u16) -> bool {
    let internal = Address::v4(u32::from_ne_bytes(INTERNAL_ADDRESS));
    let probe = Address::v4(u32::from_ne_bytes(PROBE_ADDRESS.octets()));
    address == internal || (address == probe && port == PROBE_PORT)
}

#[cfg(test)]
mod tests {
    use super::*;

    use crate::networks::Place;

    /// Every network is denied, or none is.
    struct All(bool);

    impl Lists for All {
        fn denies(&self, _: Place) -> bool {
            self.0
        }
        fn directs(&self, _: Place) -> bool {
            self.0
        }
    }

    const NONE: All = All(false);

    const OUTSIDE_V4: Address = Address::v4(0x0102_0304_u32.to_be());
    const OUTSIDE_V6: Address = Address([0x2001_0db8_u32.to_be(), 0, 0, 1_u32.to_be()]);
    const ANY_V4: Address = Address::v4(0);
    const ANY_V6: Address = Address([0; 4]);
    const MULTICAST: Address = Address::v4(0xe000_00fb_u32.to_be());

    #[test]
    fn a_stream_to_the_outside_is_taken_whatever_its_port() {
        for port in [1, 53, 80, 443, 853, 65535] {
            assert_eq!(of(Transport::Stream, OUTSIDE_V4, port, &NONE), Scope::Take);
            assert_eq!(of(Transport::Stream, OUTSIDE_V6, port, &NONE), Scope::Take);
        }
    }

    #[test]
    fn a_stream_to_this_host_stays_here_unless_it_asks_for_names() {
        for address in [Address::LOOPBACK_V4, Address::LOOPBACK_V6, ANY_V4, ANY_V6] {
            assert_eq!(of(Transport::Stream, address, 8080, &NONE), Scope::Loopback);
            assert_eq!(of(Transport::Stream, address, 53, &NONE), Scope::Take);
        }
    }

    #[test]
    fn a_stream_to_nobody_in_particular_is_refused() {
        assert_eq!(of(Transport::Stream, MULTICAST, 443, &NONE), Scope::Refuse(Refusal::Destination));
        assert_eq!(of(Transport::Stream, OUTSIDE_V4, 0, &NONE), Scope::Refuse(Refusal::Destination));
    }

    #[test]
    fn a_datagram_asks_for_names_or_is_refused() {
        for address in [OUTSIDE_V4, OUTSIDE_V6, Address::LOOPBACK_V4, ANY_V6, MULTICAST] {
            assert_eq!(of(Transport::Datagram, address, 53, &NONE), Scope::Dns);
            for port in [0, 52, 54, 123, 443, 853, 5353] {
                assert_eq!(of(Transport::Datagram, address, port, &NONE), Scope::Refuse(Refusal::Datagram));
            }
        }
    }

    #[test]
    fn networks_have_no_say_in_names_nor_in_what_is_answered_here() {
        let [a, b, c, d] = INTERNAL_ADDRESS;
        let internal = Address::v4(u32::from_be_bytes([a, b, c, d]).to_be());
        let probe = Address::v4(u32::from(PROBE_ADDRESS).to_be());
        assert_eq!(of(Transport::Stream, OUTSIDE_V4, 443, &All(true)), Scope::Refuse(Refusal::DeniedNetwork));
        assert_eq!(of(Transport::Stream, OUTSIDE_V4, 53, &All(true)), Scope::Take);
        assert_eq!(of(Transport::Datagram, OUTSIDE_V4, 53, &All(true)), Scope::Dns);
        assert_eq!(of(Transport::Stream, internal, 80, &All(true)), Scope::Take);
        assert_eq!(of(Transport::Stream, probe, PROBE_PORT, &All(true)), Scope::Take);
        assert_eq!(of(Transport::Stream, probe, 80, &All(true)), Scope::Refuse(Refusal::DeniedNetwork));
        assert_eq!(of(Transport::Stream, Address::LOOPBACK_V4, 80, &All(true)), Scope::Loopback);
    }
}
