//! What the hooks count and tell: one counter per reason, kept per CPU, and a record of what was redirected or refused.
//! Neither ever changes a verdict.

use crate::addr::Address;
use crate::limits::COMM_LEN;

macro_rules! reasons {
    ($($(#[doc = $doc:literal])+ $reason:ident = $name:literal: $sort:ident,)+) => {
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

            /// What it means for whoever tried.
            pub const fn sort(self) -> Sort {
                match self {
                    $(Self::$reason => Sort::$sort,)+
                }
            }

            /// The reason of a counter.
            pub fn of(counter: u32) -> Option<Self> {
                Self::ALL.get(counter as usize).copied()
            }
        }
    };
}

/// What became of an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sort {
    /// It went on, to a socket of ours: told.
    Redirected,
    /// It did not happen: told.
    Refused,
    /// Nothing that anybody has to be told of: counted.
    Counted,
}

reasons! {
    /// A connection was redirected to the agent's listener.
    Taken = "taken": Redirected,
    /// A question was redirected to the agent's DNS sockets.
    NameAsked = "name_asked": Redirected,
    /// A connection to a listener of the agent's own was let through.
    OwnLoopback = "own_loopback": Counted,
    /// Refused: a listener on this host that is not the agent's own.
    ForeignListener = "foreign_listener": Refused,
    /// Refused: nobody listens there on this host.
    NoListener = "no_listener": Refused,
    /// Refused: nothing serves the network namespace the socket is in.
    UnservedNetns = "unserved_netns": Refused,
    /// Refused: the socket that served the namespace is gone.
    ProxyGone = "proxy_gone": Refused,
    /// Refused: UDP other than names.
    Datagram = "datagram": Refused,
    /// Refused: port zero, multicast, broadcast.
    Destination = "destination": Refused,
    /// Refused: an address in a network that policy denies.
    DeniedNetwork = "denied_network": Refused,
    /// Refused: a link-local address or a metadata service of a cloud.
    Metadata = "metadata": Refused,
    /// A connection to a direct network passed by the gate.
    Direct = "direct": Counted,
    /// Refused: an IPv6 datagram where IPv6 loopback does not work.
    NoV6Loopback = "no_v6_loopback": Refused,
    /// Refused: a kind of socket that is neither TCP nor UDP.
    SocketKind = "socket_kind": Refused,
    /// Refused: a socket option that routes packets by itself.
    RoutingOption = "routing_option": Refused,
    /// Ignored, with success: an option that binds a socket to a device.
    DeviceOption = "device_option": Counted,
    /// Refused: a socket that was made outside the agent and is used by it.
    ForeignSocket = "foreign_socket": Refused,
    /// Refused: the kernel had no memory for the record of a socket.
    NoRecord = "no_record": Refused,
    /// Dropped: a packet that was leaving the host.
    Egress = "egress": Refused,
    /// Dropped: a packet to a socket on this host that is neither the agent's own nor serves it.
    ForeignPacket = "foreign_packet": Refused,
    /// Dropped: a packet that came from outside the host.
    Ingress = "ingress": Refused,
    /// An accepted connection has no record: the worker closes it.
    Unclaimed = "unclaimed": Refused,
    /// Something could not be told: nobody had read what was told before.
    RingFull = "ring_full": Counted,
}

/// Number of counters.
pub const REASONS: u32 = Reason::ALL.len() as u32;

/// What an attempt was for, as far as its hook knows.
///
/// For a packet that came from outside the host: who sent it, and the agent's port it was for.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Aim {
    /// The address; `::` when there is none.
    pub address: Address,
    /// Which kind of socket (`SOCK_RAW` …) for [`Reason::SocketKind`], which option for [`Reason::RoutingOption`]; 0
    /// for everything else.
    pub what: u32,
    /// The port, host order; 0 when there is none.
    pub port: u16,
    /// `IPPROTO_TCP` and its like; 0 when it is not known.
    pub protocol: u16,
}

/// What is told at most once a second. No hidden padding: it is a hash key.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Told {
    /// What for.
    pub aim: Aim,
    /// A [`Reason`].
    pub reason: u32,
}

/// When something was last told, and how often it happened since.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pace {
    /// `CLOCK_MONOTONIC` nanoseconds.
    pub at_ns: u64,
    /// Times that were not told.
    pub suppressed: u64,
}

/// How long the same thing is not told again.
pub const PACE_NS: u64 = 1_000_000_000;

impl Pace {
    /// Whether it is too early to tell again what was told at `at_ns`.
    #[inline(always)]
    pub const fn holds(at_ns: u64, now_ns: u64) -> bool {
        // Clocks of two CPUs: one that told this a moment later than now told it.
        now_ns.saturating_sub(at_ns) < PACE_NS
    }
}

/// Something a hook redirected or refused, as it lies in the ring. No hidden padding: every byte leaves the kernel.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Event {
    /// Cookie of the network namespace the socket lives in; 0 when the hook cannot know.
    pub netns_cookie: u64,
    /// `CLOCK_MONOTONIC` nanoseconds.
    pub at_ns: u64,
    /// How often the same happened, untold, since it was last told.
    pub suppressed: u64,
    /// What for.
    pub aim: Aim,
    /// A [`Reason`].
    pub reason: u32,
    /// 1 when a process called: `pid` and `comm` are its own. 0 when all there was is a packet.
    pub called: u32,
    /// Thread group id of the caller in the initial pid namespace.
    pub pid: u32,
    /// User id of the caller, of the socket's owner for a packet; [`NO_UID`] when the hook cannot know.
    pub uid: u32,
    /// Process name, NUL-padded; chosen by the process, so good for display only.
    pub comm: [u8; COMM_LEN],
}

/// Nobody's user id.
pub const NO_UID: u32 = u32::MAX;

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
    #[test]
    fn a_reason_is_found_by_its_counter_and_there_is_no_other() {
        assert!(Reason::ALL.iter().all(|reason| Reason::of(*reason as u32) == Some(*reason)));
        assert_eq!(Reason::of(REASONS), None);
    }

    #[test]
    fn the_same_is_told_once_a_second() {
        assert!(Pace::holds(5, 5) && Pace::holds(5, 4 + PACE_NS));
        assert!(!Pace::holds(5, 5 + PACE_NS));
        assert!(Pace::holds(5, 4), "another processor was a little later");
    }

    #[test]
    fn the_records_have_no_hidden_padding() {
        assert_eq!(size_of::<Aim>(), 16 + 4 + 2 * 2);
        assert_eq!(size_of::<Told>(), size_of::<Aim>() + 4);
        assert_eq!(size_of::<Pace>(), 2 * 8);
        assert_eq!(size_of::<Event>(), 3 * 8 + size_of::<Aim>() + 4 * 4 + COMM_LEN);
    }
}
