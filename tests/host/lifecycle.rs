//! The gate stays shut without its owner, is taken over by the next one, and is known to be broken when it is.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::os::unix::fs::PermissionsExt as _;
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result};
use shield_agent::capture::{Broken, CaptureError, Gate};
use shield_common::event::Reason;

use crate::{actor, world};

/// Every kind of traffic, one outcome per line.
const EVERYTHING: &str = r#"
began = time.monotonic()
say(outcome(lambda: tcp().connect(("1.2.3.4", 443))))
say(outcome(lambda: tcp(socket.AF_INET6).connect(("2001:db8::1", 443))))
def ask():
    with udp() as asker:
        asker.connect(("8.8.8.8", 53))
        asker.send(b"name?")
        asker.recv(100)
say(outcome(ask))
say(outcome(lambda: udp().sendto(b"x", ("1.2.3.4", 443))))
say(time.monotonic() - began < 1)
"#;
const NOTHING_PASSES: &str = "ECONNREFUSED\nECONNREFUSED\nECONNREFUSED\nECONNREFUSED\nTrue";

// Case 29.
#[test]
fn when_the_proxy_dies_everything_is_refused_at_once() -> Result<()> {
    let Some(mut world) = world()? else { return Ok(()) };
    drop(world.serve()?);
    assert_eq!(world.run(EVERYTHING)?, NOTHING_PASSES);
    world.assert_silent()
}

#[test]
fn whoever_takes_the_ports_of_a_dead_proxy_gets_nothing() -> Result<()> {
    let Some(mut world) = world()? else { return Ok(()) };
    let served = {
        let proxy = world.serve()?;
        proxy.served
    };
    let mut squatter = world.talk_outside(&format!(
        r#"
listeners = [socket.create_server(("", {port}), family=socket.AF_INET6, dualstack_ipv6=True)]
for port in {dns:?}:
    asked = udp(socket.AF_INET6)
    asked.bind(("::", port))
    listeners.append(asked)
say("listening")
input()
import select
say(len(select.select(listeners, [], [], 0)[0]))
"#,
        port = served.port,
        dns = served.dns,
    ))?;
    squatter.hear()?;
    assert_eq!(world.run(EVERYTHING)?, NOTHING_PASSES);
    assert_eq!(world.counted(Reason::ProxyGone)?, 3);
    squatter.tell("look")?;
    assert_eq!(squatter.hear()?, "0");
    world.assert_silent()
}

