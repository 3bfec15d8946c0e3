//! `shield run` from inside: what it takes from the agent that no hook can see, and what it leaves.

use std::net::{TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::path::Path;
use std::process::Stdio;

use anyhow::{Context as _, Result, ensure};
use shield_agent::capture::cgroup::cgroup2_mount;
use shield_tests::launcher::Launcher;
use shield_tests::proxy::Proxy;
use shield_tests::world::{World, python, run};

use crate::world;

/// A served world, and what launches agents into it.
fn launched() -> Result<Option<(World, Proxy, Launcher)>> {
    let Some(mut world) = world()? else { return Ok(None) };
    let proxy = world.serve()?;
    let launcher = Launcher::start(&world)?;
    Ok(Some((world, proxy, launcher)))
}

const FAMILIES: &str = r#"
allowed = {socket.AF_UNIX, socket.AF_INET, socket.AF_INET6, socket.AF_NETLINK}
libc = ctypes.CDLL(None, use_errno=True)
for family in range(64):
    for call in ["socket", "socketpair"]:
        pair = (ctypes.c_int * 2)()
        # The kernel ignores what is above the low half of an argument.
        for high in [0, 1 << 32]:
            arguments = [ctypes.c_long(high | family), 2, 0] + ([pair] if call == "socketpair" else [])
            made = libc.syscall({"socket": 41, "socketpair": 53}[call], *arguments)
            error = errno.errorcode.get(ctypes.get_errno()) if made < 0 else "ok"
            if (family in allowed) == (error == "EAFNOSUPPORT") or (family not in allowed and error == "ok"):
                say(family, call, error)
for protocol in range(32):
    made = outcome(lambda: socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, protocol).close())
    if (protocol == 0) != (made == "ok"): say("netlink", protocol, made)
"#;

/// Nothing else stands in the way of these: without the launcher they exist.
// Cases 19 and 22.
#[test]
fn families_no_hook_sees_are_refused_to_a_launched_agent_only() -> Result<()> {
    let Some((world, _proxy, launcher)) = launched()? else { return Ok(()) };
    assert_eq!(launcher.run(&world, FAMILIES)?, "");
    let vsock = "say(outcome(lambda: socket.socket(socket.AF_VSOCK, socket.SOCK_STREAM).close()))";
    assert_eq!(launcher.run(&world, vsock)?, "EAFNOSUPPORT");
    assert_eq!(world.run(vsock)?, "ok");
    Ok(())
}

/// Sends one frame past every layer, and past the queues of the device.
const PACKET: &str = r#"
SOL_PACKET, PACKET_QDISC_BYPASS = 263, 20
def send():
    wire = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
    wire.bind(("eth0", 0))
    wire.setsockopt(SOL_PACKET, PACKET_QDISC_BYPASS, 1)
    mine = wire.getsockname()[4]
    wire.send(b"\xff" * 6 + mine + b"\x88\xb5" + b"secret" * 10)
say(outcome(send))
"#;

// Case 19. The control without which it gets out: no hook of a cgroup sees it.
#[test]
fn packet_sockets_get_past_every_hook_and_not_past_the_launcher() -> Result<()> {
    let Some((world, _proxy, launcher)) = launched()? else { return Ok(()) };
    assert_eq!(launcher.run(&world, PACKET)?, "EAFNOSUPPORT");
    world.assert_silent()?;
    let command = world.program(python(), &world.cgroups.agent, None)?;
    assert_eq!(run(command, PACKET)?, "ok");
    assert_eq!(world.leaks()?, ["ethertype 88b5"]);
    Ok(())
}

/// System calls by number of this processor, and what they answer.
const CALLS: &str = r#"
import platform
libc = ctypes.CDLL(None, use_errno=True)
x86 = platform.machine() == "x86_64"
def answer(number, *arguments):
    result = libc.syscall(number, *arguments)
    return "ok" if result >= 0 else errno.errorcode.get(ctypes.get_errno())
