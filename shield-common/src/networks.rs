//! Which networks an agent does not reach at all, and which it reaches without the gate: the one rule, for the kernel's
//! hooks, for what the worker forwards to, and for whoever reads policy. It keeps no list; whoever asks does.

use crate::addr::Address;

/// A port of an address, as the lists of networks are asked for it. No hidden padding: it is a key of theirs.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// The port in network order, in the low half of a word; 0 stands for every port.
    pub port: u32,
    /// The address; its first bits, when the key is a network's.
    pub address: Address,
}

/// Bits of a key before its address: a network's prefix is that much longer.
pub const PORT_BITS: u32 = 32;

/// The lists of networks.
pub trait Lists {
    /// Whether a denied network contains the address of `place` and names its port.
    fn denies(&self, place: Place) -> bool;
    /// Whether a direct network contains the address of `place` and names its port.
    fn directs(&self, place: Place) -> bool;
}

/// What the lists say about a destination.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Passage {
    /// Nothing: it passes through the gate, like everything.
    Gate,
    /// It is reached without the gate.
    Direct,
    /// It is not reached: a denied network.
    Denied,
    /// It is not reached, whatever the lists say: services that hand out a host's credentials.
    Reserved,
}

/// Judges a destination. What is denied in one spelling of an address or for one port is denied, also where it is
/// direct; only the spelling that is listed is direct.
#[inline(always)]
pub fn judge(lists: &impl Lists, address: Address, port: u16) -> Passage {
    let meant = address.unwrapped();
    if is_reserved(address) || is_reserved(meant) {
        return Passage::Reserved;
    }
    let any = |address| Place { port: 0, address };
    let exact = |address| Place { port: port.to_be() as u32, address };
    if lists.denies(any(address)) || lists.denies(exact(address)) {
        return Passage::Denied;
    }
    if meant != address && (lists.denies(any(meant)) || lists.denies(exact(meant))) {
        return Passage::Denied;
    }
    if lists.directs(any(address)) || lists.directs(exact(address)) {
        return Passage::Direct;
    }
    Passage::Gate
}

/// Whether an address is link-local, or a service of a cloud that tells whoever asks from this host who it is and what
/// its credentials are. `address` is unwrapped.
#[inline(always)]
pub const fn is_reserved(address: Address) -> bool {
    let Some(word) = address.as_v4() else {
        let [a, b, c, d] = address.0;
        let (a, d) = (u32::from_be(a), u32::from_be(d));
        return a >> 22 == LINK_LOCAL_V6
            || a == AWS_V6
            || (a == GOOGLE_V6 && b == 0 && c == 0 && d == 0x254)
            || (a == ORACLE_V6 && b == 0 && c == 0 && d == 0xa9fe_a9fe);
    };
    let word = u32::from_be(word);
    word >> 16 == LINK_LOCAL_V4 || word == ALIBABA || word == AZURE || word == ORACLE
}

/// 169.254.0.0/16.
const LINK_LOCAL_V4: u32 = 0xa9fe;
/// 100.100.100.200.
const ALIBABA: u32 = 0x6464_64c8;
/// 168.63.129.16.
const AZURE: u32 = 0xa83f_8110;
/// 192.0.0.192.
const ORACLE: u32 = 0xc000_00c0;
/// fe80::/10.
const LINK_LOCAL_V6: u32 = 0xfe80 >> 6;
/// fd00:ec2::/32.
const AWS_V6: u32 = 0xfd00_0ec2;
/// fd20:ce::254.
const GOOGLE_V6: u32 = 0xfd20_00ce;
/// fd00:c1::a9fe:a9fe.
const ORACLE_V6: u32 = 0xfd00_00c1;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_key_has_no_hidden_padding() {
        assert_eq!(size_of::<Place>(), 4 + 16);
    }

    #[test]
    fn a_list_is_asked_for_every_port_and_for_the_one_in_network_order() {
        struct Port(u32);
        impl Lists for Port {
            fn denies(&self, _: Place) -> bool {
                false
            }
            fn directs(&self, place: Place) -> bool {
                place.port == self.0
            }
        }
        let address = Address::v4(0x0102_0304_u32.to_be());
        for port in [0, u32::from(443_u16.to_be())] {
            assert_eq!(judge(&Port(port), address, 443), Passage::Direct);
        }
        assert_eq!(judge(&Port(u32::from(443_u16.to_be())), address, 444), Passage::Gate);
    }
}
