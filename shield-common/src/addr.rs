//! Addresses as socket hooks see them. Compares and converts; never looks anything up.

/// An IP address: four 32-bit words in network byte order, as the kernel keeps IPv6. IPv4 is kept v4-mapped
/// (`::ffff:a.b.c.d`), so that one address has one spelling.
///
/// Words, not bytes: the kernel's verifier follows word comparisons best.
#[repr(transparent)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Address(pub [u32; 4]);

const MAPPED: u32 = 0xffff_u32.to_be();

impl Address {
    /// 127.0.0.1.
    pub const LOOPBACK_V4: Self = Self::v4(0x7f00_0001_u32.to_be());
    /// ::1.
    pub const LOOPBACK_V6: Self = Self([0, 0, 0, 1_u32.to_be()]);

    /// From an IPv4 address in network byte order.
    #[inline(always)]
    pub const fn v4(word: u32) -> Self {
        Self([0, 0, MAPPED, word])
    }

    /// The IPv4 address in network byte order, if this is one.
    #[inline(always)]
    pub const fn as_v4(self) -> Option<u32> {
        let [a, b, c, word] = self.0;
        if a == 0 && b == 0 && c == MAPPED { Some(word) } else { None }
    }

    /// The sixteen bytes in network order.
    #[inline(always)]
    pub const fn bytes(self) -> [u8; 16] {
        let [a, b, c, d] = self.0;
        let ([a0, a1, a2, a3], [b0, b1, b2, b3]) = (a.to_ne_bytes(), b.to_ne_bytes());
        let ([c0, c1, c2, c3], [d0, d1, d2, d3]) = (c.to_ne_bytes(), d.to_ne_bytes());
        [a0, a1, a2, a3, b0, b1, b2, b3, c0, c1, c2, c3, d0, d1, d2, d3]
    }

    /// Whether a packet to it never leaves the host by the kernel's own rules: 127.0.0.0/8 or ::1.
    #[inline(always)]
    pub const fn is_loopback(self) -> bool {
        match self.as_v4() {
            Some(word) => u32::from_be(word) >> 24 == 127,
            None => {
                let [a, b, c, d] = self.0;
                a == 0 && b == 0 && c == 0 && d == 1_u32.to_be()
            }
        }
    }

    /// Whether it is 0.0.0.0 or ::, which `connect()` takes for "this host".
    #[inline(always)]
    pub const fn is_unspecified(self) -> bool {
        match self.as_v4() {
            Some(word) => word == 0,
            None => {
                let [a, b, c, d] = self.0;
                a == 0 && b == 0 && c == 0 && d == 0
            }
        }
    }

    /// Whether it names many hosts or none: multicast, broadcast and the reserved 240.0.0.0/4.
    #[inline(always)]
    pub const fn is_for_many(self) -> bool {
        match self.as_v4() {
            Some(word) => u32::from_be(word) >> 28 >= 0xe,
            None => u32::from_be(self.0[0]) >> 24 == 0xff,
        }
    }

    /// The IPv4 address that is meant where a translator or tunnel would take this one apart: NAT64, 6to4, and the
    /// spelling that was given up for v4-mapped. Other addresses mean themselves.
    #[inline(always)]
    pub const fn unwrapped(self) -> Self {
        let [a, b, c, d] = self.0;
        let (first, second) = (u32::from_be(a), u32::from_be(b));
        let compatible = a == 0 && b == 0 && c == 0 && u32::from_be(d) > 1;
        // 64:ff9b::/96, and 64:ff9b:1::/48 as far as it carries the address at its end.
        let nat64 = first == 0x0064_ff9b && (second >> 16 == 1 || b == 0 && c == 0);
        if compatible || nat64 {
            Self::v4(d)
        } else if first >> 16 == 0x2002 {
            Self::v4((first << 16 | second >> 16).to_be())
        } else {
            self
        }
    }

    /// The same address, with "this host" replaced by the loopback address of its family.
    #[inline(always)]
    pub const fn settled(self) -> Self {
        match (self.is_unspecified(), self.as_v4()) {
            (true, Some(_)) => Self::LOOPBACK_V4,
            (true, None) => Self::LOOPBACK_V6,
            (false, _) => self,
        }
    }
}

#[cfg(test)]
mod tests {
    extern crate std;
    use std::net::Ipv6Addr;
    use std::vec::Vec;

    use super::*;

    fn address(text: &str) -> Address {
        let bytes = match text.parse().unwrap() {
            std::net::IpAddr::V4(v4) => v4.to_ipv6_mapped().octets(),
            std::net::IpAddr::V6(v6) => v6.octets(),
        };
        let words: Vec<u32> =
            bytes.chunks(4).map(|word| u32::from_ne_bytes(word.try_into().unwrap())).collect();
        Address(words.try_into().unwrap())
    }

    #[test]
    fn every_spelling_of_this_host_is_known() {
        for text in ["127.0.0.1", "127.53.9.9", "127.255.255.255", "::1", "::ffff:127.0.0.1"] {
            assert!(address(text).is_loopback(), "{text}");
        }
        for text in ["0.0.0.0", "::", "::ffff:0.0.0.0"] {
            assert!(address(text).is_unspecified(), "{text}");
            assert!(address(text).settled().is_loopback(), "{text}");
        }
    }

    #[test]
    fn addresses_that_only_look_like_this_host_are_not() {
        for text in
            ["126.255.255.255", "128.0.0.1", "::2", "::127.0.0.1", "::fffe:127.0.0.1", "1::1", "fe80::1"]
        {
            assert!(!address(text).is_loopback(), "{text}");
            assert!(!address(text).is_unspecified(), "{text}");
            assert_eq!(address(text).settled(), address(text), "{text}");
        }
    }

    #[test]
    fn multicast_broadcast_and_reserved_addresses_are_for_many() {
        for text in
            ["224.0.0.251", "239.1.2.3", "240.0.0.1", "255.255.255.255", "ff02::fb", "::ffff:224.0.0.1"]
        {
            assert!(address(text).is_for_many(), "{text}");
        }
        for text in ["223.255.255.255", "8.8.8.8", "2001:db8::1", "fe80::1"] {
            assert!(!address(text).is_for_many(), "{text}");
        }
    }

    #[test]
    fn an_address_inside_another_is_taken_out() {
        for text in [
            "64:ff9b::10.1.2.3",
            "64:ff9b:1::10.1.2.3",
            "64:ff9b:1:2:3:4:10.1.2.3",
            "2002:a01:203::7",
            "::10.1.2.3",
        ] {
            assert_eq!(address(text).unwrapped(), address("10.1.2.3"), "{text}");
        }
        for text in
            ["::", "::1", "10.1.2.3", "::ffff:10.1.2.3", "64:ff9b:2::1", "64:ff9b:0:1::1", "2001:db8::1"]
        {
            assert_eq!(address(text).unwrapped(), address(text), "{text}");
        }
    }

    #[test]
    fn bytes_are_in_network_order() {
        let written = Ipv6Addr::from(address("2001:db8::1:2").bytes());
        assert_eq!(written, "2001:db8::1:2".parse::<Ipv6Addr>().unwrap());
        assert_eq!(address("10.1.2.3").bytes()[12..], [10, 1, 2, 3]);
    }
}
