//! Sockets that were made outside an agent and come into its hands: they pass by every hook of the agent's cgroup, and
//! are seen from a guard above.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use shield_agent::capture::{AgentCgroups, Broken, CaptureError, Gate};
use shield_common::event::Reason;
use shield_tests::world::{NOBODY, Talk, World, python, run};

use crate::{actor, world};

/// A socket of each kind, as somebody outside makes them.
const MAKE: &str = r#"
made = [tcp(), tcp(socket.AF_INET6), udp(), udp(socket.AF_INET6), udp(), udp(socket.AF_INET6)]
"#;

/// Uses each in another way.
const USE: &str = r#"
def use(given):
    tcp4, tcp6, connected4, connected6, sent4, sent6 = given
    say(outcome(lambda: tcp4.connect(("1.2.3.4", 443))))
    say(outcome(lambda: tcp6.connect(("2001:db8::1", 443))))
    for connected, address in [(connected4, "1.2.3.4"), (connected6, "2001:db8::1")]:
        say(outcome(lambda: connected.connect((address, 443))))
        outcome(lambda: connected.send(b"secret"))
    say(outcome(lambda: sent4.sendto(b"secret", ("1.2.3.4", 53))))
    say(outcome(lambda: sent6.sendto(b"secret", ("2001:db8::1", 53))))
"#;

/// How each way ends where nothing stands in it: nobody listens on the internet.
const PASSED: &str = "ECONNREFUSED\nECONNREFUSED\nok\nok\n6\n6";
const REFUSED: &str = "EPERM\nEPERM\nEPERM\nEPERM\nEPERM\nEPERM";

/// Packets of all these ways.
const PACKETS: [&str; 6] = [
    "6 10.99.0.1 > 1.2.3.4",
    "6 fd99::1 > 2001:db8::1",
    "17 10.99.0.1 > 1.2.3.4",
    "17 fd99::1 > 2001:db8::1",
    "17 10.99.0.1 > 1.2.3.4",
    "17 fd99::1 > 2001:db8::1",
];

/// Beside the agent's cgroup, below the guard's.
fn outside(world: &World) -> Result<PathBuf> {
    let place = world.above()?.join("outside");
    fs::create_dir_all(&place)?;
    Ok(place)
}

/// Somebody outside who hands sockets to whoever asks.
fn giver(world: &World) -> Result<Talk> {
    let script = format!(
        r#"{MAKE}
hatch = socket.socket(socket.AF_UNIX)
hatch.bind("\0{0}")
hatch.listen()
say("open")
while True:
    asker, _ = hatch.accept()
    socket.send_fds(asker, [b"here"], [it.fileno() for it in made])
"#,
        world.instance
    );
    let mut giver = world.talk_in(&outside(world)?, &script)?;
    giver.hear()?;
    Ok(giver)
}

/// What an agent does that asks for them.
fn ask(world: &World) -> String {
    format!(
        r#"{USE}
asker = socket.socket(socket.AF_UNIX)
asker.connect("\0{0}")
_, given, _, _ = socket.recv_fds(asker, 10, 10)
use([socket.socket(fileno=it) for it in given])
"#,
        world.instance
    )
}

// Case 26.
#[test]
fn a_socket_handed_to_the_agent_is_refused_from_above_and_by_nothing_else() -> Result<()> {
    let Some(free) = world()? else { return Ok(()) };
    let _giver = giver(&free)?;
    assert_eq!(free.run(&ask(&free))?, PASSED);
    let leaks = free.leaks()?;
    ensure!(PACKETS.iter().all(|packet| leaks.iter().any(|leak| leak == packet)), "{leaks:?}");

    let Some(mut guarded) = World::guarded(actor())? else { return Ok(()) };
    let _proxy = guarded.serve()?;
    let _giver = giver(&guarded)?;
    assert_eq!(guarded.run(&ask(&guarded))?, REFUSED);
    assert_eq!(guarded.counted(Reason::ForeignSocket)?, 6);
    guarded.assert_silent()
}

