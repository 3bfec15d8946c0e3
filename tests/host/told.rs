//! What the hooks tell of the ways that were tried: why, where to and by whom, and never at the cost of a verdict.

use anyhow::{Context as _, Result, ensure};
use shield_agent::capture::Events;
use shield_agent::capture::events::KernelEvent;
use shield_common::event::{Event, Reason, Sort};
use shield_common::limits::EVENTS_BYTES;
use shield_tests::world::{NOBODY, python, run};

use crate::layers::HELPERS;
use crate::world;

/// A way that is refused, as root or not, and what is told of it.
struct Refused {
    case: &'static str,
    user: Option<u32>,
    script: &'static str,
    told: &'static [&'static str],
}

const REFUSED: &[Refused] = &[
    Refused {
        case: "13: UDP, connected and not, in each family",
        user: Some(NOBODY),
        script: r#"
outcome(lambda: udp().connect(("1.2.3.4", 443)))
outcome(lambda: udp().sendto(b"x", ("1.2.3.5", 443)))
outcome(lambda: udp(socket.AF_INET6).connect(("2001:db8::1", 443)))
outcome(lambda: udp(socket.AF_INET6).sendto(b"x", ("::ffff:1.2.3.6", 123)))
"#,
        told: &[
            "datagram 1.2.3.4:443/17",
            "datagram 1.2.3.5:443/17",
            "datagram [2001:db8::1]:443/17",
            "datagram 1.2.3.6:123/17",
        ],
    },
    Refused {
        case: "17 and 22: UDP-Lite and MPTCP",
        user: Some(NOBODY),
        script: r#"
for kind, protocol in [(socket.SOCK_DGRAM, IPPROTO_UDPLITE), (socket.SOCK_STREAM, 262)]:
    outcome(lambda: socket.socket(socket.AF_INET, kind, protocol).close())
"#,
        told: &["socket_kind 2/136", "socket_kind 1/262"],
    },
    Refused {
        case: "18 and 22: raw sockets",
        user: None,
        script: r#"
for protocol in [socket.IPPROTO_UDP, socket.IPPROTO_RAW, socket.IPPROTO_ICMP]:
    outcome(lambda: socket.socket(socket.AF_INET, socket.SOCK_RAW, protocol).close())
"#,
        told: &["socket_kind 3/17", "socket_kind 3/255", "socket_kind 3/1"],
    },
    Refused {
        case: "20: source routing as an option and of one message",
        user: None,
        script: r#"
outcome(lambda: udp().setsockopt(socket.IPPROTO_IP, IP_OPTIONS, VIA_V4))
route = [(socket.IPPROTO_IP, IP_RETOPTS, VIA_V4)]
outcome(lambda: udp().sendmsg([b"secret"], route, 0, ("8.8.8.8", 53)))
"#,
        told: &["routing_option 4/0", "name_asked 8.8.8.8:53/17", "egress 1.2.3.4:PROXY/17"],
    },
    Refused {
        case: "21: segment routing",
        user: Some(NOBODY),
        script: "outcome(lambda: udp(socket.AF_INET6).setsockopt(socket.IPPROTO_IPV6, IPV6_RTHDR, VIA_V6))",
        told: &["routing_option 57/41"],
    },
    Refused {
        case: "25: nobody's listener",
        user: Some(NOBODY),
        script: r#"outcome(lambda: tcp().connect(("127.0.0.1", 8080)))"#,
        told: &["no_listener 127.0.0.1:8080/6"],
    },
];

