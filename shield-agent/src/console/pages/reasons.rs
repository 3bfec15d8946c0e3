//! What the hooks did and why, and where an attempt went, as people say it.

use std::net::SocketAddr;

use shield_common::event::Reason;

use crate::ipc::attempt::Attempt;

/// What a counter counts, and what that means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Words {
    /// A few words.
    pub(super) what: &'static str,
    /// A sentence or two for somebody who wonders whether to worry.
    pub(super) why: &'static str,
}

/// About one reason.
pub(super) fn words(reason: Reason) -> Words {
    let (what, why) = match reason {
        Reason::Taken => ("Connections taken", "They went to the gate, which judges what is asked on them."),
        Reason::NameAsked => ("Names asked", "Questions to any nameserver are answered by the gate."),
        Reason::OwnLoopback => (
            "Connections to itself",
            "The agent reached a listener of its own on this host. That is its business.",
        ),
        Reason::DeviceOption => (
            "Devices asked for",
            "A program wanted its packets on a certain device. It was told yes, and they go to the gate all the same.",
        ),
        Reason::ForeignListener => (
            "Somebody else’s service on this host",
            "The agent tried a port of this host where another program listens: a database, a container engine, a \
             console. It reaches only what it started itself.",
        ),
        Reason::NoListener => (
            "Nobody listens there",
            "The agent tried a port of this host where nothing listens, as it would be told without a gate.",
        ),
        Reason::UnservedNetns => (
            "A network namespace that is not served",
            "A process of the agent moved into another network namespace, where the gate has no listener.",
        ),
        Reason::ProxyGone => (
            "The gate’s own listener was gone",
            "The worker was not there at that moment. Agents are blocked until it is back.",
        ),
        Reason::Datagram => (
            "UDP other than names",
            "Usually HTTP/3, which programs try first and then do without; also time, telemetry, media. What UDP says \
             cannot be judged, so none of it leaves.",
        ),
        Reason::Destination => (
            "No single destination",
            "Port zero, a multicast or a broadcast address: not a place to connect to.",
        ),
        Reason::DeniedNetwork => (
            "A network that policy denies",
            "The address is in a network listed under networks.deny. Nothing was sent.",
        ),
        Reason::Metadata => (
            "A link-local address",
            "Clouds hand out the host’s own credentials at such addresses. No agent reaches them, whatever policy says: \
             find out which program asks.",
        ),
        Reason::Direct => (
            "Connections to direct networks",
            "Policy lists the address under networks.direct: the connection passed by the gate, unread.",
        ),
        Reason::NoV6Loopback => (
            "A nameserver over IPv6",
            "IPv6 does not work on this host’s loopback, so the question cannot be brought to the gate. Programs ask \
             another nameserver.",
        ),
        Reason::SocketKind => (
            "A socket that is neither TCP nor UDP",
            "Raw sockets, ping, UDP-Lite, SCTP would pass the gate by. Multipath TCP is refused too: programs then \
             take plain TCP.",
        ),
        Reason::RoutingOption => (
            "Packets that choose their own way",
            "A socket option that routes packets past their destination. Ordinary programs do not use it: find out \
             which one does.",
        ),
        Reason::ForeignSocket => (
            "A socket from elsewhere",
            "A process of the agent used a socket that was made outside it: handed over by another program, or opened \
             before it was gated. Find out who gave it.",
        ),
        Reason::NoRecord => (
            "No memory for a record",
            "The kernel could not remember where a connection was going, so it was refused. Is this host out of memory?",
        ),
        Reason::Egress => (
            "A packet on its way out",
            "It had passed the other hooks and was dropped at the last one. Nothing left this host, but ordinary \
             programs do not get this far: find out which one does.",
        ),
        Reason::ForeignPacket => (
            "A packet to somebody else on this host",
            "It reached a socket that is neither the agent’s nor the gate’s, and was dropped: a listener was replaced, \
             or somebody tries to have one.",
        ),
        Reason::Ingress => (
            "A packet from outside",
            "Somebody tried to reach the agent over the network. It cannot be reached.",
        ),
        Reason::Unclaimed => (
            "A stranger at the gate’s listener",
            "A connection came that no process of the agent opened. It was closed.",
        ),
        Reason::RingFull => (
            "Not told one by one",
            "So much happened at once that the list below is not complete. The numbers here are.",
        ),
    };
    Words { what, why }
}

/// Where an attempt went, or what it wanted.
pub(super) fn target(attempt: &Attempt) -> String {
    match (attempt.address, attempt.reason) {
        (Some(address), _) if attempt.port != 0 => {
            format!("{} {}", SocketAddr::new(address, attempt.port), protocol(attempt.protocol))
        }
        (Some(address), _) => format!("{address} {}", protocol(attempt.protocol)),
        (None, Reason::SocketKind) => {
            format!("{} socket, {}", kind(attempt.what), protocol(attempt.protocol))
        }
        (None, Reason::RoutingOption) => format!("{} option {}", protocol(attempt.protocol), attempt.what),
        (None, _) => "—".to_owned(),
    }
}

fn kind(number: u32) -> String {
    match number {
        1 => "stream".to_owned(),
        2 => "datagram".to_owned(),
        3 => "raw".to_owned(),
        5 => "packet stream".to_owned(),
        other => format!("kind {other}"),
    }
}

fn protocol(number: u16) -> String {
    let name = match number {
        0 => "IPv4",
        1 => "ICMP",
        6 => "TCP",
        17 => "UDP",
        41 => "IPv6",
        58 => "ICMPv6",
        132 => "SCTP",
        136 => "UDP-Lite",
        255 => "headers of its own",
        262 => "MPTCP",
        other => return format!("protocol {other}"),
    };
    name.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_has_words_of_its_own() {
        for reason in Reason::ALL {
            let Words { what, why } = words(*reason);
            assert!(what.len() > 5 && why.ends_with(['.', '?']), "{reason:?}");
            assert_eq!(Reason::ALL.iter().filter(|other| words(**other).what == what).count(), 1);
        }
    }

    #[test]
    fn a_target_is_an_address_or_what_was_wanted() {
        let attempt = |reason, address: Option<&str>, port, protocol, what| Attempt {
            at: jiff::Timestamp::UNIX_EPOCH,
            reason,
            address: address.map(|text| text.parse().unwrap()),
            port,
            protocol,
            what,
            pid: None,
            uid: None,
            comm: String::new(),
            times: 1,
        };
        for (attempt, said) in [
            (attempt(Reason::Datagram, Some("192.0.2.7"), 443, 17, 0), "192.0.2.7:443 UDP"),
            (attempt(Reason::Egress, Some("2001:db8::1"), 53, 17, 0), "[2001:db8::1]:53 UDP"),
            (attempt(Reason::Egress, Some("192.0.2.7"), 0, 1, 0), "192.0.2.7 ICMP"),
            (attempt(Reason::SocketKind, None, 0, 136, 2), "datagram socket, UDP-Lite"),
            (attempt(Reason::SocketKind, None, 0, 99, 3), "raw socket, protocol 99"),
            (attempt(Reason::RoutingOption, None, 0, 41, 57), "IPv6 option 57"),
            (attempt(Reason::NoRecord, None, 0, 0, 0), "—"),
        ] {
            assert_eq!(target(&attempt), said);
        }
    }
}
