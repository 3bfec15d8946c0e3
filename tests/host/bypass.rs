//! Ways around the connect hook, each stopped by what is there for it. Where two controls stand behind each other,
//! one is left out to see the other, and both to see the sniffer notice.

use anyhow::Result;
use shield_common::event::Reason;
use shield_tests::world::{World, python, run};

use crate::{actor, world};

/// Nobody but the agent connects to the agent's proxy, and not the agent itself.
// Case 11.
#[test]
fn the_proxy_port_is_of_no_use_to_anyone_who_connects_to_it_directly() -> Result<()> {
    let Some(mut world) = world()? else { return Ok(()) };
    let proxy = world.serve()?;
    let to_proxy = format!(
        r#"
for family, address in [(socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")]:
    connection = tcp(family)
    say(outcome(lambda: connection.connect((address, {}))), outcome(lambda: connection.recv(100)))
"#,
        proxy.served.port
    );
    // A neighbour in the same namespace: accepted by the kernel, without a record, hence closed without a word.
    assert_eq!(world.run_outside(&to_proxy)?, "ok b''\nok b''");
    assert!(proxy.arrival()?.original.is_none());
    assert!(proxy.arrival()?.original.is_none());
    assert_eq!(world.counted(Reason::Unclaimed)?, 2);
    assert_eq!(world.run(&to_proxy)?, "EPERM ENOTCONN\nEPERM ENOTCONN");
    world.assert_silent()
}

const UDP_LITE: &str = r#"
IPPROTO_UDPLITE = 136
def send():
    sender = socket.socket(socket.AF_INET, socket.SOCK_DGRAM, IPPROTO_UDPLITE)
    sender.connect(("1.2.3.4", 443))
    sender.send(b"secret")
say(outcome(send))
"#;

/// What the agent is told, and whether the packet left.
fn udp_lite(omitted: &[&str]) -> Result<Option<(String, bool)>> {
    let Some(mut world) = World::without(actor(), omitted)? else { return Ok(None) };
    let _proxy = world.serve()?;
    let said = world.run(UDP_LITE)?;
    Ok(Some((said, !world.leaks()?.is_empty())))
}

// Case 17.
#[test]
fn udp_lite_is_stopped_by_the_socket_rule_and_by_the_backstop_each_alone() -> Result<()> {
    let Some(refused) = udp_lite(&[])? else { return Ok(()) };
    assert_eq!(refused, ("EPROTONOSUPPORT".into(), false));
    assert_eq!(udp_lite(&["gate_egress"])?, Some(("EPROTONOSUPPORT".into(), false)));
    assert_eq!(udp_lite(&["gate_create"])?, Some(("EPERM".into(), false)));
    assert_eq!(udp_lite(&["gate_create", "gate_egress"])?, Some(("ok".into(), true)));
    Ok(())
}

const SEGMENT_ROUTING: &str = r#"
IPV6_RTHDR = 57
def send():
    sender = udp(socket.AF_INET6)
    header = bytes([0, 2, 4, 0, 0, 0, 0, 0]) + socket.inet_pton(socket.AF_INET6, "::1")
    sender.setsockopt(socket.IPPROTO_IPV6, IPV6_RTHDR, header)
    sender.sendto(b"secret", ("2001:db8::53", 53))
say(outcome(send))
"#;

// Case 21.
#[test]
fn segment_routing_is_refused_as_an_option() -> Result<()> {
    let Some(mut world) = world()? else { return Ok(()) };
    let _proxy = world.serve()?;
    assert_eq!(world.run(SEGMENT_ROUTING)?, "EPERM");
    assert_eq!(world.counted(Reason::RoutingOption)?, 1);
    world.assert_silent()
}

// Cases 18 and 22.
#[test]
fn sockets_that_are_neither_tcp_nor_udp_do_not_exist() -> Result<()> {
    let Some(world) = world()? else { return Ok(()) };
    let script = r#"
IPPROTO_MPTCP, IPPROTO_UDPLITE, IPPROTO_SCTP = 262, 136, 132
for family in [socket.AF_INET, socket.AF_INET6]:
    for kind, protocol in [
        (socket.SOCK_STREAM, IPPROTO_MPTCP), (socket.SOCK_DGRAM, IPPROTO_UDPLITE),
        (socket.SOCK_SEQPACKET, IPPROTO_SCTP), (socket.SOCK_DGRAM, socket.IPPROTO_ICMP),
        (socket.SOCK_RAW, socket.IPPROTO_RAW), (socket.SOCK_RAW, socket.IPPROTO_UDP),
        (socket.SOCK_RAW, socket.IPPROTO_ICMP),
    ]:
        say(outcome(lambda: socket.socket(family, kind, protocol).close()))
"#;
    let everyone_may_ping = || std::fs::write("/proc/sys/net/ipv4/ping_group_range", "0 65535");
    world.agent_netns.enter(everyone_may_ping)?.join().expect("writing does not panic")?;
    // As root with every capability: only the hook stands in the way.
    let command = world.program(python(), &world.cgroups.agent, None)?;
    let said = run(command, script)?;
    assert!(said.lines().all(|line| line == "EPROTONOSUPPORT" || line == "ESOCKTNOSUPPORT"), "{said}");
    assert!(world.counted(Reason::SocketKind)? >= 10);
    world.assert_silent()
}

// Case 25.
#[test]
fn a_listener_of_the_agents_cannot_be_reached_from_outside() -> Result<()> {
    let Some(mut world) = world()? else { return Ok(()) };
    let _proxy = world.serve()?;
    let mut listening = world.talk(
        r#"
listener = socket.create_server(("0.0.0.0", 8080))
say("listening")
input()
"#,
    )?;
    listening.hear()?;
    let said = world.run_on_the_internet(
        r#"
socket.setdefaulttimeout(0.3)
say(outcome(lambda: socket.create_connection(("10.99.0.1", 8080)) and None))
"#,
    )?;
    assert_eq!(said, "TimeoutError('timed out')");
    assert!(world.counted(Reason::Ingress)? > 0);
    world.assert_silent()
}

const REACH: &str = r#"
for family, address in [
    (socket.AF_INET, "127.0.0.1"), (socket.AF_INET, "127.9.9.9"), (socket.AF_INET, "0.0.0.0"),
    (socket.AF_INET6, "::1"), (socket.AF_INET6, "::"), (socket.AF_INET6, "::ffff:127.0.0.1"),
]:
    say(outcome(lambda: tcp(family).connect((address, 8080))))
"#;
const LISTEN: &str = r#"
listener = socket.create_server(("::", 8080), family=socket.AF_INET6, dualstack_ipv6=True, backlog=100)
say("listening")
input()
"#;

// Case 25.
#[test]
fn on_loopback_the_agent_reaches_its_own_listeners_and_nobody_elses() -> Result<()> {
    let Some(mut world) = world()? else { return Ok(()) };
    let _proxy = world.serve()?;
    assert_eq!(world.run(REACH)?, ["ECONNREFUSED"; 6].join("\n"));
    assert_eq!(world.counted(Reason::NoListener)?, 6);
    {
        let mut own = world.talk(LISTEN)?;
        own.hear()?;
        assert_eq!(world.run(REACH)?, ["ok"; 6].join("\n"));
        assert_eq!(world.counted(Reason::OwnLoopback)?, 6);
    }
    let mut foreign = world.talk_outside(LISTEN)?;
    foreign.hear()?;
    assert_eq!(world.run(REACH)?, ["EPERM"; 6].join("\n"));
    assert_eq!(world.counted(Reason::ForeignListener)?, 6);
    world.assert_silent()
}

#[test]
fn a_socket_that_was_taken_before_tells_the_truth_about_its_own_loopback_peer() -> Result<()> {
    let Some(mut world) = world()? else { return Ok(()) };
    let _proxy = world.serve()?;
    let said = world.run(
        r#"
libc = ctypes.CDLL(None, use_errno=True)
listener = socket.create_server(("127.0.0.1", 8080))
connection = tcp()
connection.connect(("1.2.3.4", 443))
unspecified = struct.pack("H14x", socket.AF_UNSPEC)
assert libc.connect(connection.fileno(), unspecified, len(unspecified)) == 0
connection.connect(("127.0.0.1", 8080))
say(connection.getpeername())
"#,
    )?;
    assert_eq!(said, "('127.0.0.1', 8080)");
    Ok(())
}

#[test]
fn the_hosts_own_addresses_are_not_loopback() -> Result<()> {
    let Some(mut world) = world()? else { return Ok(()) };
    let proxy = world.serve()?;
    let mut foreign = world.talk_outside(LISTEN)?;
    foreign.hear()?;
    let said = world.run(r#"say(socket.create_connection(("10.99.0.1", 8080)).recv(100).decode())"#)?;
    assert_eq!(said, "proxied");
    assert_eq!(proxy.original()?.port, 8080);
    Ok(())
}