// Cases 13, 17, 18, 20, 21, 22 and 25.
#[test]
fn a_way_that_is_refused_is_told_with_its_reason_its_destination_and_its_process() -> Result<()> {
    for refused in REFUSED {
        let Some(mut world) = world()? else { return Ok(()) };
        let proxy = world.serve()?;
        let mut events = world.gate.events()?;
        let command = world.program(python(), &world.cgroups.agent, refused.user)?;
        let script = format!("{HELPERS}\nsay(os.getpid())\n{}", refused.script);
        let pid: u32 = run(command, &script)?.parse()?;
        let told = all(&mut events);
        let served = proxy.served.dns.map(|port| format!(":{port}/"));
        let said = |event: &KernelEvent| {
            served.iter().fold(spell(event), |said, port| said.replace(port, ":PROXY/"))
        };
        let spelled: Vec<String> = told.iter().map(said).collect();
        ensure!(spelled == refused.told, "case {}: {spelled:?}", refused.case);
        for event in &told {
            ensure!(event.uid == Some(refused.user.unwrap_or(0)), "case {}: {event:?}", refused.case);
            let Some(process) = &event.process else { continue };
            ensure!(process.pid == pid, "case {}: {event:?}", refused.case);
            ensure!(process.comm.starts_with(b"python3"), "case {}: {event:?}", refused.case);
        }
        world.assert_silent()?;
    }
    Ok(())
}

// Case 25.
#[test]
fn a_stranger_that_knocks_at_the_agents_listener_is_told_with_the_port() -> Result<()> {
    let Some(mut world) = world()? else { return Ok(()) };
    let _proxy = world.serve()?;
    let mut events = world.gate.events()?;
    let mut listening =
        world.talk("listener = socket.create_server(('0.0.0.0', 8080)); say('up'); input()")?;
    listening.hear()?;
    world.run_on_the_internet(
        "socket.setdefaulttimeout(0.3); outcome(lambda: socket.create_connection(('10.99.0.1', 8080)))",
    )?;
    let told = all(&mut events);
    let knock = told.first().context("nothing was told")?;
    assert_eq!(spell(knock), "ingress 10.99.0.2:8080/6");
    assert_eq!(knock.process, None);
    world.assert_silent()
}

