//! The packet filter holds when every hook is gone.

use std::net::UdpSocket;
use std::os::fd::AsFd as _;
use std::process::Command;

use anyhow::{Result, ensure};
use shield_tests::wait;
use shield_tests::world::World;

use crate::world;

/// Ways out that no hook stands in any more, each tried for a moment.
const WAYS_OUT: &str = r#"
socket.setdefaulttimeout(0.2)
say(outcome(lambda: tcp().connect(("1.2.3.4", 443))))
say(outcome(lambda: tcp(socket.AF_INET6).connect(("2001:db8::1", 443))))
say(outcome(lambda: udp().sendto(b"secret", ("1.2.3.4", 53))))
say(outcome(lambda: udp(socket.AF_INET6).sendto(b"secret", ("2001:db8::1", 443))))
say(outcome(lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM, 136).sendto(b"secret", ("1.2.3.4", 443))))
"#;

// Case 29.
#[test]
fn when_every_pin_is_removed_the_packet_filter_lets_nothing_out() -> Result<()> {
    let Some(world) = world()? else { return Ok(()) };
    let socket = socket_in(&world)?;
    world.gate.raise_backstop(socket.as_fd())?;
    remove_every_pin(&world)?;
    let timed_out = "TimeoutError('timed out')";
    assert_eq!(world.run(WAYS_OUT)?, [timed_out, timed_out, "EPERM", "EPERM", "EPERM"].join("\n"));
    world.assert_silent()?;

    world.gate.lower_backstop(socket.as_fd())?;
    assert_eq!(ruleset(&world)?, "", "rules are left");
    world.run(WAYS_OUT)?;
    ensure!(world.leaks()?.len() >= 5, "nothing left the host without hooks and filter: nothing was proved");
    Ok(())
}

#[test]
fn the_packet_filter_is_not_in_the_way_of_neighbours_nor_of_what_the_hooks_redirect() -> Result<()> {
    let Some(mut world) = world()? else { return Ok(()) };
    let socket = socket_in(&world)?;
    let _proxy = world.serve()?;
    for _ in 0..2 {
        world.gate.raise_backstop(socket.as_fd())?;
    }
    assert_eq!(ruleset(&world)?.matches("socket cgroupv2").count(), 1);
    let said = world.run(r#"say(socket.create_connection(("1.2.3.4", 443)).recv(100).decode())"#)?;
    assert_eq!(said, "proxied");
    world.assert_silent()?;
    assert_eq!(world.run_outside(r#"say(udp().sendto(b"hello", ("1.2.3.4", 443)))"#)?, "5");
    assert_eq!(world.leaks()?, ["17 10.99.0.1 > 1.2.3.4"]);
    Ok(())
}

/// A socket that says which network namespace is meant.
fn socket_in(world: &World) -> Result<UdpSocket> {
    Ok(world.agent_netns.enter(|| UdpSocket::bind("127.0.0.1:0"))?.join().expect("binding does not panic")?)
}

/// The kernel lets go of the hooks in its own time.
fn remove_every_pin(world: &World) -> Result<()> {
    std::fs::remove_dir_all(world.pins())?;
    let open = r#"say(outcome(lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM, 136).close()))
say(outcome(lambda: udp().connect(("1.2.3.4", 443))))
say(outcome(lambda: udp(socket.AF_INET6).connect(("2001:db8::1", 443))))"#;
    wait::until("every hook to be gone", || (world.run(open).ok()? == "ok\nok\nok").then_some(()))
}

fn ruleset(world: &World) -> Result<String> {
    let mut nft: Command = world.agent_netns.command("nft");
    Ok(String::from_utf8(nft.args(["list", "ruleset"]).output()?.stdout)?)
}
