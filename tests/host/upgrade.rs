//! A daemon of another version takes a gate over: its hooks are never off, and what they know is kept.

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _};
use std::net::{TcpListener, TcpStream};
use std::os::fd::{AsFd as _, AsRawFd as _, OwnedFd};
use std::process::{Child, ChildStdout, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::JoinHandle;

use anyhow::{Context as _, Result, ensure};
use nix::sys::socket::{Shutdown, shutdown};
use shield_agent::capture::{CaptureError, Gate, originals};
use shield_common::event::Reason;
use shield_common::limits::ABI;
use shield_common::served::Served;
use shield_tests::wait;
use shield_tests::world::World;

use crate::{actor, world};

const UPGRADES: usize = 100;
/// So many connections fall into them at least.
const CONNECTIONS: usize = 10_000;

// Case 30.
#[test]
fn a_hundred_upgrades_under_load_leak_nothing_and_refuse_nothing() -> Result<()> {
    let Some(mut world) = world()? else { return Ok(()) };
    let rain = Rain::start(&mut world)?;
    let mut upgrades = 0;
    while upgrades < UPGRADES || rain.goes_on_below(CONNECTIONS) {
        upgrades += 1;
        world.gate = Gate::adopt_anew(&world.instance, &world.agent, &world.cgroups)?;
    }
    let taken = world.counted(Reason::Taken)?;
    let connections = rain.end()?;
    ensure!(connections >= CONNECTIONS, "only {connections} connections fell into {upgrades} upgrades");
    ensure!(taken > 0, "the counters began anew");
    world.assert_silent()
}

// Case 30.
#[test]
fn a_gate_with_other_maps_is_rebuilt_under_load_without_a_leak_or_a_refusal() -> Result<()> {
    let Some(mut world) = world()? else { return Ok(()) };
    let rain = Rain::start(&mut world)?;
    for version in [ABI + 1, ABI - 1] {
        become_another_version(&world, version)?;
        for map in ["COUNTERS", "NETNS"] {
            fs::remove_file(world.pins_of_version(version).join("maps").join(map))?;
        }
        world.gate = Gate::adopt_serving(&world.instance, &world.agent, &world.cgroups, &rain.served)?;
        ensure!(!world.pins_of_version(version).exists(), "the pins of version {version} are left");
        ensure!(world.gate.is_intact().is_ok());
    }
    rain.end()?;
    world.assert_silent()
}

#[test]
fn a_gate_of_this_very_version_is_taken_over_as_it_is() -> Result<()> {
    let Some(world) = world()? else { return Ok(()) };
    Gate::adopt(&world.instance, &world.agent, &world.cgroups)?;
    // Programs that were replaced would have other numbers than those remembered.
    assert_eq!(world.gate.is_intact(), Ok(()));
    Ok(())
}

#[test]
fn a_hook_this_version_adds_is_attached_and_one_it_lost_is_detached() -> Result<()> {
    let Some(mut world) = World::without(actor(), &["gate_setsockopt"])? else { return Ok(()) };
    let links = world.pins().join("links");
    fs::rename(links.join("gate_recvmsg6"), links.join("gate_retired"))?;
    // What is written down is what that version had.
    let had = fs::read_link(world.pins().join("hooks"))?.display().to_string();
    fs::remove_file(world.pins().join("hooks"))?;
    std::os::unix::fs::symlink(had.replace("gate_recvmsg6", "gate_retired"), world.pins().join("hooks"))?;
    world.gate = Gate::adopt(&world.instance, &world.agent, &world.cgroups)?;
    assert_eq!(world.gate.is_intact(), Ok(()));
    assert!(!links.join("gate_retired").exists());
    let option = r#"say(outcome(lambda: udp(socket.AF_INET6).setsockopt(41, 57, b"\0" * 8)))"#;
    assert_eq!(world.run(option)?, "EPERM");
    Ok(())
}

#[test]
fn an_upgrade_that_fails_leaves_the_programs_before_in_force() -> Result<()> {
    let Some(world) = world()? else { return Ok(()) };
    become_another_version(&world, ABI + 1)?;
    // The last hook cannot be moved: there is something in its way.
    fs::create_dir_all(world.pins().join("links/gate_connect6"))?;
    let failed = Gate::adopt(&world.instance, &world.agent, &world.cgroups);
    assert!(matches!(failed.err(), Some(CaptureError::Pin { .. })));
    fs::create_dir_all(world.pins().parent().context("no parent")?)?;
    fs::rename(world.pins_of_version(ABI + 1), world.pins())?;
    assert_eq!(world.gate.is_intact(), Ok(()), "some hook kept a program of the version that failed");
    assert_eq!(world.run(r#"say(outcome(lambda: tcp().connect(("1.2.3.4", 443))))"#)?, "ECONNREFUSED");
    world.assert_silent()
}

/// Moves the pins to where a version with another layout would have them.
fn become_another_version(world: &World, version: u32) -> Result<()> {
    let place = world.pins_of_version(version);
    fs::create_dir_all(place.parent().context("no parent")?)?;
    Ok(fs::rename(world.pins(), place)?)
}

/// An agent that connects all the time, each time to another address it then names, and a proxy that compares.
struct Rain {
    agent: Child,
    said: BufReader<ChildStdout>,
    listener: Arc<TcpListener>,
    accepted: Arc<AtomicUsize>,
    accepting: JoinHandle<Result<()>>,
    served: [(u64, Served); 1],
}

impl Rain {
    fn start(world: &mut World) -> Result<Self> {
        let mut opened = world.listeners()?;
        opened.served.v6 = 0;
        world.gate.serve_netns(opened.netns_cookie, opened.served)?;
        let listener = Arc::new(TcpListener::from(opened.tcp.remove(0)));
        listener.set_nonblocking(false)?;
        let originals = world.originals()?;
        let accepted = Arc::new(AtomicUsize::new(0));
        let accepting = std::thread::spawn({
            let (listener, accepted) = (listener.clone(), accepted.clone());
            move || accept_all(&listener, &originals, &accepted)
        });
        let mut agent = world.agent(actor())?;
        let mut agent = agent.arg("rain").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let mut said = BufReader::new(agent.stdout.take().context("no stdout")?);
        said.read_line(&mut String::new())?;
        let served = [(opened.netns_cookie, opened.served)];
        Ok(Self { agent, said, listener, accepted, accepting, served })
    }

    /// Whether fewer connections arrived so far, and more may.
    fn goes_on_below(&self, connections: usize) -> bool {
        self.accepted.load(Ordering::Relaxed) < connections && !self.accepting.is_finished()
    }

    /// Every connection that was made; fails when one was refused, or arrived without its record or with another's.
    fn end(mut self) -> Result<usize> {
        drop(self.agent.stdin.take());
        let mut line = String::new();
        self.said.read_line(&mut line)?;
        ensure!(self.agent.wait()?.success());
        let (made, failures) = line.trim_end().split_once(' ').context("no numbers")?;
        ensure!(failures == "[]", "connections were refused: {failures}");
        let made: usize = made.parse()?;
        let all = wait::until("every connection to arrive", || {
            let accepted = self.accepted.load(Ordering::Relaxed);
            (accepted == made || self.accepting.is_finished()).then_some(())
        });
        shutdown(self.listener.as_raw_fd(), Shutdown::Both)?;
        self.accepting.join().expect("accepting does not panic")?;
        all.map(|()| made)
    }
}

/// Accepts until the listener is shut down: each connection says where it was going, and its record must say the same.
fn accept_all(listener: &TcpListener, originals: &OwnedFd, accepted: &AtomicUsize) -> Result<()> {
    while let Ok((stream, _)) = listener.accept() {
        check(stream, originals)?;
        accepted.fetch_add(1, Ordering::Relaxed);
    }
    Ok(())
}

fn check(mut stream: TcpStream, originals: &OwnedFd) -> Result<()> {
    let original =
        originals::lookup(originals.as_fd(), stream.as_fd())?.context("a connection has no record")?;
    let mut named = [0; 6];
    stream.read_exact(&mut named).context("the reset overtook the data")?;
    ensure!(original.address[12..] == named[..4], "{original:?} is not {named:?}");
    ensure!(original.port.to_be_bytes() == named[4..], "{original:?} is not {named:?}");
    Ok(())
}