forbidden = dict(bpf=(321, 280), perf_event_open=(298, 241), kexec_load=(246, 104), kexec_file_load=(320, 294),
    init_module=(175, 105), finit_module=(313, 273), delete_module=(176, 106), open_by_handle_at=(304, 265),
    setns=(308, 268), mount=(165, 40), umount2=(166, 39), pivot_root=(155, 41), move_mount=(429, 429),
    open_tree=(428, 428), mount_setattr=(442, 442), fsopen=(430, 430), fspick=(433, 433), fsconfig=(431, 431),
    fsmount=(432, 432))
"#;

// Case 24 and the launcher's list.
#[test]
fn system_calls_that_lead_around_the_gate_are_refused_to_a_launched_agent() -> Result<()> {
    let Some((world, _proxy, launcher)) = launched()? else { return Ok(()) };
    let said = launcher.run(
        &world,
        &format!(
            r#"{CALLS}
# In a user namespace of its own the agent has every capability: only the filter is in the way.
assert libc.unshare(0x10000000) == 0
for name, numbers in forbidden.items():
    refused = answer(numbers[0 if x86 else 1], 0, 0, 0, 0, 0)
    if refused != "EPERM": say(name, refused)
for ring in (425, 426, 427):
    refused = answer(ring, 0, 0, 0, 0, 0, 0)
    if refused != "ENOSYS": say(ring, refused)
# A call of the x32 mode: socket(AF_VSOCK).
if x86: say(answer(0x40000000 | 41, 40, 1, 0))
"#
        ),
    )?;
    assert_eq!(said, if cfg!(target_arch = "x86_64") { "ENOSYS" } else { "" });
    let said = world.run(&format!("{CALLS}\nsay(answer(425, 8, (ctypes.c_char * 120)()))"))?;
    assert_eq!(said, "ok", "without the launcher there are rings");
    Ok(())
}

/// Types into its terminal, as if the person had.
const TYPE: &str = r#"
import fcntl, pty, termios
pid, terminal = pty.fork()
if pid == 0:
    libc = ctypes.CDLL(None, use_errno=True)
    # The kernel looks at the low half of the request only.
    for request in [termios.TIOCSTI, termios.TIOCSTI | 1 << 32]:
        typed = libc.syscall(IOCTL, 0, ctypes.c_long(request), b"x")
        print("typed" if typed == 0 else errno.errorcode[ctypes.get_errno()], flush=True)
    os._exit(0)
said = b""
try:
    while chunk := os.read(terminal, 100): said += chunk
except OSError: pass
say(said.decode().split())
"#;

#[test]
fn a_launched_agent_cannot_type_into_the_terminal_it_shares_with_a_shell_outside() -> Result<()> {
    let Some((world, _proxy, launcher)) = launched()? else { return Ok(()) };
    let script = TYPE.replace("IOCTL", &libc::SYS_ioctl.to_string());
    assert_eq!(launcher.run(&world, &script)?, "['EPERM', 'EPERM']");
    // Where the kernel itself refuses it too, it does so with another error.
    let said = world.run(&script)?;
    ensure!(said != "['EPERM', 'EPERM']", "nothing was proved: {said}");
    Ok(())
}

/// A process of the agent's user that nobody gated, with a socket worth stealing.
const NEIGHBOUR: &str = r#"
# Where the kernel asks, it says that anybody may trace it.
PR_SET_PTRACER, ANYBODY = 0x59616d61, -1
ctypes.CDLL(None).prctl(PR_SET_PTRACER, ctypes.c_long(ANYBODY), 0, 0, 0)
connected = udp()
connected.connect(("1.2.3.4", 443))
abstract = socket.socket(socket.AF_UNIX)
abstract.bind("\0shield-test-%d" % os.getpid())
abstract.listen()
say(os.getpid(), connected.fileno())
input()
say("alive")
"#;
const REACH: &str = r#"
libc = ctypes.CDLL(None, use_errno=True)
def call(act):
    if act() < 0: raise OSError(ctypes.get_errno(), "call")
