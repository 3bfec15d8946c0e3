//! A throwaway world: an agent's network namespace and "the internet" behind a pair of interfaces, cgroups of its
//! own, and a gate on them. What leaves is seen by a sniffer on the far side, whatever the agent was told.
//!
//! Never touches the host's network namespace: a leak ends in the world's internet.

use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::UdpSocket;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::{Context as _, Result, ensure};
use nix::unistd::{Gid, Uid, setgroups, setresgid, setresuid};
use shield_agent::capture::cgroup::remove_tree;
use shield_agent::capture::{AgentCgroups, CaptureError, Cgroups, Gate, Listeners, listeners};
use shield_agent::names::AgentName;
use shield_common::event::Reason;
use shield_common::limits::ABI;

use crate::netns::Netns;
use crate::proxy::Proxy;
use crate::sniffer::{AGENT_MAC, Sniffer};
use crate::wait;

/// The agent's own addresses, and the internet's end of the wire.
pub const AGENT_V4: &str = "10.99.0.1";
/// See [`AGENT_V4`].
pub const AGENT_V6: &str = "fd99::1";
/// See [`AGENT_V4`].
pub const INTERNET_V4: &str = "10.99.0.2";
/// See [`AGENT_V4`].
pub const INTERNET_V6: &str = "fd99::2";
const INTERNET_MAC: &str = "02:00:00:00:99:02";

/// The agent's name.
pub const AGENT: &str = "agent";

/// The user agents run as.
pub const NOBODY: u32 = 65534;

/// Programs to leave out of every gate, comma-separated: to see a test fail without what it tests.
const WITHOUT: &str = "SHIELD_TEST_WITHOUT";

/// What every script of an agent begins with.
const PRELUDE: &str = r#"
import ctypes, errno, os, socket, struct, subprocess, sys, time
socket.setdefaulttimeout(10)
def outcome(act):
    try:
        result = act()
        return "ok" if result is None else result
    except OSError as error:
        return errno.errorcode.get(error.errno, repr(error))
def say(*words):
    print(*words, flush=True)
def tcp(family=socket.AF_INET):
    return socket.socket(family, socket.SOCK_STREAM)
def udp(family=socket.AF_INET):
    return socket.socket(family, socket.SOCK_DGRAM)
"#;

/// A world with its gate.
pub struct World {
    /// Where the agent lives.
    pub agent_netns: Netns,
    /// What it must not reach by itself.
    pub internet: Netns,
    /// The instance its cgroups and pins belong to.
    pub instance: String,
    /// The agent's name.
    pub agent: AgentName,
    /// The agent's cgroups.
    pub cgroups: AgentCgroups,
    /// The gate.
    pub gate: Gate,
    sniffer: Sniffer,
    pub(crate) actor: PathBuf,
}

impl World {
    /// A gated world that nothing serves yet; `None`, with the reason on stderr, where the kernel or the user will
    /// not do. `actor` is the helper binary.
    pub fn new(actor: &Path) -> Result<Option<Self>> {
        Self::without(actor, &[])
    }

    /// A world whose gate lacks some programs.
    pub fn without(actor: &Path, omitted: &[&str]) -> Result<Option<Self>> {
        Self::make(actor, omitted, false)
    }

    /// A world whose agent is guarded from the cgroup above all of this world's.
    pub fn guarded(actor: &Path) -> Result<Option<Self>> {
        Self::make(actor, &[], true)
    }

    fn make(actor: &Path, omitted: &[&str], guarded: bool) -> Result<Option<Self>> {
        if let Err(reason) = shield_agent::capture::check_host() {
            ensure!(std::env::var_os("CI").is_none(), "cannot run kernel tests: {reason}");
            // Not by `eprintln!`, which the test runner keeps to itself when a test passes.
            writeln!(std::io::stderr(), "skipped: {reason}")?;
            return Ok(None);
        }
        static WORLDS: AtomicU32 = AtomicU32::new(0);
        let number = WORLDS.fetch_add(1, Ordering::Relaxed);
        let instance = format!("test-{}-{number}", std::process::id());
        let agent: AgentName = AGENT.parse()?;
        let (agent_netns, internet) = wire()?;
        let sniffer = Sniffer::start(&internet)?;
        let cgroups = Cgroups::find(&instance)?;
        let guard = guarded.then(|| cgroups.instance().to_owned());
        let cgroups = cgroups.guarded_by(guard.as_deref())?.create(&agent)?;
        let more = std::env::var(WITHOUT).unwrap_or_default();
        let omitted: Vec<&str> = omitted.iter().copied().chain(more.split(',')).collect();
        let gate = Gate::attach_without(&instance, &agent, &cgroups, &omitted)?;
        let actor = actor.to_owned();
        Ok(Some(Self { agent_netns, internet, instance, agent, cgroups, gate, sniffer, actor }))
    }