#[test]
fn a_network_namespace_that_nothing_serves_is_told_with_its_cookie() -> Result<()> {
    let Some(world) = world()? else { return Ok(()) };
    let mut events = world.gate.events()?;
    let cookie = world.listeners()?.netns_cookie;
    world.run(r#"outcome(lambda: tcp().connect(("1.2.3.4", 443)))"#)?;
    let told = all(&mut events);
    assert_eq!(told.iter().map(spell).collect::<Vec<_>>(), ["unserved_netns 1.2.3.4:443/6"]);
    assert_eq!(told[0].netns_cookie, cookie);
    world.assert_silent()
}

#[test]
fn a_redirected_connection_is_told_once() -> Result<()> {
    let Some(mut world) = world()? else { return Ok(()) };
    let proxy = world.serve()?;
    let mut events = world.gate.events()?;
    world.run("socket.create_connection(('1.2.3.4', 443)).recv(100)")?;
    proxy.original()?;
    let told = all(&mut events);
    assert_eq!(told.iter().map(spell).collect::<Vec<_>>(), ["taken 1.2.3.4:443/6"]);
    assert_eq!(told[0].reason.sort(), Sort::Redirected);
    Ok(())
}

const SEND_MANY: &str = r#"
sender = udp()
began = time.monotonic()
sent = 0
while time.monotonic() - began < 2.5:
    if outcome(lambda: sender.sendto(b"x", ("1.2.3.4", 443))) != "ECONNREFUSED": say("passed")
    sent += 1
say(sent)
"#;

#[test]
fn the_same_attempt_is_told_once_a_second_with_the_number_that_was_not_told() -> Result<()> {
    let Some(mut world) = world()? else { return Ok(()) };
    let _proxy = world.serve()?;
    let mut events = world.gate.events()?;
    let attempts: u64 = world.run(SEND_MANY)?.parse()?;
    let told = all(&mut events);
    assert!(told.iter().all(|event| spell(event) == "datagram 1.2.3.4:443/17"), "{told:?}");
    // The script may be kept from running for a while, so it may be told less often, never more.
    assert!((2..=3).contains(&told.len()), "{attempts} attempts within 2.5 s told {} times", told.len());
    assert_eq!(told[0].suppressed, 0, "the first is told at once");
    let apart = told.windows(2).all(|two| (two[1].at - two[0].at).as_secs() >= 1);
    assert!(apart, "{told:?}");
    let known: u64 = told.iter().map(|event| 1 + event.suppressed).sum();
    assert!(known > attempts / 4 && known <= attempts, "{known} of {attempts} are accounted for");
    assert_eq!(world.counted(Reason::Datagram)?, attempts);
    Ok(())
}

/// More destinations than the ring has room for.
const FLOOD: &str = r#"
sender = udp()
for number in range(6000):
    address = f"10.{number >> 8}.{number & 255}.1"
    if outcome(lambda: sender.sendto(b"x", (address, 443))) != "ECONNREFUSED": say(address, "passed")
if outcome(lambda: tcp().connect(("1.2.3.4", 443))) != "ok": say("not taken")
"#;

#[test]
fn a_flood_that_fills_the_ring_changes_no_verdict_and_is_counted() -> Result<()> {
    let Some(mut world) = world()? else { return Ok(()) };
    let proxy = world.serve()?;
    let mut events = world.gate.events()?;
    assert_eq!(world.run(FLOOD)?, "");
    assert_eq!(proxy.original()?.port, 443);
    let told = all(&mut events).len() as u64;
    // A header of eight bytes before each.
    assert_eq!(told, u64::from(EVENTS_BYTES) / (size_of::<Event>() as u64 + 8));
    assert_eq!(world.counted(Reason::RingFull)?, 6001 - told);
    assert_eq!(world.counted(Reason::Datagram)?, 6000);
    // Now that it was read there is room again.
    world.run(r#"outcome(lambda: udp().connect(("9.9.9.9", 443)))"#)?;
    assert_eq!(all(&mut events).iter().map(spell).collect::<Vec<_>>(), ["datagram 9.9.9.9:443/17"]);
    world.assert_silent()
}

/// More connections than half of the ring has room for, and then something that is refused.
const STORM: &str = r#"
for number in range(2500):
    tcp().connect((f"11.{number >> 8}.{number & 255}.1", 443))
outcome(lambda: udp().connect(("9.9.9.9", 443)))
"#;

#[test]
fn connections_leave_half_of_the_ring_to_refusals() -> Result<()> {
    let Some(mut world) = world()? else { return Ok(()) };
    let _proxy = world.serve()?;
    let mut events = world.gate.events()?;
    world.run(STORM)?;
    let told = all(&mut events);
    let redirected = told.iter().filter(|event| event.reason.sort() == Sort::Redirected).count();
    assert!(redirected < 2500 && redirected * 2 * (size_of::<Event>() + 8) >= EVENTS_BYTES as usize);
    assert_eq!(told.last().map(spell).as_deref(), Some("datagram 9.9.9.9:443/17"));
    Ok(())
}

#[test]
fn what_was_told_while_nobody_read_waits_for_the_next_reader() -> Result<()> {
    let Some(world) = world()? else { return Ok(()) };
    world.run(r#"outcome(lambda: udp().connect(("1.2.3.4", 443)))"#)?;
    let mut first = world.gate.events()?;
    assert_eq!(first.next().as_ref().map(spell).as_deref(), Some("datagram 1.2.3.4:443/17"));
    drop(first);
    world.run(r#"outcome(lambda: udp().connect(("1.2.3.5", 443)))"#)?;
    let mut second = world.gate.events()?;
    assert_eq!(all(&mut second).iter().map(spell).collect::<Vec<_>>(), ["datagram 1.2.3.5:443/17"]);
    Ok(())
}

/// Everything that was told: what a program did that has ended is in the ring.
fn all(events: &mut Events) -> Vec<KernelEvent> {
    events.collect()
}

/// `reason destination/protocol`, or `reason what/protocol` where there is no destination.
fn spell(event: &KernelEvent) -> String {
    let to = match event.address {
        Some(address) => std::net::SocketAddr::new(address, event.port).to_string(),
        None => event.what.to_string(),
    };
    format!("{} {to}/{}", event.reason.name(), event.protocol)
}