PTRACE_SEIZE, PTRACE_DETACH, PIDFD_GETFD = 0x4206, 17, 438
def trace():
    call(lambda: libc.ptrace(PTRACE_SEIZE, pid, None, None))
    os.kill(pid, 0)
def steal():
    pidfd = os.pidfd_open(pid)
    call(lambda: libc.syscall(PIDFD_GETFD, pidfd, descriptor, 0))
def read_memory():
    open(f"/proc/{pid}/mem", "rb").close()
def look_inside():
    os.readlink(f"/proc/{pid}/fd/0")
say(outcome(steal), outcome(read_memory), outcome(look_inside), outcome(lambda: os.kill(pid, 0)),
    outcome(lambda: socket.socket(socket.AF_UNIX).connect("\0shield-test-%d" % pid)), outcome(trace))
"#;

// Case 28.
#[test]
fn processes_of_the_agents_user_outside_the_gate_are_out_of_its_reach() -> Result<()> {
    let Some((world, _proxy, launcher)) = launched()? else { return Ok(()) };
    let mut neighbour = world.talk_of_its_user(NEIGHBOUR)?;
    let heard = neighbour.hear()?;
    let (pid, descriptor) = heard.split_once(' ').context("not two numbers")?;
    let reach = format!("pid, descriptor = {pid}, {descriptor}\n{REACH}");
    assert_eq!(launcher.run(&world, &reach)?, "EPERM EACCES EACCES EPERM EPERM EPERM");
    neighbour.tell("still there?")?;
    assert_eq!(neighbour.hear()?, "alive");
    let mut neighbour = world.talk_of_its_user(NEIGHBOUR)?;
    let heard = neighbour.hear()?;
    let (pid, descriptor) = heard.split_once(' ').context("not two numbers")?;
    let reach = format!("pid, descriptor = {pid}, {descriptor}\n{REACH}");
    let said = world.run(&reach)?;
    assert!(said.starts_with("ok ok "), "nothing was proved without the launcher: {said}");
    Ok(())
}

/// A parent that hands sockets down on 5 and 6 to its arguments, which it starts.
const HAND_DOWN: &str = r#"
import os, socket, subprocess, sys
sockets = [socket.socket() for number in (5, 6)]
for number, made in zip((5, 6), sockets): os.dup2(made.fileno(), number)
sys.exit(subprocess.run(sys.argv[1:], close_fds=False).returncode)
"#;

// Case 26.
#[test]
fn a_launched_agent_inherits_no_socket() -> Result<()> {
    let Some((world, _proxy, launcher)) = launched()? else { return Ok(()) };
    let launch = launcher.command(&world, python());
    let mut parent = world.agent_netns.command(python());
    parent.args(["-c", HAND_DOWN]).arg(launch.get_program()).args(launch.get_args());
    let said = run(parent, r#"say(sorted(os.listdir("/proc/self/fd"))[:-1])"#)?;
    assert_eq!(said, "['0', '1', '2']");
    Ok(())
}

// Case 26.
#[test]
fn an_agent_whose_standard_input_is_a_socket_of_the_network_is_not_launched() -> Result<()> {
    let Some((world, _proxy, launcher)) = launched()? else { return Ok(()) };
    let connect = || {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        TcpStream::connect(listener.local_addr()?)
    };
    let stream = world.agent_netns.enter(connect)?.join().expect("connecting does not panic")?;
    let mut command = launcher.command(&world, "true");
    let output = command.stdin(Stdio::from(OwnedFd::from(stream))).output()?;
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && said.contains("standard input is a socket of the network"), "{said}");
    Ok(())
}

