//! Networks that policy denies or leads past the gate: judged by the hooks as by user space, and proven on the wire.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};

use anyhow::{Context as _, Result, ensure};
use shield_agent::networks::{Network, Networks};
use shield_common::event::Reason;
use shield_tests::world::{Talk, World};

use crate::{actor, world};

/// The cases the unit test of `shield_agent::networks` judges too.
const CASES: &str = include_str!("../cases/networks.txt");

/// A service on the internet, at every address there is.
const SERVICE: &str = r#"
import threading
def greet(listener):
    while True:
        connection, _ = listener.accept()
        connection.settimeout(10)
        connection.sendall(b"world")
        threading.Thread(target=lambda: connection.recv(100), daemon=True).start()
def listen(port):
    listener = tcp(socket.AF_INET6)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind(("::", port))
    listener.listen(100)
    listener.settimeout(None)
    threading.Thread(target=greet, args=(listener,), daemon=True).start()
for port in map(int, input().split()):
    listen(port)
say("listening")
input()
"#;

/// Says how a connection to each destination it is told ends.
const VISITOR: &str = r#"
def visit(address, port):
    connection = tcp(socket.AF_INET6 if ":" in address else socket.AF_INET)
    connection.connect((address, port))
    said = connection.recv(100).decode()
    peer = connection.getpeername()[:2]
    assert peer == (address, port) or ":" in address, peer
    return "proxied" if said.startswith("HTTP/") else said or "nothing"
while True:
    words = input().split()
    say(outcome(lambda: visit(words[0], int(words[1]))))
"#;

fn networks(deny: &[&str], direct: &[&str]) -> Result<Networks> {
    let parse = |text: &&str| Network::parse(text).map_err(anyhow::Error::msg);
    Ok(Networks {
        deny: deny.iter().map(parse).collect::<Result<_>>()?,
        direct: direct.iter().map(parse).collect::<Result<_>>()?,
    })
}

fn serve_the_internet(world: &World, ports: &[u16]) -> Result<Talk> {
    let mut service = world.talk_on_the_internet(SERVICE)?;
    service.tell(&ports.iter().map(ToString::to_string).collect::<Vec<_>>().join(" "))?;
    ensure!(service.hear()? == "listening", "the internet is down");
    Ok(service)
}

fn visit(visitor: &mut Talk, destination: SocketAddr) -> Result<String> {
    visitor.tell(&format!("{} {}", destination.ip(), destination.port()))?;
    visitor.hear()
}

/// Where the packets that left were going, each host once.
fn reached(world: &World) -> Result<BTreeSet<IpAddr>> {
    let to = |leak: String| leak.rsplit(' ').next().and_then(|ip| ip.parse().ok()).context(leak);
    world.leaks()?.into_iter().map(to).collect()
}

#[test]
fn the_hooks_judge_every_case_as_user_space_does() -> Result<()> {
    let Some(mut world) = world()? else { return Ok(()) };
    let _proxy = world.serve()?;
    let (mut deny, mut direct, mut cases) = (vec![], vec![], vec![]);
    for line in CASES.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
        match line.split(' ').collect::<Vec<_>>()[..] {
            ["deny", network] => deny.push(network),
            ["direct", network] => direct.push(network),
            [expected, ip, port] => cases.push((expected, SocketAddr::new(ip.parse()?, port.parse()?))),
            _ => anyhow::bail!("{line}"),
        }
    }
    world.gate.set_networks(&networks(&deny, &direct)?)?;
    let is_direct = |(expected, _): &&(&str, SocketAddr)| *expected == "direct";
    let ports: BTreeSet<u16> = cases.iter().filter(is_direct).map(|(_, to)| to.port()).collect();
    let _internet = serve_the_internet(&world, &ports.into_iter().collect::<Vec<_>>())?;
    let mut visitor = world.talk(VISITOR)?;
    let mut wanted = BTreeSet::new();
    for (expected, destination) in cases {
        let (said, reason) = match expected {
            "gate" => ("proxied", Reason::Taken),
            "direct" => ("world", Reason::Direct),
            "denied" => ("ECONNREFUSED", Reason::DeniedNetwork),
            "reserved" => ("ECONNREFUSED", Reason::Metadata),
            _ => anyhow::bail!("{expected}"),
        };
        let before = world.counted(reason)?;
        let told = visit(&mut visitor, destination)?;
        ensure!(told == said, "{expected} {destination}: {told}");
        ensure!(world.counted(reason)? == before + 1, "{expected} {destination}: not counted as {reason:?}");
        if expected == "direct" {
            wanted.insert(destination.ip().to_canonical());
        }
    }
    assert_eq!(reached(&world)?, wanted, "exactly what is direct leaves the host");
    Ok(())
}

