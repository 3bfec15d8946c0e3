//! UDP: names are answered by whoever was asked, everything else is refused at once.

use anyhow::Result;
use shield_common::event::Reason;

use crate::world;

/// Tries every way to send a datagram to port 443; says the worst time the refusals took, in milliseconds.
const EVERY_WAY: &str = r#"
libc = ctypes.CDLL(None, use_errno=True)
def send_raw(sender, family):
    address = struct.pack("=H", family) + struct.pack("!H4s8x", 443, socket.inet_aton("1.2.3.4"))
    if libc.sendto(sender.fileno(), b"x", 1, 0, address, len(address)) < 0:
        raise OSError(ctypes.get_errno(), "sendto")
ways = {
    "connect v4": lambda: udp().connect(("1.2.3.4", 443)),
    "connect v6": lambda: udp(socket.AF_INET6).connect(("2001:db8::1", 443)),
    "connect mapped": lambda: udp(socket.AF_INET6).connect(("::ffff:1.2.3.4", 443)),
    "sendto v4": lambda: udp().sendto(b"x", ("1.2.3.4", 443)),
    "sendto v6": lambda: udp(socket.AF_INET6).sendto(b"x", ("2001:db8::1", 443)),
    "sendto mapped": lambda: udp(socket.AF_INET6).sendto(b"x", ("::ffff:1.2.3.4", 443)),
    "sendto unspecified family": lambda: send_raw(udp(), socket.AF_UNSPEC),
    "sendto v4 from a v6 socket": lambda: send_raw(udp(socket.AF_INET6), socket.AF_INET),
    "sendmsg": lambda: udp().sendmsg([b"x"], [], 0, ("1.2.3.4", 443)),
    "loopback": lambda: udp().sendto(b"x", ("127.0.0.1", 443)),
    "multicast": lambda: udp().sendto(b"x", ("224.0.0.251", 5353)),
    "time": lambda: udp().sendto(b"x", ("1.2.3.4", 123)),
}
"#;

// Case 13.
#[test]
fn every_way_to_send_a_datagram_is_refused_within_five_milliseconds() -> Result<()> {
    let Some(mut world) = world()? else { return Ok(()) };
    let _proxy = world.serve()?;
    let said = world.run(&format!(
        r#"{EVERY_WAY}
for name, way in ways.items():
    best = 1000
    for attempt in range(5):
        began = time.monotonic()
        refused = outcome(way)
        best = min(best, time.monotonic() - began)
        if refused != "ECONNREFUSED": say(name, refused)
    if best > 0.005: say(name, "took", best)
"#
    ))?;
    assert_eq!(said, "");
    assert_eq!(world.counted(Reason::Datagram)?, 12 * 5);
    world.assert_silent()
}

const ASK: &str = r#"
def ask(family, server, how):
    with udp(family) as asker:
        if how == "connected":
            asker.connect((server, 53))
            peer = asker.getpeername()[:2]
            asker.send(b"name?")
        else:
            asker.sendto(b"name?", (server, 53))
            peer = None
        answer, source = asker.recvfrom(100)
        return (answer.decode(), source[:2], peer)
asked = [
    (socket.AF_INET, "8.8.8.8"), (socket.AF_INET, "127.0.0.53"),
    (socket.AF_INET6, "2001:4860:4860::8888"), (socket.AF_INET6, "::ffff:9.9.9.9"),
]
"#;

// Case 14.
#[test]
fn an_answer_comes_from_the_nameserver_that_was_asked() -> Result<()> {
    let Some(mut world) = world()? else { return Ok(()) };
    let _proxy = world.serve()?;
    let said = world.run(&format!(
        r#"{ASK}
for family, server in asked:
    for how in ["connected", "unconnected"]:
        answer, source, peer = ask(family, server, how)
        if answer != "answer to name?" or source != (server, 53) or peer not in [None, (server, 53)]:
            say(server, how, answer, source, peer)
"#
    ))?;
    assert_eq!(said, "");
    assert_eq!(world.counted(Reason::NameAsked)?, 8);
    world.assert_silent()
}

// Case 14.
#[test]
fn without_ipv6_loopback_an_ipv6_nameserver_can_be_asked_by_connecting_only() -> Result<()> {
    let Some(mut world) = world()? else { return Ok(()) };
    let _proxy = world.serve_as(|opened| opened.served.v6 = 0)?;
    let said = world.run(&format!(
        r#"{ASK}
say(ask(socket.AF_INET6, "2001:db8::53", "connected"))
say(outcome(lambda: ask(socket.AF_INET6, "2001:db8::53", "unconnected")))
"#
    ))?;
    let connected = "('answer to name?', ('2001:db8::53', 53), ('2001:db8::53', 53))";
    assert_eq!(said, format!("{connected}\nECONNREFUSED"));
    assert_eq!(world.counted(Reason::NoV6Loopback)?, 1);
    world.assert_silent()
}

// Case 15.
#[test]
fn one_socket_that_asks_four_nameservers_is_told_which_of_them_answered() -> Result<()> {
    let Some(mut world) = world()? else { return Ok(()) };
    let _proxy = world.serve()?;
    for (family, servers) in [
        ("AF_INET", r#"["1.1.1.1", "8.8.8.8", "9.9.9.9", "127.0.0.53"]"#),
        ("AF_INET6", r#"["2001:db8::1", "::ffff:8.8.8.8", "2001:db8::3", "2001:db8::4"]"#),
    ] {
        let said = world.run(&format!(
            r#"
asker = udp(socket.{family})
servers = {servers}
for turn in range(3):
    for server in servers:
        asker.sendto(server.encode(), (server, 53))
    for server in servers:
        answer, source = asker.recvfrom(100)
        if answer.decode() != "answer to " + source[0] or source[1] != 53:
            say(answer, source)
"#
        ))?;
        assert_eq!(said, "", "{family}");
    }
    world.assert_silent()
}

#[test]
fn names_asked_over_tcp_arrive_at_the_proxy_with_their_port() -> Result<()> {
    let Some(mut world) = world()? else { return Ok(()) };
    let proxy = world.serve()?;
    for server in ["8.8.8.8", "127.0.0.53"] {
        world.run(&format!("socket.create_connection(('{server}', 53)).recv(100)"))?;
        assert_eq!(proxy.original()?.port, 53, "{server}");
    }
    world.assert_silent()
}
