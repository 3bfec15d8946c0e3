//! Programs of others on the cgroups above the agent's: what they can change, and that nothing leaves whatever they say.

use std::net::Ipv4Addr;
use std::path::Path;

use anyhow::{Context as _, Result};
use shield_common::event::Reason;
use shield_tests::foreign::{Act, Calls, Foreign};
use shield_tests::world::World;

use crate::world;

const CONNECT: &str =
    r#"say(outcome(lambda: socket.create_connection(("1.2.3.4", 443), 10).recv(100).decode()))"#;

/// A cgroup above the agent's that only this world has.
fn above(world: &World) -> Result<&Path> {
    world.cgroups.agent.parent().context("a cgroup has one above it")
}

// Case 30.
#[test]
fn a_program_above_that_refuses_has_its_way() -> Result<()> {
    let Some(mut world) = world()? else { return Ok(()) };
    let _proxy = world.serve()?;
    let foreign = Foreign::attach(above(&world)?, Calls::Connect4, Act::Deny)?;
    assert_eq!(world.run(CONNECT)?, "EPERM");
    drop(foreign);
    assert_eq!(world.run(CONNECT)?, "proxied");
    world.assert_silent()
}

// Case 30.
#[test]
fn what_a_program_above_sends_elsewhere_meets_the_backstop() -> Result<()> {
    let Some(mut world) = world()? else { return Ok(()) };
    let _proxy = world.serve()?;
    let elsewhere = Act::SendTo(Ipv4Addr::new(1, 2, 3, 4));
    let _foreign = Foreign::attach(above(&world)?, Calls::Connect4, elsewhere)?;
    // The first packet is dropped, so it is tried again until the program gives up.
    assert_eq!(world.run(&CONNECT.replace("10)", "0.3)"))?, "TimeoutError('timed out')");
    assert!(world.counted(Reason::Egress)? > 0);
    world.assert_silent()
}

// Case 30.
#[test]
fn what_a_program_above_excuses_meets_the_backstop() -> Result<()> {
    let Some(world) = world()? else { return Ok(()) };
    let connect = r#"
asker = udp()
say(outcome(lambda: asker.connect(("1.2.3.4", 443))))
say(outcome(lambda: asker.send(b"secret")))
say(outcome(lambda: udp().sendto(b"secret", ("1.2.3.4", 443))))
"#;
    assert!(world.run(connect)?.starts_with("ECONNREFUSED"));
    let _one = Foreign::attach(above(&world)?, Calls::Connect4, Act::Excuse)?;
    let _two = Foreign::attach(above(&world)?, Calls::Sendmsg4, Act::Excuse)?;
    assert_eq!(
        world.run(connect)?,
        "ok\nEPERM\nEPERM",
        "our refusal stood: nothing is proved about the backstop"
    );
    assert!(world.counted(Reason::Egress)? > 0);
    world.assert_silent()
}

#[test]
fn programs_of_others_are_found_where_they_are() -> Result<()> {
    let Some(world) = world()? else { return Ok(()) };
    assert!(world.gate.others()?.is_empty());
    let below = world.cgroups.agent.join("below");
    std::fs::create_dir(&below)?;
    let _above = Foreign::attach(above(&world)?, Calls::Connect4, Act::Nothing)?;
    let _beside = Foreign::attach(&world.cgroups.agent, Calls::Sendmsg4, Act::Nothing)?;
    let _below = Foreign::attach(&below, Calls::Connect4, Act::Nothing)?;
    let found: Vec<_> = world.gate.others()?.into_iter().map(|it| (it.calls, it.cgroup, it.inside)).collect();
    let expected = [
        (above(&world)?, "connect4", false),
        (&world.cgroups.agent, "sendmsg4", true),
        (&below, "connect4", true),
    ];
    for (cgroup, calls, inside) in expected {
        assert!(
            found.contains(&(calls, cgroup.to_owned(), inside)),
            "{calls} of {}: {found:?}",
            cgroup.display()
        );
    }
    assert_eq!(found.len(), expected.len(), "{found:?}");
    Ok(())
}