#[test]
fn a_direct_network_is_reached_by_tcp_alone_and_reaches_no_listener_of_the_agents() -> Result<()> {
    let Some(mut world) = world()? else { return Ok(()) };
    let _proxy = world.serve()?;
    world.gate.set_networks(&networks(&[], &["192.0.2.0/24:443", "2001:db8::/32", "10.99.0.0/24"])?)?;
    let _internet = serve_the_internet(&world, &[443])?;
    let said = world.run(
        r#"
def datagram(how):
    sender = udp()
    how(sender)
say(outcome(lambda: datagram(lambda s: s.sendto(b"secret", ("192.0.2.7", 443)))))
say(outcome(lambda: datagram(lambda s: s.connect(("192.0.2.7", 443)))))
listener = tcp()
listener.bind(("0.0.0.0", 8080))
listener.listen()
said = socket.create_connection(("192.0.2.7", 443)).recv(100).decode()
say(said)
"#,
    )?;
    assert_eq!(said, "ECONNREFUSED\nECONNREFUSED\nworld");
    let mut host = world.talk(
        r#"
listener = tcp()
listener.bind(("0.0.0.0", 8080))
listener.listen()
listener.settimeout(1)
say("listening")
say(outcome(lambda: listener.accept() and "accepted"))
"#,
    )?;
    host.hear()?;
    let outside = world.run_on_the_internet(
        r#"
guest = tcp()
guest.settimeout(0.5)
say(outcome(lambda: guest.connect(("10.99.0.1", 8080))))
"#,
    )?;
    assert!(outside.contains("timed out"), "{outside}");
    assert!(host.hear()?.contains("timed out"), "a stranger was accepted");
    assert_eq!(reached(&world)?, BTreeSet::from(["192.0.2.7".parse()?]));
    Ok(())
}

#[test]
fn a_rule_taken_back_closes_the_way_also_for_what_is_open() -> Result<()> {
    let Some(mut world) = world()? else { return Ok(()) };
    let _proxy = world.serve()?;
    let way = "192.0.2.7:443".parse()?;
    world.gate.set_networks(&networks(&[], &["192.0.2.0/24:443"])?)?;
    let _internet = serve_the_internet(&world, &[443])?;
    let mut visitor = world.talk(VISITOR)?;
    assert_eq!(visit(&mut visitor, way)?, "world");
    let mut held = world.talk(
        r#"
connection = socket.create_connection(("192.0.2.7", 443))
say(connection.recv(100).decode())
input()
connection.send(b"SECRET")
say("sent")
input()
"#,
    )?;
    assert_eq!(held.hear()?, "world");
    world.gate.set_networks(&Networks::default())?;
    assert_eq!(visit(&mut visitor, way)?, "proxied", "a new connection goes through the gate again");
    let stopped = world.counted(Reason::Egress)?;
    held.tell("go on")?;
    held.hear()?;
    ensure!(world.counted(Reason::Egress)? > stopped, "what was open still sends");
    world.gate.set_networks(&networks(&["192.0.2.0/24"], &["192.0.2.0/24:443"])?)?;
    assert_eq!(visit(&mut visitor, way)?, "ECONNREFUSED", "denied and direct is denied");
    Ok(())
}

#[test]
fn lists_are_replaced_without_a_moment_in_which_a_denied_network_is_open() -> Result<()> {
    let Some(mut world) = world()? else { return Ok(()) };
    let _proxy = world.serve()?;
    let _internet = serve_the_internet(&world, &[443])?;
    let lists = [
        networks(&["192.0.2.0/24"], &["192.0.2.0/24:443"])?,
        networks(&["192.0.2.0/25", "192.0.2.128/25"], &["0.0.0.0/0"])?,
        networks(&["192.0.2.7"], &["192.0.2.7:443"])?,
    ];
    world.gate.set_networks(&lists[0])?;
    let mut knocking = world.talk(
        r#"
import select
def knock():
    socket.create_connection(("192.0.2.7", 443))
    return "in"
said, knocks = set(), 0
say("knocking")
while not select.select([sys.stdin], [], [], 0)[0]:
    said.add(outcome(knock))
    knocks += 1
say(*sorted(said), knocks > 100)
"#,
    )?;
    knocking.hear()?;
    for round in 0..600 {
        world.gate.set_networks(&lists[round % lists.len()])?;
    }
    while world.counted(Reason::DeniedNetwork)? < 200 {
        std::thread::yield_now();
    }
    knocking.tell("enough")?;
    assert_eq!(knocking.hear()?, "ECONNREFUSED True");
    world.assert_silent()
}

#[test]
fn the_backstop_alone_lets_out_what_is_direct_and_nothing_else() -> Result<()> {
    let Some(mut world) = World::without(actor(), &["gate_connect4", "gate_sendmsg4"])? else {
        return Ok(());
    };
    let _proxy = world.serve()?;
    world.gate.set_networks(&networks(&["192.0.2.9"], &["192.0.2.0/24:443"])?)?;
    let _internet = serve_the_internet(&world, &[443, 444])?;
    let said = world.run(
        r#"
def visit(address, port):
    connection = tcp()
    connection.settimeout(0.3)
    connection.connect((address, port))
    return connection.recv(100).decode()
for place in ("192.0.2.7", 443), ("192.0.2.7", 444), ("192.0.2.9", 443), ("203.0.113.9", 443), ("169.254.169.254", 443):
    say(outcome(lambda: visit(*place)))
say(outcome(lambda: udp().sendto(b"secret", ("192.0.2.8", 443)) and "sent"))
"#,
    )?;
    let told: Vec<&str> = said.lines().collect();
    assert_eq!((told.len(), told[0], told[5]), (6, "world", "EPERM"), "{said}");
    assert!(told[1..5].iter().all(|line| line.contains("timed out")), "{said}");
    assert_eq!(reached(&world)?, BTreeSet::from(["192.0.2.7".parse()?]));
    Ok(())
}
