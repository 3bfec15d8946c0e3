//! What may become of an attempt to reach an address: the one rule, used by every connect and send hook.

use crate::addr::Address;

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
    /// It is refused at once.
    Refuse,
}

/// Judges an attempt to reach `port` at `address`.
///
/// Names asked over TCP are *taken* like any stream, even on loopback: the listener sees port 53 and answers them.
#[inline(always)]
pub const fn of(transport: Transport, address: Address, port: u16) -> Scope {
    match transport {
        Transport::Datagram if port == DNS_PORT => Scope::Dns,
        Transport::Datagram => Scope::Refuse,
        Transport::Stream if port == 0 || address.is_for_many() => Scope::Refuse,
        Transport::Stream if port == DNS_PORT => Scope::Take,
        Transport::Stream if address.is_loopback() || address.is_unspecified() => Scope::Loopback,
        Transport::Stream => Scope::Take,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OUTSIDE_V4: Address = Address::v4(0x0102_0304_u32.to_be());
    const OUTSIDE_V6: Address = Address([0x2001_0db8_u32.to_be(), 0, 0, 1_u32.to_be()]);
    const ANY_V4: Address = Address::v4(0);
    const ANY_V6: Address = Address([0; 4]);
    const MULTICAST: Address = Address::v4(0xe000_00fb_u32.to_be());

    #[test]
    fn a_stream_to_the_outside_is_taken_whatever_its_port() {
        for port in [1, 53, 80, 443, 853, 65535] {
            assert_eq!(of(Transport::Stream, OUTSIDE_V4, port), Scope::Take);
            assert_eq!(of(Transport::Stream, OUTSIDE_V6, port), Scope::Take);
        }
    }

    #[test]
    fn a_stream_to_this_host_stays_here_unless_it_asks_for_names() {
        for address in [Address::LOOPBACK_V4, Address::LOOPBACK_V6, ANY_V4, ANY_V6] {
            assert_eq!(of(Transport::Stream, address, 8080), Scope::Loopback);
            assert_eq!(of(Transport::Stream, address, 53), Scope::Take);
        }
    }

    #[test]
    fn a_stream_to_nobody_in_particular_is_refused() {
        assert_eq!(of(Transport::Stream, MULTICAST, 443), Scope::Refuse);
        assert_eq!(of(Transport::Stream, OUTSIDE_V4, 0), Scope::Refuse);
    }

    #[test]
    fn a_datagram_asks_for_names_or_is_refused() {
        for address in [OUTSIDE_V4, OUTSIDE_V6, Address::LOOPBACK_V4, ANY_V6, MULTICAST] {
            assert_eq!(of(Transport::Datagram, address, 53), Scope::Dns);
            for port in [0, 52, 54, 123, 443, 853, 5353] {
                assert_eq!(of(Transport::Datagram, address, port), Scope::Refuse);
            }
        }
    }
}
