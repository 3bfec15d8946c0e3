//! How the record of a connection finds its accepted socket: filed under the connection's four-tuple before the
//! first packet leaves, claimed when the handshake ends.

use crate::addr::Address;

/// A TCP connection inside one network namespace, the same seen from both ends. No hidden padding: it is a hash key.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tuple {
    /// Cookie of the network namespace.
    pub netns_cookie: u64,
    /// Address of the end that connects.
    pub client: Address,
    /// Address of the end that listens.
    pub server: Address,
    /// Port of the end that connects, host order.
    pub client_port: u32,
    /// Port of the end that listens, host order.
    pub server_port: u32,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_key_has_no_hidden_padding() {
        assert_eq!(size_of::<Tuple>(), 8 + 2 * 16 + 2 * 4);
    }
}
