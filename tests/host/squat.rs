//! Taking the place of a listener that was judged, or of a connection that was filed: what is decided before a packet
//! leaves has to be true of the socket it reaches.

use std::net::TcpListener;
use std::os::fd::AsFd as _;

use anyhow::Result;
use nix::sys::socket::{Backlog, listen};
use shield_agent::capture::originals;
use shield_common::event::Reason;
use shield_tests::wait;
use shield_tests::world::World;

use crate::{actor, world};

/// Connections that stay unanswered: the listener's queue has no room, so their first packets are dropped.
const UNANSWERED: &str = r#"
def unanswered(address, port, sources):
    waiting = []
    for source in sources:
        connection = tcp()
        connection.setblocking(False)
        if source: connection.bind(("127.0.0.1", source))
        try: connection.connect((address, port))
        except BlockingIOError: pass
        waiting.append(connection)
    return waiting
"#;

// Case 10.
#[test]
fn connections_given_up_before_they_were_accepted_leave_no_record_for_a_neighbour() -> Result<()> {
    let Some(mut world) = world()? else { return Ok(()) };
    let mut opened = world.listeners()?;
    opened.served.v6 = 0;
    listen(&opened.tcp[0], Backlog::new(0)?)?;
    world.gate.serve_netns(opened.netns_cookie, opened.served)?;
    // Room for one: the others wait until they are given up, the last one on a port we know.
    let given_up = 2_000;
    world.run(&format!(
        r#"{UNANSWERED}
for turn in range({turns}):
    for connection in unanswered("1.2.3.4", 443, [0] * 100): connection.close()
for connection in unanswered("1.2.3.4", 443, [0] * 8 + [40000]): connection.close()
"#,
        turns = given_up / 100,
    ))?;
    assert!(world.counted(Reason::Taken)? > given_up);
    assert_eq!(world.gate.handoffs()?, 0);
    // A neighbour in the same namespace that comes from the same port.
    let listener = TcpListener::from(opened.tcp.remove(0));
    listen(&listener, Backlog::new(16)?)?;
    let port = opened.served.port;
    let mut neighbour = world.talk_outside(&format!(
        r#"
connection = tcp()
connection.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
connection.bind(("127.0.0.1", 40000))
connection.connect(("127.0.0.1", {port}))
say("connected")
input()
"#
    ))?;
    assert_eq!(neighbour.hear()?, "connected");
    let originals = world.originals()?;
    let from_neighbour = wait::until("the neighbour to be accepted", || {
        let (stream, peer) = listener.accept().ok()?;
        (peer.port() == 40000).then_some(stream)
    })?;
    assert_eq!(originals::lookup(originals.as_fd(), from_neighbour.as_fd())?, None);
    Ok(())
}

const OWN: &str = r#"
listener = tcp()
listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
listener.bind(("127.0.0.1", 8080))
listener.listen(0)
waiting = unanswered("127.0.0.1", 8080, [0] * 8)
say("waiting")
input()
listener.close()
say("closed")
input()
"#;

// Case 25.
#[test]
fn a_connection_to_the_agents_own_listener_does_not_reach_its_successor() -> Result<()> {
    let Some(mut world) = world()? else { return Ok(()) };
    let _proxy = world.serve()?;
    let mut agent = world.talk(&format!("{UNANSWERED}{OWN}"))?;
    assert_eq!(agent.hear()?, "waiting");
    let mut successor = world.talk_outside(
        r#"
successor = tcp()
successor.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
say("ready")
input()
successor.bind(("127.0.0.1", 8080))
successor.listen(100)
say("listening")
input()
successor.setblocking(False)
say(outcome(lambda: successor.accept() and "reached"))
"#,
    )?;
    assert_eq!(successor.hear()?, "ready");
    agent.tell("close")?;
    assert_eq!(agent.hear()?, "closed");
    successor.tell("listen")?;
    assert_eq!(successor.hear()?, "listening");
    // The kernel tries again by itself, after the judgement.
    wait::until("another try of the agent's kernel to be dropped", || {
        world.counted(Reason::ForeignPacket).ok().filter(|&dropped| dropped > 0)
    })?;
    successor.tell("look")?;
    assert_eq!(successor.hear()?, "EAGAIN");
    world.assert_silent()
}

