//! What the hooks count. One counter per reason, kept per CPU; counting never changes a verdict.

macro_rules! reasons {
    ($($(#[doc = $doc:literal])+ $reason:ident = $name:literal,)+) => {
        /// What a hook did and why: the index of its counter.
        #[repr(u32)]
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Reason {
            $($(#[doc = $doc])+ $reason,)+
        }

        impl Reason {
            /// Every reason, in the order of its counter.
            pub const ALL: &[Self] = &[$(Self::$reason),+];

            /// Its name as a metric's label.
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$reason => $name,)+
                }
            }
        }
    };
}

reasons! {
    /// A connection was redirected to the agent's listener.
    Taken = "taken",
    /// A question was redirected to the agent's DNS sockets.
    NameAsked = "name_asked",
    /// A connection to a listener of the agent's own was let through.
    OwnLoopback = "own_loopback",
    /// Refused: a listener on this host that is not the agent's own.
    ForeignListener = "foreign_listener",
    /// Refused: nobody listens there on this host.
    NoListener = "no_listener",
    /// Refused: nothing serves the network namespace the socket is in.
    UnservedNetns = "unserved_netns",
    /// Refused: the socket that served the namespace is gone.
    ProxyGone = "proxy_gone",
    /// Refused: UDP other than names.
    Datagram = "datagram",
    /// Refused: port zero, multicast, broadcast.
    Destination = "destination",
    /// Refused: an address in a network that policy denies.
    DeniedNetwork = "denied_network",
    /// Refused: a link-local address or a metadata service of a cloud.
    Metadata = "metadata",
    /// A connection to a direct network passed by the gate.
    Direct = "direct",
    /// Refused: an IPv6 datagram where IPv6 loopback does not work.
    NoV6Loopback = "no_v6_loopback",
    /// Refused: a kind of socket that is neither TCP nor UDP.
    SocketKind = "socket_kind",
    /// Refused: a socket option that routes packets by itself.
    RoutingOption = "routing_option",
    /// Ignored, with success: an option that binds a socket to a device.
    DeviceOption = "device_option",
    /// Refused: the kernel had no memory for the record of a socket.
    NoRecord = "no_record",
    /// Dropped: a packet that was leaving the host.
    Egress = "egress",
    /// Dropped: a packet to a socket on this host that is neither the agent's own nor serves it.
    ForeignPacket = "foreign_packet",
    /// Dropped: a packet that came from outside the host.
    Ingress = "ingress",
    /// An accepted connection has no record: the worker closes it.
    Unclaimed = "unclaimed",
}

/// Number of counters.
pub const REASONS: u32 = Reason::ALL.len() as u32;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_is_the_index_of_its_counter_and_has_a_name_of_its_own() {
        for (index, reason) in Reason::ALL.iter().enumerate() {
            assert_eq!(*reason as usize, index);
            assert_eq!(Reason::ALL.iter().filter(|other| other.name() == reason.name()).count(), 1);
        }
    }
}
