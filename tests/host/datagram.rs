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

/// Sends something that is no question to every port in every form, and says what was not refused; for port 53 the
/// proxy's answer, for the others that the kernel refuses.
const EVERY_FORM: &str = r#"
libc = ctypes.CDLL(None, use_errno=True)
families = {
    "v4": (socket.AF_INET, socket.AF_INET, "1.2.3.4"),
    "v6": (socket.AF_INET6, socket.AF_INET6, "2001:db8::1"),
    "mapped": (socket.AF_INET6, socket.AF_INET6, "::ffff:1.2.3.4"),
}
def packed(family, address, port):
    raw = socket.inet_pton(family, address)
    head = struct.pack("=H", family) + struct.pack("!H", port)
    return head + raw + bytes(8) if family == socket.AF_INET else head + bytes(4) + raw + bytes(4)
def send_many(sender, addresses):
    payload = ctypes.create_string_buffer(b"\xc3" + bytes(1199), 1200)
    vector = struct.pack("=QQ", ctypes.addressof(payload), 1200)
    kept, messages = [ctypes.create_string_buffer(vector, len(vector))], b""
    for address in addresses:
        kept.append(ctypes.create_string_buffer(address, len(address)))
        messages += struct.pack("=QIIQQQQiiII", ctypes.addressof(kept[-1]), len(address), 0,
                                ctypes.addressof(kept[0]), 1, 0, 0, 0, 0, 0, 0)
    sent = libc.sendmmsg(sender.fileno(), ctypes.create_string_buffer(messages, len(messages)), len(addresses), 0)
    if sent < 0: raise OSError(ctypes.get_errno(), "sendmmsg")
    return sent
def connected(sender, to):
    sender.connect(to)
    sender.send(b"x")
def written(sender, to):
    sender.connect(to)
    os.write(sender.fileno(), b"x")
forms = {
    "sendto": lambda sender, family, to: sender.sendto(b"x", to),
    "sendmsg": lambda sender, family, to: sender.sendmsg([b"x"], [], 0, to),
    "sendmmsg": lambda sender, family, to: send_many(sender, [packed(family, *to)] * 3),
    "connect": lambda sender, family, to: connected(sender, to),
    "write": lambda sender, family, to: written(sender, to),
}
"#;

// E2.
#[test]
fn no_form_of_datagram_to_any_port_leaves() -> Result<()> {
    let Some(mut world) = world()? else { return Ok(()) };
    let _proxy = world.serve()?;
    let said = world.run(&format!(
        r#"{EVERY_FORM}
tried = 0
for name, (family, raw, address) in families.items():
    for port in [53, 123, 443, 853, 4433, 40000]:
        for form, send in forms.items():
            with udp(family) as sender:
                result = outcome(lambda: send(sender, raw, (address, port)))
                if port == 53:
                    refused = sender.recv(2000).startswith(b"answer to ")
                else:
                    refused = result == "ECONNREFUSED"
                if not refused: say(name, port, form, result)
                tried += 1
        say_lite = outcome(lambda: socket.socket(family, socket.SOCK_DGRAM, 136).sendto(b"x", (address, port)))
        if say_lite != "EPROTONOSUPPORT": say(name, port, "UDP-Lite", say_lite)
say(tried)
# A call that sends several stops at the first that is refused.
with udp() as sender:
    say(send_many(sender, [packed(socket.AF_INET, "1.2.3.4", port) for port in [53, 443, 53]]))
    sender.connect(("1.2.3.4", 53))
    say(outcome(lambda: sender.sendto(b"x", ("1.2.3.4", 443))))
"#
    ))?;
    assert_eq!(said, "90\n1\nECONNREFUSED");
    assert_eq!(world.counted(Reason::Datagram)?, 3 * 5 * 5 + 2);
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