// Case 25.
#[test]
fn sharing_a_port_with_a_neighbour_does_not_lead_to_the_neighbour() -> Result<()> {
    let Some(mut world) = world()? else { return Ok(()) };
    let _proxy = world.serve()?;
    // Which of two the hook's question finds depends on the address: of many, some find the agent's own.
    let share = r#"
SHARED = [(f"127.0.0.{last}", 8080) for last in range(1, 33)]
listeners = []
for address in SHARED:
    listener = tcp()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    listener.bind(address)
    listener.listen(100)
    listener.setblocking(False)
    listeners.append(listener)
def reached():
    return sum(outcome(lambda: listener.accept() and "reached") == "reached" for listener in listeners)
say("listening")
input()
"#;
    // Only a process of the same user can share.
    let mut neighbour = world.talk_of_its_user(&format!("{share}\nsay(reached())"))?;
    assert_eq!(neighbour.hear()?, "listening");
    let mut agent = world.talk(&format!(
        r#"{share}
waiting = []
for address in SHARED:
    for attempt in range(16):
        connection = tcp()
        connection.setblocking(False)
        outcome(lambda: connection.connect(address))
        waiting.append(connection)
say(reached() > 0)
input()
"#
    ))?;
    assert_eq!(agent.hear()?, "listening");
    agent.tell("connect")?;
    assert_eq!(agent.hear()?, "True");
    assert!(world.counted(Reason::ForeignPacket)? > 0);
    neighbour.tell("look")?;
    assert_eq!(neighbour.hear()?, "0");
    world.assert_silent()
}

// Case 29.
#[test]
fn a_socket_connected_to_a_dead_dns_socket_does_not_reach_whoever_takes_its_port() -> Result<()> {
    let Some(mut world) = world()? else { return Ok(()) };
    let proxy = world.serve()?;
    let served = proxy.served;
    let mut agent = world.talk(
        r#"
asker = udp()
asker.connect(("8.8.8.8", 53))
asker.send(b"name?")
say(asker.recv(100).decode())
input()
say(outcome(lambda: asker.send(b"secret") and None))
"#,
    )?;
    assert_eq!(agent.hear()?, "answer to name?");
    drop(proxy);
    let mut squatter = world.talk_outside(&format!(
        r#"
squatter = udp()
squatter.bind(("127.0.0.1", {port}))
squatter.setblocking(False)
say("listening")
input()
say(outcome(lambda: squatter.recv(100)))
"#,
        port = served.dns[0],
    ))?;
    assert_eq!(squatter.hear()?, "listening");
    agent.tell("ask")?;
    assert_eq!(agent.hear()?, "EPERM");
    squatter.tell("look")?;
    assert_eq!(squatter.hear()?, "EAGAIN");
    assert_eq!(world.counted(Reason::ForeignPacket)?, 1);
    world.assert_silent()
}

/// The backstop alone, without the hooks that judge calls.
// Case 25.
#[test]
fn without_the_connect_hook_the_backstop_keeps_a_connection_from_others_listeners() -> Result<()> {
    let Some(mut world) = World::without(actor(), &["gate_connect4", "gate_connect6"])? else {
        return Ok(());
    };
    let _proxy = world.serve()?;
    let mut foreign = world.talk_outside(
        r#"
listener = socket.create_server(("127.0.0.1", 8080))
listener.setblocking(False)
say("listening")
input()
say(outcome(lambda: listener.accept() and "reached"))
"#,
    )?;
    assert_eq!(foreign.hear()?, "listening");
    world.run(&format!("{UNANSWERED}\nunanswered('127.0.0.1', 8080, [0])"))?;
    world.run(&format!("{UNANSWERED}\nunanswered('1.2.3.4', 443, [0])"))?;
    foreign.tell("look")?;
    assert_eq!(foreign.hear()?, "EAGAIN");
    assert!(world.counted(Reason::ForeignPacket)? > 0 && world.counted(Reason::Egress)? > 0);
    world.assert_silent()
}

#[test]
fn a_packet_to_the_agents_own_listener_passes_the_backstop() -> Result<()> {
    let Some(mut world) = world()? else { return Ok(()) };
    let _proxy = world.serve()?;
    let said = world.run(
        r#"
for family, address in [(socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")]:
    listener = socket.create_server((address, 0), family=family)
    connection = tcp(family)
    connection.connect(listener.getsockname())
    connection.sendall(b"hello")
    say(listener.accept()[0].recv(100).decode())
"#,
    )?;
    assert_eq!(said, "hello\nhello");
    assert_eq!(world.counted(Reason::ForeignPacket)?, 0);
    Ok(())
}
