//! Ways out of the gate: descriptors from elsewhere, other cgroups, other namespaces.

use std::fs;
use std::os::fd::AsFd as _;

use anyhow::Result;
use shield_common::event::Reason;
use shield_tests::proxy::Proxy;
use shield_tests::world::{python, run};

use crate::{actor, world};

/// What an agent finds on descriptors 5 and 6: can it talk to the internet through them?
const USE_INHERITED: &str = r#"
for number in (5, 6):
    try:
        inherited = socket.socket(fileno=number)
    except OSError as error:
        say(errno.errorcode[error.errno])
        continue
    say("inherited")
"#;
/// A parent that has a connected and an unconnected socket on 5 and 6 when it starts its arguments.
const HAND_DOWN: &str = r#"
connected, unconnected = udp(), udp()
connected.connect(("1.2.3.4", 443))
os.dup2(connected.fileno(), 5)
os.dup2(unconnected.fileno(), 6)
sys.exit(subprocess.run(sys.argv[1:], close_fds=False).returncode)
"#;

// Case 26. The launcher has its own test; this one proves that closing is needed, and enough.
#[test]
fn sockets_from_before_the_gate_are_gone_when_the_way_in_closes_them() -> Result<()> {
    let Some(world) = world()? else { return Ok(()) };
    let script = format!("import socket, errno\ndef say(*words): print(*words, flush=True)\n{USE_INHERITED}");
    for (verb, expected) in [("enter", "EBADF\nEBADF"), ("enter-without-closing", "inherited\ninherited")] {
        let mut parent = world.agent_netns.command(python());
        parent.arg("-c").arg(format!("import socket, os, sys, subprocess\ndef udp(): return socket.socket(socket.AF_INET, socket.SOCK_DGRAM)\n{HAND_DOWN}"));
        parent.arg(actor()).arg(verb).arg(&world.cgroups.agent).args([python(), "-c", &script]);
        let output = parent.output()?;
        assert_eq!(String::from_utf8(output.stdout)?.trim_end(), expected, "{verb}");
    }
    Ok(())
}

// Case 27.
#[test]
fn an_unprivileged_agent_cannot_leave_its_cgroup() -> Result<()> {
    let Some(world) = world()? else { return Ok(()) };
    let mount = shield_agent::capture::cgroup::cgroup2_mount()?;
    let said = world.run(&format!(
        r#"
mount = "{}"
def move(cgroup):
    with open(cgroup + "/cgroup.procs", "w") as procs:
        procs.write(str(os.getpid()))
def be_born_in(cgroup):
    # clone3 with CLONE_INTO_CGROUP
    directory = os.open(cgroup, os.O_RDONLY | os.O_DIRECTORY)
    arguments = (ctypes.c_uint64 * 11)(0x200000000, 0, 0, 0, 17, 0, 0, 0, 0, 0, directory)
    libc = ctypes.CDLL(None, use_errno=True)
    child = libc.syscall(435, ctypes.byref(arguments), ctypes.sizeof(arguments))
    if child == 0: os._exit(0)
    if child < 0: raise OSError(ctypes.get_errno(), "clone3")
for cgroup in [mount, mount + "/agent-shield", "{}"]:
    say(outcome(lambda: move(cgroup)), outcome(lambda: be_born_in(cgroup)))
"#,
        mount.display(),
        world.cgroups.proxy.display()
    ))?;
    assert_eq!(said, ["EACCES EACCES"; 3].join("\n"));
    Ok(())
}

// Case 27.
#[test]
fn a_process_in_a_cgroup_below_the_agents_is_gated_too() -> Result<()> {
    let Some(mut world) = world()? else { return Ok(()) };
    let proxy = world.serve()?;
    let below = world.cgroups.agent.join("below");
    fs::create_dir(&below)?;
    let said = run(
        world.program(python(), &below, None)?,
        r#"say(socket.create_connection(("1.2.3.4", 443)).recv(100).decode())"#,
    )?;
    assert_eq!(said, "proxied");
    assert_eq!(proxy.original()?.port, 443);
    world.assert_silent()
}

// Case 27.
#[test]
fn a_namespace_of_the_agents_own_is_refused_until_it_is_served() -> Result<()> {
    let Some(mut world) = world()? else { return Ok(()) };
    let _proxy = world.serve()?;
    let mut inside = world.talk(
        r#"
libc = ctypes.CDLL(None, use_errno=True)
CLONE_NEWUSER, CLONE_NEWNET = 0x10000000, 0x40000000
uid = os.getuid()
assert libc.unshare(CLONE_NEWUSER) == 0
open("/proc/self/uid_map", "w").write(f"0 {uid} 1")
assert libc.unshare(CLONE_NEWNET) == 0
subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
say("inside")
input()
say(outcome(lambda: socket.create_connection(("1.2.3.4", 443)).close()))
input()
say(outcome(lambda: socket.create_connection(("1.2.3.4", 443)).recv(100).decode()))
input()
"#,
    )?;
    inside.hear()?;
    inside.tell("try")?;
    assert_eq!(inside.hear()?, "ECONNREFUSED");
    assert_eq!(world.counted(Reason::UnservedNetns)?, 1);
    let netns = fs::File::open(format!("/proc/{}/ns/net", inside.pid()))?;
    let opened = world.listeners_in(netns.as_fd())?;
    world.gate.serve_netns(opened.netns_cookie, opened.served)?;
    let cookie = opened.netns_cookie;
    let there = Proxy::start(opened, world.originals()?)?;
    inside.tell("try again")?;
    assert_eq!(inside.hear()?, "proxied");
    assert_eq!(there.original()?.netns_cookie, cookie);
    world.assert_silent()
}
