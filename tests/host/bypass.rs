//! Ways around the connect hook, each stopped by what is there for it.

use anyhow::Result;
use shield_common::event::Reason;
use shield_tests::world::{python, run};

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

// Case 24. The launcher takes rings away; this is for who is gated without it.
#[test]
fn what_a_ring_does_for_the_agent_is_gated_like_its_own_calls() -> Result<()> {
    let Some(mut world) = world()? else { return Ok(()) };
    let proxy = world.serve()?;
    for poller in ["own-thread", "kernel-thread"] {
        let output = world.agent(actor())?.args(["ring", poller]).output()?;
        let said = String::from_utf8(output.stdout)?;
        assert_eq!(said, "proxied\nECONNREFUSED\nECONNREFUSED\nEPROTONOSUPPORT\n", "{poller}");
        let original = proxy.original()?;
        assert_eq!((&original.address[12..], original.port), (&[1, 2, 3, 4][..], 443), "{poller}");
    }
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