    /// The cgroup above all of this world's and no other's.
    pub fn above(&self) -> Result<&Path> {
        self.cgroups.agent.ancestors().nth(2).context("an agent's cgroup is in its instance's")
    }

    /// Where the gate is pinned.
    pub fn pins(&self) -> PathBuf {
        self.pins_of_version(ABI)
    }

    /// Where a version with another layout would pin the gate.
    pub fn pins_of_version(&self, version: u32) -> PathBuf {
        let version = Path::new("/sys/fs/bpf/agent-shield").join(format!("v{version}"));
        version.join(&self.instance).join(self.agent.as_str())
    }

    /// Opens listeners in the agent's namespace and serves it there.
    pub fn serve(&mut self) -> Result<Proxy> {
        self.serve_as(|_| {})
    }

    /// Serves the agent's namespace with what is told to the hooks changed.
    pub fn serve_as(&mut self, change: impl FnOnce(&mut Listeners)) -> Result<Proxy> {
        let mut opened = self.listeners()?;
        change(&mut opened);
        self.gate.serve_netns(opened.netns_cookie, opened.served)?;
        Proxy::start(opened, self.originals()?)
    }

    /// Opens listeners in the agent's namespace.
    pub fn listeners(&self) -> Result<Listeners> {
        self.listeners_in(self.agent_netns.as_fd())
    }

    /// Opens listeners in another namespace.
    pub fn listeners_in(&self, netns: std::os::fd::BorrowedFd<'_>) -> Result<Listeners> {
        let mut helper = Command::new(&self.actor);
        helper.arg("listeners");
        Ok(listeners::open(helper, &self.cgroups.proxy, netns)?)
    }

    /// The map originals are looked up in.
    pub fn originals(&self) -> Result<OwnedFd> {
        Ok(self.gate.originals_fd().try_clone_to_owned()?)
    }

    /// How often a hook did something.
    pub fn counted(&self, reason: Reason) -> Result<u64, CaptureError> {
        self.gate.counter(reason)
    }

    /// A program of the agent's: in its cgroup and namespace, as nobody.
    pub fn agent(&self, program: impl AsRef<std::ffi::OsStr>) -> Result<Command> {
        self.program(program, &self.cgroups.agent, Some(NOBODY))
    }

    /// A program in the agent's namespace and a cgroup of choice, as `user` or as root.
    pub fn program(
        &self,
        program: impl AsRef<std::ffi::OsStr>,
        cgroup: &Path,
        user: Option<u32>,
    ) -> Result<Command> {
        let procs = fs::File::options().write(true).open(cgroup.join("cgroup.procs"))?;
        let mut command = self.agent_netns.command(program);
        let enter = move || {
            (&procs).write_all(b"0")?;
            if let Some(user) = user {
                setgroups(&[])?;
                setresgid(Gid::from_raw(user), Gid::from_raw(user), Gid::from_raw(user))?;
                setresuid(Uid::from_raw(user), Uid::from_raw(user), Uid::from_raw(user))?;
            }
            Ok(())
        };
        // SAFETY: between fork and exec the closure makes system calls only; it allocates nothing.
        unsafe { command.pre_exec(enter) };
        command.env_clear().env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin").current_dir("/");
        Ok(command)
    }

    /// Runs a script as the agent and gives what it said.
    pub fn run(&self, script: &str) -> Result<String> {
        run(self.agent(python())?, script)
    }

    /// Starts a script as the agent, to talk with it line by line.
    pub fn talk(&self, script: &str) -> Result<Talk> {
        Talk::start(self.agent(python())?, script)
    }

    /// Runs a script in the agent's namespace but outside its cgroup, as a neighbour would.
    pub fn run_outside(&self, script: &str) -> Result<String> {
        run(self.agent_netns.command(python()), script)
    }

    /// Starts a script in the agent's namespace but outside its cgroup.
    pub fn talk_outside(&self, script: &str) -> Result<Talk> {
        Talk::start(self.agent_netns.command(python()), script)
    }

    /// Starts a script of the agent's user in its namespace but outside its cgroup: what the agent may not reach.
    pub fn talk_of_its_user(&self, script: &str) -> Result<Talk> {
        let outside = self.cgroups.agent.parent().context("a cgroup has one above it")?;
        Talk::start(self.program(python(), outside, Some(NOBODY))?, script)
    }

    /// Starts a script of the agent's user in its namespace and a cgroup of choice.
    pub fn talk_in(&self, cgroup: &Path, script: &str) -> Result<Talk> {
        Talk::start(self.program(python(), cgroup, Some(NOBODY))?, script)
    }

    /// Runs a script on the internet.
    pub fn run_on_the_internet(&self, script: &str) -> Result<String> {
        run(self.internet.command(python()), script)
    }