// Case 26.
#[test]
fn a_socket_the_agent_inherits_is_refused_from_above_and_by_nothing_else() -> Result<()> {
    let hand_down = |world: &World| -> Result<String> {
        let inside = format!(
            "import socket, errno\ndef say(*words): print(*words, flush=True)\n{OUTCOME}{USE}\n\
             use([socket.socket(fileno=number) for number in range(20, 26)])"
        );
        let script = format!(
            r#"{MAKE}
for number, it in enumerate(made, 20):
    os.dup2(it.fileno(), number)
sys.exit(subprocess.run(sys.argv[1:], close_fds=False).returncode)
"#
        );
        let mut parent = world.program(python(), &outside(world)?, None)?;
        parent.arg("-c").arg(format!(
            "import socket, os, sys, subprocess\n\
             def tcp(family=socket.AF_INET): return socket.socket(family, socket.SOCK_STREAM)\n\
             def udp(family=socket.AF_INET): return socket.socket(family, socket.SOCK_DGRAM)\n{script}"
        ));
        parent.arg(actor()).arg("enter-without-closing").arg(&world.cgroups.agent);
        said(parent.args([python(), "-c", &inside]))
    };
    let Some(free) = world()? else { return Ok(()) };
    assert_eq!(hand_down(&free)?, PASSED);
    ensure!(free.leaks()?.len() >= PACKETS.len(), "nothing left the host without a guard: nothing is proved");

    let Some(guarded) = World::guarded(actor())? else { return Ok(()) };
    assert_eq!(hand_down(&guarded)?, REFUSED);
    guarded.assert_silent()
}

const OUTCOME: &str = r#"
def outcome(act):
    try:
        result = act()
        return "ok" if result is None else result
    except OSError as error:
        return errno.errorcode.get(error.errno, repr(error))
"#;

fn said(command: &mut Command) -> Result<String> {
    let output = command.output()?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Ok(String::from_utf8(output.stdout)?.trim_end().to_owned())
}

// Case 26.
#[test]
fn a_socket_fetched_from_another_process_is_refused_from_above() -> Result<()> {
    let fetch = |world: &World, giver: &Talk| -> Result<String> {
        let script = format!(
            r#"{USE}
libc = ctypes.CDLL(None, use_errno=True)
pidfd = os.pidfd_open({})
given = [libc.syscall(438, pidfd, number, 0) for number in range(20, 26)]
assert min(given) >= 0, errno.errorcode[ctypes.get_errno()]
use([socket.socket(fileno=it) for it in given])
"#,
            giver.pid()
        );
        // As root: whoever may take a socket from another process.
        run(world.program(python(), &world.cgroups.agent, None)?, &script)
    };
    let holder = |world: &World| -> Result<Talk> {
        let script = format!(
            "{MAKE}\nfor number, it in enumerate(made, 20): os.dup2(it.fileno(), number)\nsay('made'); input()"
        );
        let mut holder = world.talk_in(&outside(world)?, &script)?;
        holder.hear()?;
        Ok(holder)
    };
    let Some(free) = world()? else { return Ok(()) };
    let theirs = holder(&free)?;
    assert_eq!(fetch(&free, &theirs)?, PASSED);

    let Some(guarded) = World::guarded(actor())? else { return Ok(()) };
    let theirs = holder(&guarded)?;
    assert_eq!(fetch(&guarded, &theirs)?, REFUSED);
    guarded.assert_silent()
}

#[test]
fn a_process_in_a_cgroup_below_the_agents_is_guarded_too() -> Result<()> {
    let Some(guarded) = World::guarded(actor())? else { return Ok(()) };
    let _giver = giver(&guarded)?;
    let below = guarded.cgroups.agent.join("below/deeper");
    fs::create_dir_all(&below)?;
    assert_eq!(run(guarded.program(python(), &below, Some(NOBODY))?, &ask(&guarded))?, REFUSED);
    guarded.assert_silent()
}

#[test]
fn whoever_is_outside_the_agent_is_not_refused_anything() -> Result<()> {
    let Some(guarded) = World::guarded(actor())? else { return Ok(()) };
    let deep = outside(&guarded)?.join("a/b/c");
    fs::create_dir_all(&deep)?;
    // As deep as the agent's cgroup, beside it, less deep and deeper.
    let beside = guarded.cgroups.agent.with_file_name("beside");
    fs::create_dir(&beside)?;
    for place in [guarded.above()?.to_owned(), outside(&guarded)?, beside, deep] {
        let script = format!("{MAKE}{USE}\nuse(made)");
        assert_eq!(run(guarded.program(python(), &place, Some(NOBODY))?, &script)?, PASSED);
    }
    assert_eq!(guarded.counted(Reason::ForeignSocket)?, 0);
    assert!(guarded.leaks()?.len() >= 4 * PACKETS.len());
    Ok(())
}