// Case 27, and what the gate keeps for itself.
#[test]
fn a_launched_agent_sees_neither_the_daemons_files_nor_a_way_out_of_its_cgroup() -> Result<()> {
    let Some((world, _proxy, launcher)) = launched()? else { return Ok(()) };
    let said = launcher.run(
        &world,
        &format!(
            r#"
dir = "{dir}"
say(os.listdir(dir + "/run"), os.listdir(dir + "/state"), os.listdir("/sys/fs/bpf"))
libc = ctypes.CDLL(None, use_errno=True)
assert libc.unshare(0x10000000) == 0
def move(): open("{cgroup}/cgroup.procs", "w").write(str(os.getpid()))
say(outcome(move), outcome(lambda: os.mkdir("{mount}/below")))
# A child can be born in any cgroup that can be opened, written to or not: there is none above its own.
say([word for word in os.listdir("{mount}") if os.path.isdir("{mount}/" + word)])
status = open("/proc/self/status").read()
say([line.split()[1] for line in status.splitlines() if line.startswith(("NoNewPrivs", "Seccomp:"))])
"#,
            dir = launcher.dir().display(),
            cgroup = world.cgroups.proxy.display(),
            mount = cgroup2_mount()?.display(),
        ),
    )?;
    assert_eq!(said, "['trust'] [] []\nENOENT EROFS\n[]\n['1', '2']");
    Ok(())
}

// Case 26: a socket of the host's runtime directory, as container engines and service managers have there.
#[test]
fn a_launched_agent_finds_no_socket_of_the_hosts_and_a_runtime_directory_of_its_own() -> Result<()> {
    let Some((world, _proxy, launcher)) = launched()? else { return Ok(()) };
    let place = tempfile::Builder::new().prefix("shield-deputy-").tempdir_in("/run")?;
    std::fs::set_permissions(place.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755))?;
    let deputy = place.path().join("deputy.sock");
    let _listening = std::os::unix::net::UnixListener::bind(&deputy)?;
    std::fs::set_permissions(&deputy, std::os::unix::fs::PermissionsExt::from_mode(0o777))?;
    let script = format!(
        r#"
def reach(): socket.socket(socket.AF_UNIX).connect("{deputy}")
say(outcome(reach), set(os.listdir("/run")) - {{"user", "shm", "systemd", "resolvconf", "NetworkManager"}})
own = "/run/user/%d" % os.getuid()
open(own + "/mine", "w").close()
say(os.listdir("/run/user") == [str(os.getuid())], oct(os.stat(own).st_mode & 0o777), os.listdir(own))
"#,
        deputy = deputy.display(),
    );
    assert_eq!(launcher.run(&world, &script)?, "ENOENT set()\nTrue 0o700 ['mine']");
    Ok(())
}

/// What agents do all day.
const PROGRAMS: [(&str, &[&str], &str); 8] = [
    ("curl", &["--silent", "http://1.2.3.4/"], "proxied"),
    ("curl", &["--silent", "http://[2001:db8::1]/"], "proxied"),
    // Two families to choose from, tried in parallel.
    (
        "curl",
        &["--silent", "--resolve", "a.example:80:[2001:db8::1],1.2.3.4", "http://a.example/"],
        "proxied",
    ),
    ("curl", &["--silent", "--interface", "eth0", "http://1.2.3.4/"], "proxied"),
    ("git", &["ls-remote", "git://1.2.3.4/x"], "bad line length character: prox"),
    ("node", &["-e", "fetch('http://1.2.3.4/').then(r => r.text()).then(console.log)"], "proxied"),
    (
        "/usr/bin/python3",
        &[
            "-c",
            "import asyncio\nasync def main():\n  reader, writer = await asyncio.open_connection('1.2.3.4', 443)\n  print((await reader.read()).decode())\nasyncio.run(main())",
        ],
        "proxied",
    ),
    ("java", &["-Xshare:auto", "-version"], "version"),
];

// Case 6.
#[test]
fn ordinary_programs_run_as_launched_agents() -> Result<()> {
    let Some((world, _proxy, launcher)) = launched()? else { return Ok(()) };
    for (program, arguments, expected) in PROGRAMS {
        if program == "java" && !Path::new("/usr/bin/java").exists() {
            continue;
        }
        let output = launcher.command(&world, program).args(arguments).stdin(Stdio::null()).output()?;
        let said = [output.stdout, output.stderr].concat();
        let said = String::from_utf8_lossy(&said);
        ensure!(said.contains(expected), "{program} {arguments:?}: {}: {said}", output.status);
    }
    world.assert_silent()
}
