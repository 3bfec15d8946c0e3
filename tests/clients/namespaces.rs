//! Agents that go into network namespaces of their own: refused there at first, served when the daemon has found them,
//! and forgotten when they are gone.

use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Child, Stdio};

use anyhow::{Context as _, Result, ensure};
use shield_common::limits::NETNS_MAX;
use shield_tests::deployment::{Deployment, Role, Settings};
use shield_tests::world::python;
use shield_tests::{sockets, wait};

/// Goes into namespaces of its own, and asks from there when it is told to.
const HERMIT: &str = r#"
import ctypes, errno, os, signal, socket, subprocess, sys, time
def unshare():
    libc = ctypes.CDLL(None, use_errno=True)
    uid = os.getuid()
    assert libc.unshare(0x10000000) == 0 and open("/proc/self/uid_map", "w").write(f"0 {uid} 1")
    assert libc.unshare(0x40000000) == 0
def ask(path):
    try:
        connection = socket.create_connection((sys.argv[1], 80), 10)
    except OSError as error:
        return errno.errorcode.get(error.errno, repr(error))
    connection.sendall(f"GET {path} HTTP/1.1\r\nHost: crm.acme.internal\r\nConnection: close\r\n\r\n".encode())
    return connection.recv(1000).decode().split()[1]
def loopback_up():
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
def say(*words):
    print(*words, flush=True)
"#;

const ONE: &str = r#"
say(ask("/from-the-first"))
if os.fork() == 0:
    unshare()
    say(ask("/too-early"))
    input()
    loopback_up()
    while (told := ask("/from-inside")) == "ECONNREFUSED":
        os.sched_yield()
    say(told)
    input()
    os._exit(0)
os.wait()
say(ask("/again-from-the-first"))
input()
"#;

const MANY: &str = r#"
for child in range(int(sys.argv[2])):
    if os.fork() == 0:
        unshare()
        loopback_up()
        signal.pause()
say("many")
input()
"#;

#[test]
fn a_namespace_is_refused_then_served_and_given_up_when_it_is_empty() -> Result<()> {
    let deployment = Deployment::start(Settings::default())?;
    let outcome = come_and_go(&deployment);
    outcome.with_context(|| format!("the daemon said:\n{}", deployment.daemon.log()))
}

fn come_and_go(deployment: &Deployment) -> Result<()> {
    let mut hermit = Hermit::start(deployment, ONE, &[])?;
    ensure!(hermit.hear()? == "200", "not served in the first namespace");
    ensure!(abroad(deployment)? == [0, 0], "sockets in a namespace nobody has made yet");
    ensure!(hermit.hear()? == "ECONNREFUSED", "served in an unknown namespace");
    logged(deployment, "are refused, because it cannot be served")?;
    hermit.tell()?;
    ensure!(hermit.hear()? == "200", "not served in its own namespace");
    ensure!(deployment.origin.ledger.of("GET", "/too-early").is_empty(), "the refused one arrived");
    ensure!(deployment.origin.ledger.of("GET", "/from-inside").len() == 1, "not exactly one arrived");
    let meanwhile = abroad(deployment)?;
    ensure!(meanwhile.iter().all(|sockets| *sockets > 0), "served by {meanwhile:?}");
    hermit.tell()?;
    logged(deployment, "it is not served from now on")?;
    ensure!(hermit.hear()? == "200", "no longer served in the first namespace");
    wait::until("every socket of the namespace to be closed", || {
        (abroad(deployment).ok()? == [0, 0]).then_some(())
    })
}

#[test]
fn one_namespace_too_many_is_told_and_refused() -> Result<()> {
    let deployment = Deployment::start(Settings::default())?;
    let many = (NETNS_MAX + 6).to_string();
    let mut hermit = Hermit::start(&deployment, MANY, &[&many])?;
    ensure!(hermit.hear()? == "many", "not started");
    let outcome = logged(&deployment, "more than 64 network namespaces");
    outcome.with_context(|| format!("the daemon said:\n{}", deployment.daemon.log()))?;
    let served = deployment.daemon.log().matches("is served from now on").count();
    ensure!(served == NETNS_MAX as usize - 1, "{served} beside the first");
    Ok(())
}

fn logged(deployment: &Deployment, words: &str) -> Result<()> {
    wait::until(words, || deployment.daemon.log().contains(words).then_some(()))
}

/// How many sockets the supervisor and the worker have in other network namespaces than their own.
fn abroad(deployment: &Deployment) -> Result<[usize; 2]> {
    let count = |role| sockets::abroad(deployment.daemon.pid(role).context("a role is gone")?);
    Ok([count(Role::Supervisor)?, count(Role::Worker)?])
}

/// A gated script one talks with.
struct Hermit(Child, BufReader<std::process::ChildStdout>);

impl Hermit {
    fn start(deployment: &Deployment, script: &str, arguments: &[&str]) -> Result<Self> {
        let script = format!("{HERMIT}{script}");
        let address = deployment.origin.address.to_string();
        let words = [&[python(), "-c", &script, &address], arguments].concat();
        let mut command = deployment.agent("hermit", &words);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let stdout = BufReader::new(child.stdout.take().context("stdout is piped")?);
        Ok(Self(child, stdout))
    }

    fn hear(&mut self) -> Result<String> {
        let mut line = String::new();
        ensure!(self.1.read_line(&mut line)? > 0, "the script ended");
        Ok(line.trim_end().to_owned())
    }

    fn tell(&mut self) -> Result<()> {
        let stdin = self.0.stdin.as_mut().context("stdin is piped")?;
        Ok(writeln!(stdin, "go on")?)
    }
}

impl Drop for Hermit {
    fn drop(&mut self) {
        // What is still inside ends with the deployment.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