#[test]
fn what_the_agent_opened_itself_works_under_a_guard_as_it_does_without() -> Result<()> {
    let Some(mut guarded) = World::guarded(actor())? else { return Ok(()) };
    let proxy = guarded.serve()?;
    let script = r#"
libc = ctypes.CDLL(None, use_errno=True)
for address in ["1.2.3.4", "2001:db8::1", "::ffff:1.2.3.4"]:
    say(socket.create_connection((address, 443)).recv(100).decode())
say(outcome(lambda: udp().connect(("1.2.3.4", 443))))
say(outcome(lambda: udp().sendto(b"x", ("1.2.3.4", 443))))
say(outcome(lambda: udp().sendto(b"question", ("8.8.8.8", 53))))
listener = socket.create_server(("127.0.0.1", 8080))
client = socket.create_connection(("127.0.0.1", 8080))
# One that was accepted was not created: it connects anew to somebody else.
accepted, _ = listener.accept()
unspecified = struct.pack("H14x", socket.AF_UNSPEC)
assert libc.connect(accepted.fileno(), unspecified, len(unspecified)) == 0
accepted.connect(("1.2.3.4", 443))
say(accepted.recv(100).decode())
"#;
    let expected = "proxied\nproxied\nproxied\nECONNREFUSED\nECONNREFUSED\n8\nproxied";
    assert_eq!(guarded.run(script)?, expected);
    assert_eq!(guarded.counted(Reason::ForeignSocket)?, 0);
    drop(proxy);
    guarded.assert_silent()
}

#[test]
fn a_socket_of_the_cgroup_from_before_its_gate_is_its_own() -> Result<()> {
    let Some(mut guarded) = World::guarded(actor())? else { return Ok(()) };
    Gate::clear(&guarded.instance, &guarded.agent)?;
    let mut early = guarded.talk(
        r#"
stream, datagram = tcp(), udp()
say("made")
input()
say(outcome(lambda: datagram.sendto(b"question", ("8.8.8.8", 53))))
say(outcome(lambda: stream.connect(("1.2.3.4", 443))))
"#,
    )?;
    early.hear()?;
    guarded.gate = Gate::attach(&guarded.instance, &guarded.agent, &guarded.cgroups)?;
    let _proxy = guarded.serve()?;
    early.tell("go on")?;
    assert_eq!([early.hear()?, early.hear()?], ["8", "ok"]);
    assert_eq!(guarded.counted(Reason::ForeignSocket)?, 0);
    guarded.assert_silent()
}

#[test]
fn a_socket_from_elsewhere_is_told_with_its_destination_and_its_process() -> Result<()> {
    let Some(guarded) = World::guarded(actor())? else { return Ok(()) };
    let mut events = guarded.gate.events()?;
    let _giver = giver(&guarded)?;
    let said = guarded.run(&format!("say(os.getpid()){}", ask(&guarded)))?;
    let pid: u32 = said.lines().next().context("a process has a number")?.parse()?;
    let told: Vec<_> = events.by_ref().filter(|event| event.reason == Reason::ForeignSocket).collect();
    let aims: Vec<String> =
        told.iter().map(|event| format!("{:?}:{}/{}", event.address, event.port, event.protocol)).collect();
    ensure!(aims.contains(&"Some(1.2.3.4):443/6".to_owned()), "{aims:?}");
    ensure!(aims.contains(&"Some(2001:db8::1):53/17".to_owned()), "{aims:?}");
    for event in &told {
        ensure!(event.process.as_ref().is_some_and(|process| process.pid == pid), "{event:?}");
    }
    Ok(())
}

/// What an agent's hooks are attached to, with a guard elsewhere or nowhere.
fn with_guard(world: &World, guard: Option<PathBuf>) -> AgentCgroups {
    AgentCgroups { guard, ..world.cgroups.clone() }
}

