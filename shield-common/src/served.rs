//! How an agent is served in a network namespace, and which nameservers a socket asked.

use crate::addr::Address;
use crate::limits::NAMESERVERS;

/// Where the agent's connections and questions go in one network namespace.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Served {
    /// The TCP listener's port on 127.0.0.1 (and on ::1 if `v6` is set), host order.
    pub port: u16,
    /// 1 when the same ports are bound on ::1 too, 0 otherwise.
    pub v6: u16,
    /// The ports of the DNS sockets, host order: the n-th is where the n-th nameserver a socket asks is found.
    pub dns: [u16; NAMESERVERS],
}

/// Who created a socket, as marked at its creation.
#[repr(u32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Owner {
    /// The agent.
    Agent = 1,
    /// The helper that opens what the agent is served on.
    Proxy = 2,
}

/// The nameservers one UDP socket asked: the n-th was replaced by the n-th DNS socket.
///
/// A reply shows which of our sockets sent it, so its source can be given back even to a socket that asks several
/// nameservers at once.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Asked {
    /// Their addresses; `::` where there is none yet.
    pub servers: [Address; NAMESERVERS],
    /// The place the next new one takes, modulo `NAMESERVERS`.
    pub next: u32,
}

impl Asked {
    /// Nobody was asked yet.
    pub const NOBODY: Self = Self { servers: [Address([0; 4]); NAMESERVERS], next: 0 };

    /// The place of `server`, which takes that of the one asked longest ago when it is new.
    #[inline(always)]
    pub fn place(&mut self, server: Address) -> usize {
        for place in 0..NAMESERVERS {
            if self.servers[place] == server {
                return place;
            }
        }
        let place = self.next as usize % NAMESERVERS;
        self.servers[place] = server;
        self.next = self.next.wrapping_add(1);
        place
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn server(n: u32) -> Address {
        Address::v4(n.to_be())
    }

    #[test]
    fn a_nameserver_asked_again_keeps_its_place() {
        let mut asked = Asked::NOBODY;
        assert_eq!(asked.place(server(1)), 0);
        assert_eq!(asked.place(server(2)), 1);
        assert_eq!(asked.place(server(1)), 0);
        assert_eq!(asked.place(server(3)), 2);
        assert_eq!(asked.servers[..3], [server(1), server(2), server(3)]);
    }

    #[test]
    fn one_nameserver_too_many_replaces_the_first() {
        let mut asked = Asked::NOBODY;
        for n in 1..=NAMESERVERS as u32 {
            asked.place(server(n));
        }
        assert_eq!(asked.place(server(9)), 0);
        assert_eq!(asked.servers[0], server(9));
        assert_eq!(asked.place(server(2)), 1);
    }

    #[test]
    fn the_records_have_no_hidden_padding() {
        assert_eq!(size_of::<Served>(), 2 + 2 + 2 * NAMESERVERS);
        assert_eq!(size_of::<Asked>(), 16 * NAMESERVERS + 4);
    }
}