// Case 29.
#[test]
fn when_the_owner_is_killed_the_gate_stays_shut_and_the_next_owner_takes_it_over() -> Result<()> {
    let Some(mut world) = world()? else { return Ok(()) };
    Gate::clear(&world.instance, &world.agent)?;
    let mut owner = Command::new(actor())
        .args(["own", &world.instance])
        .args([&world.cgroups.agent, &world.cgroups.proxy])
        .stdout(Stdio::piped())
        .spawn()?;
    let mut line = String::new();
    BufReader::new(owner.stdout.take().context("no stdout")?).read_line(&mut line)?;
    assert_eq!(line, "attached\n");
    owner.kill()?;
    owner.wait()?;
    assert_eq!(world.run(EVERYTHING)?, NOTHING_PASSES);
    world.assert_silent()?;

    assert_eq!(Gate::pinned(&world.instance)?, [world.agent.clone()]);
    world.gate = Gate::adopt(&world.instance, &world.agent, &world.cgroups)?;
    let proxy = world.serve()?;
    let said = world.run(r#"say(socket.create_connection(("1.2.3.4", 443)).recv(100).decode())"#)?;
    assert_eq!(said, "proxied");
    assert_eq!(proxy.original()?.port, 443);
    world.assert_silent()
}

#[test]
fn dropping_a_gate_opens_nothing_and_detaching_it_opens_everything() -> Result<()> {
    let Some(world) = world()? else { return Ok(()) };
    drop(Gate::adopt(&world.instance, &world.agent, &world.cgroups)?);
    assert_eq!(world.run(EVERYTHING)?, NOTHING_PASSES);
    Gate::adopt(&world.instance, &world.agent, &world.cgroups)?.detach()?;
    assert!(!world.pins().exists());
    assert!(world.run(r#"say(outcome(lambda: udp().sendto(b"x", ("1.2.3.4", 443))))"#)?.starts_with('1'));
    assert_eq!(world.leaks()?, ["17 10.99.0.1 > 1.2.3.4"]);
    Ok(())
}

#[test]
fn an_agent_is_gated_once() -> Result<()> {
    let Some(world) = world()? else { return Ok(()) };
    let again = Gate::attach(&world.instance, &world.agent, &world.cgroups);
    assert!(matches!(again.err(), Some(CaptureError::AlreadyGated { .. })));
    assert_eq!(world.gate.is_intact(), Ok(()));
    Ok(())
}

#[test]
fn a_gate_that_cannot_be_attached_whole_leaves_nothing_behind() -> Result<()> {
    let Some(world) = world()? else { return Ok(()) };
    Gate::clear(&world.instance, &world.agent)?;
    let mut cgroups = world.cgroups.clone();
    cgroups.proxy = cgroups.proxy.join("missing");
    let attached = Gate::attach(&world.instance, &world.agent, &cgroups);
    assert!(matches!(attached.err(), Some(CaptureError::Cgroup { .. })));
    assert!(!world.pins().exists());
    assert!(world.run(r#"say(outcome(lambda: udp().sendto(b"x", ("1.2.3.4", 443))))"#)?.starts_with('1'));
    Ok(())
}

// Case 29.
#[test]
fn a_removed_pin_is_noticed() -> Result<()> {
    let Some(world) = world()? else { return Ok(()) };
    assert_eq!(world.gate.is_intact(), Ok(()));
    fs::remove_file(world.pins().join("links/gate_sendmsg4"))?;
    assert_eq!(world.gate.is_intact(), Err(Broken::PinGone("gate_sendmsg4")));
    let adopted = Gate::adopt(&world.instance, &world.agent, &world.cgroups);
    assert!(matches!(adopted.err(), Some(CaptureError::Broken { .. })));
    Ok(())
}

// Case 29.
#[test]
fn a_cgroup_that_was_removed_and_made_again_is_noticed() -> Result<()> {
    let Some(world) = world()? else { return Ok(()) };
    fs::remove_dir(&world.cgroups.agent)?;
    assert_eq!(world.gate.is_intact(), Err(Broken::CgroupGone(world.cgroups.agent.clone())));
    fs::create_dir(&world.cgroups.agent)?;
    // The kernel lets go of a removed cgroup in its own time; until then the links know its old id.
    let broken = world.gate.is_intact();
    assert!(matches!(broken, Err(Broken::Dead(_) | Broken::Elsewhere { .. })), "{broken:?}");
    assert!(Gate::adopt(&world.instance, &world.agent, &world.cgroups).is_err());
    Ok(())
}

// Case 29.
#[test]
fn a_map_of_another_shape_is_not_adopted() -> Result<()> {
    let Some(world) = world()? else { return Ok(()) };
    let maps = world.pins().join("maps");
    fs::remove_file(maps.join("NETNS"))?;
    fs::rename(maps.join("COUNTERS"), maps.join("NETNS"))?;
    let adopted = Gate::adopt(&world.instance, &world.agent, &world.cgroups);
    assert!(matches!(adopted.err(), Some(CaptureError::ForeignMap { .. })));
    Ok(())
}

// Case 29.
#[test]
fn a_full_map_of_namespaces_is_an_error_and_those_served_stay_served() -> Result<()> {
    let Some(mut world) = world()? else { return Ok(()) };
    let proxy = world.serve()?;
    let full = (1..=shield_common::limits::NETNS_MAX.into())
        .try_for_each(|cookie| world.gate.serve_netns(u64::MAX - cookie, proxy.served));
    assert!(matches!(full, Err(CaptureError::Map { .. })));
    let said = world.run(r#"say(socket.create_connection(("1.2.3.4", 443)).recv(100).decode())"#)?;
    assert_eq!(said, "proxied");
    Ok(())
}

#[test]
fn pins_are_for_root_only() -> Result<()> {
    let Some(world) = world()? else { return Ok(()) };
    let pins = world.pins();
    for dir in [pins.parent().context("no parent")?, &pins, &pins.join("links"), &pins.join("maps")] {
        assert_eq!(fs::metadata(dir)?.permissions().mode() & 0o777, 0o700, "{}", dir.display());
    }
    let said = world.run(&format!("say(outcome(lambda: os.listdir('{}')))", pins.display()))?;
    assert_eq!(said, "EACCES");
    Ok(())
}

#[test]
fn an_unprivileged_reader_of_originals_cannot_write_them() -> Result<()> {
    let Some(world) = world()? else { return Ok(()) };
    let originals = world.originals()?;
    let said = {
        use std::os::fd::AsRawFd as _;
        let flags = fs::read_to_string(format!("/proc/self/fdinfo/{}", originals.as_raw_fd()))?;
        flags.lines().find(|line| line.starts_with("flags:")).unwrap_or_default().to_owned()
    };
    // O_RDONLY, and closed on exec.
    assert_eq!(said, "flags:\t02000000");
    Ok(())
}