#[test]
fn a_guard_comes_moves_and_goes_with_the_configuration_when_a_gate_is_taken_over() -> Result<()> {
    let Some(mut world) = world()? else { return Ok(()) };
    let (above, agents) = (world.above()?.to_owned(), world.cgroups.agent.parent().map(PathBuf::from));
    // A guard sees the sockets that were made below it: those of somebody beside it pass.
    let stages = [(Some(above.clone()), REFUSED), (agents, PASSED), (Some(above), REFUSED), (None, PASSED)];
    for (guard, expected) in stages {
        let cgroups = with_guard(&world, guard.clone());
        world.gate = Gate::adopt(&world.instance, &world.agent, &cgroups)?;
        assert_eq!(world.gate.is_intact(), Ok(()), "{guard:?}");
        let _giver = giver(&world)?;
        assert_eq!(world.run(&ask(&world))?, expected, "{guard:?}");
        let pinned = fs::read_dir(world.pins().join("links"))?.count();
        assert_eq!(pinned, if guard.is_some() { 19 } else { 15 }, "{guard:?}");
        ensure!(world.gate.others()?.is_empty(), "a guard is taken for a program of somebody else's");
    }
    Ok(())
}

#[test]
fn a_guard_that_lost_a_hook_is_noticed() -> Result<()> {
    let Some(guarded) = World::guarded(actor())? else { return Ok(()) };
    fs::remove_file(guarded.pins().join("links/guard_sendmsg4"))?;
    assert_eq!(guarded.gate.is_intact(), Err(Broken::PinGone("guard_sendmsg4")));
    let adopted = Gate::adopt(&guarded.instance, &guarded.agent, &guarded.cgroups);
    ensure!(matches!(adopted, Err(CaptureError::Broken { .. })), "a gate that lost a hook was taken over");
    Ok(())
}

#[test]
fn a_guard_that_is_not_above_the_agent_is_refused_and_nothing_is_attached() -> Result<()> {
    let Some(guarded) = World::guarded(actor())? else { return Ok(()) };
    Gate::clear(&guarded.instance, &guarded.agent)?;
    for elsewhere in [outside(&guarded)?, guarded.cgroups.agent.clone(), guarded.cgroups.agent.join("below")]
    {
        fs::create_dir_all(&elsewhere)?;
        let cgroups = with_guard(&guarded, Some(elsewhere));
        let refused = Gate::attach(&guarded.instance, &guarded.agent, &cgroups).err();
        let said = refused.context("a guard that sees nothing was taken")?.to_string();
        ensure!(said.contains("set gate.guard to one that is above every agent"), "{said}");
        ensure!(!guarded.pins().exists(), "pins are left");
    }
    Ok(())
}

#[test]
fn two_agents_have_a_guard_each_and_neither_uses_a_socket_of_the_others() -> Result<()> {
    let Some(mut guarded) = World::guarded(actor())? else { return Ok(()) };
    let _proxy = guarded.serve()?;
    let other = "other".parse()?;
    let root = guarded.above()?.to_owned();
    let cgroups = AgentCgroups {
        agent: root.join("agents/other"),
        proxy: root.join("proxy/other"),
        guard: Some(root.clone()),
    };
    fs::create_dir_all(&cgroups.agent)?;
    fs::create_dir_all(&cgroups.proxy)?;
    let gate = Gate::attach(&guarded.instance, &other, &cgroups)?;
    let hand_over = format!(
        r#"{MAKE}
hatch = socket.socket(socket.AF_UNIX)
hatch.bind("\0{}")
hatch.listen()
say("open")
asker, _ = hatch.accept()
socket.send_fds(asker, [b"here"], [it.fileno() for it in made])
input()
"#,
        guarded.instance
    );
    let mut theirs = guarded.talk_in(&cgroups.agent, &hand_over)?;
    theirs.hear()?;
    let said = guarded.run(&ask(&guarded))?;
    let (refused, others) = (guarded.counted(Reason::ForeignSocket)?, guarded.gate.others()?);
    drop(theirs);
    gate.detach()?;
    assert_eq!(said, REFUSED);
    assert_eq!(refused, 6, "the agent used a socket of another's");
    ensure!(others.is_empty(), "the other's guard is taken for a stranger's program: {others:?}");
    guarded.assert_silent()
}