    /// Starts a script on the internet.
    pub fn talk_on_the_internet(&self, script: &str) -> Result<Talk> {
        Talk::start(self.internet.command(python()), script)
    }

    /// Every packet that reached the internet so far, as `protocol source > destination`.
    pub fn leaks(&self) -> Result<Vec<String>> {
        let marker = Sniffer::marker();
        let sent = self.agent_netns.enter({
            let marker = marker.clone();
            move || UdpSocket::bind("0.0.0.0:0")?.send_to(marker.as_bytes(), (INTERNET_V4, 9))
        })?;
        sent.join().expect("sending does not panic")?;
        self.sniffer.seen_before(&marker)
    }

    /// Fails when anything reached the internet.
    pub fn assert_silent(&self) -> Result<()> {
        let leaks = self.leaks()?;
        ensure!(leaks.is_empty(), "packets left the host: {leaks:?}");
        Ok(())
    }
}

impl Drop for World {
    fn drop(&mut self) {
        // What cannot be cleaned up has a name nobody else uses.
        let Ok(ours) = self.above().map(Path::to_owned) else { return };
        let _ = fs::write(ours.join("cgroup.kill"), "1");
        let _ = wait::until("the processes of this world die", || {
            let events = fs::read_to_string(ours.join("cgroup.events"));
            events.map_or(Some(()), |events| events.contains("populated 0").then_some(()))
        });
        let _ = Gate::clear(&self.instance, &self.agent);
        let _ = remove_tree(&ours);
    }
}

/// A script one talks with.
pub struct Talk {
    child: Child,
    stdin: ChildStdin,
    stdout: BufReader<ChildStdout>,
}

impl Talk {
    fn start(command: Command, script: &str) -> Result<Self> {
        let mut child =
            scripted(command, script).stdin(Stdio::piped()).spawn().context("cannot start python3")?;
        let stdin = child.stdin.take().context("no stdin")?;
        let stdout = BufReader::new(child.stdout.take().context("no stdout")?);
        Ok(Self { child, stdin, stdout })
    }

    /// The next line it says.
    pub fn hear(&mut self) -> Result<String> {
        let mut line = String::new();
        ensure!(self.stdout.read_line(&mut line)? > 0, "the script ended");
        Ok(line.trim_end().to_owned())
    }

    /// Gives it a line to `input()`.
    pub fn tell(&mut self, line: &str) -> Result<()> {
        Ok(writeln!(self.stdin, "{line}")?)
    }

    /// Its process.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Talk {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Runs a script as a command that was made to start Python, and gives what it said.
pub fn run(command: Command, script: &str) -> Result<String> {
    let output = scripted(command, script).stdin(Stdio::null()).output().context("cannot start python3")?;
    ensure!(output.status.success(), "the script failed: {}", String::from_utf8_lossy(&output.stderr));
    Ok(String::from_utf8(output.stdout)?.trim_end().to_owned())
}

fn scripted(mut command: Command, script: &str) -> Command {
    command.arg("-c").arg(format!("{PRELUDE}\n{script}")).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// The system's own Python: a user's may lie in a home nobody else can enter.
pub fn python() -> &'static str {
    if Path::new("/usr/bin/python3").exists() { "/usr/bin/python3" } else { "python3" }
}

/// Two namespaces joined by a wire; the far one answers for every address there is.
fn wire() -> Result<(Netns, Netns)> {
    let (agent, internet) = (Netns::new()?, Netns::new()?);
    agent.join(
        ("eth0", &[&format!("{AGENT_V4}/24"), &format!("{AGENT_V6}/64")]),
        &internet,
        ("eth0", &[&format!("{INTERNET_V4}/24"), &format!("{INTERNET_V6}/64")]),
    )?;
    agent.ip(&["link", "set", "eth0", "address", AGENT_MAC])?;
    internet.ip(&["link", "set", "eth0", "address", INTERNET_MAC])?;
    // A packet that waits for its neighbour's address would arrive after the marker that says none did.
    for neighbour in [INTERNET_V4, INTERNET_V6] {
        agent.ip(&[
            "neighbour",
            "replace",
            neighbour,
            "lladdr",
            INTERNET_MAC,
            "nud",
            "permanent",
            "dev",
            "eth0",
        ])?;
    }
    agent.ip(&["route", "add", "default", "via", INTERNET_V4])?;
    agent.ip(&["-6", "route", "add", "default", "via", INTERNET_V6])?;
    internet.ip(&["route", "add", "local", "0.0.0.0/0", "dev", "lo"])?;
    internet.ip(&["-6", "route", "add", "local", "::/0", "dev", "lo"])?;
    // That one would keep the answers to the agent too.
    internet.ip(&["-6", "route", "add", AGENT_V6, "dev", "eth0", "table", "local"])?;
    Ok((agent, internet))
}
