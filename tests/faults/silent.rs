//! Ten thousand attempts to connect while the daemon, or a part of it, is away: not one packet reaches the wire.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::UdpSocket;
use std::process::{Child, ChildStdout, Stdio};

use anyhow::{Context as _, Result, ensure};
use nix::sys::signal::{Signal, kill};
use shield_tests::deployment::{Deployment, Role, Settings};
use shield_tests::sniffer::Sniffer;
use shield_tests::wait;

const ATTEMPTS: usize = 10_000;
/// Restarts that fall into the attempts, at least.
const RESTARTS: usize = 3;

/// For each line it reads, tries to connect until there were so many attempts, and says `done`. It never waits for an
/// attempt to end, so that one that hangs does not keep it from the others.
const AGENT: &str = r#"
import socket, struct, sys
address = sys.argv[1]
print("here", flush=True)
for count in iter(sys.stdin.readline, ""):
    for number in range(int(count)):
        attempt = socket.socket()
        attempt.setblocking(False)
        attempt.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        attempt.connect_ex((address, 1 + number % 60000))
        attempt.close()
    print("done", flush=True)
"#;

#[test]
fn of_ten_thousand_attempts_without_a_daemon_none_sends_a_packet() -> Result<()> {
    watched(|bench| {
        bench.deployment.daemon.kill(Role::Supervisor)?;
        bench.agent.attempt(ATTEMPTS)
    })
}

#[test]
fn of_ten_thousand_attempts_without_a_worker_none_sends_a_packet() -> Result<()> {
    watched(|bench| {
        // A stopped supervisor starts no other.
        let supervisor = bench.deployment.daemon.pid(Role::Supervisor).context("no supervisor")?;
        kill(supervisor, Signal::SIGSTOP)?;
        let tried = bench.deployment.daemon.kill(Role::Worker).and_then(|()| bench.agent.attempt(ATTEMPTS));
        kill(supervisor, Signal::SIGCONT)?;
        tried
    })
}

#[test]
fn of_ten_thousand_attempts_while_the_daemon_restarts_none_sends_a_packet() -> Result<()> {
    watched(|bench| {
        let mut attempts = 0;
        let mut restarts = 0;
        while attempts < ATTEMPTS || restarts < RESTARTS {
            bench.agent.begin(ATTEMPTS / RESTARTS + 1)?;
            bench.deployment.daemon.kill(Role::Supervisor)?;
            bench.deployment.restart()?;
            bench.agent.hear("done")?;
            attempts += ATTEMPTS / RESTARTS + 1;
            restarts += 1;
        }
        Ok(())
    })
}

struct Bench {
    // Ends before the daemon does.
    agent: Agent,
    deployment: Deployment,
}

/// A test with an agent that tries, and a sniffer that must not see it.
fn watched(test: impl FnOnce(&mut Bench) -> Result<()>) -> Result<()> {
    let deployment = Deployment::start(Settings::default())?;
    let sniffer = Sniffer::start(&deployment.elsewhere)?;
    let mut bench = Bench { agent: Agent::start(&deployment)?, deployment };
    let outcome = test(&mut bench).and_then(|()| bench.is_silent(&sniffer));
    outcome.with_context(|| format!("the daemon said:\n{}", bench.deployment.daemon.log()))
}

impl Bench {
    fn is_silent(&self, sniffer: &Sniffer) -> Result<()> {
        let (marker, origin) = (Sniffer::marker(), self.deployment.origin.address);
        let text = marker.clone();
        let send = move || UdpSocket::bind("0.0.0.0:0")?.send_to(text.as_bytes(), (origin, 9));
        self.deployment.place.enter(send)?.join().expect("sending does not panic")?;
        let leaks = sniffer.seen_before(&marker)?;
        ensure!(leaks.is_empty(), "{} packets left the host, first {:?}", leaks.len(), leaks.first());
        Ok(())
    }
}

struct Agent {
    process: Child,
    said: BufReader<ChildStdout>,
}

impl Agent {
    fn start(deployment: &Deployment) -> Result<Self> {
        let address = deployment.origin.address.to_string();
        let mut command = deployment.agent("trying", &["/usr/bin/python3", "-c", AGENT, &address]);
        let mut process = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let said = BufReader::new(process.stdout.take().context("stdout is piped")?);
        let mut agent = Self { process, said };
        agent.hear("here")?;
        Ok(agent)
    }

    fn attempt(&mut self, times: usize) -> Result<()> {
        self.begin(times)?;
        self.hear("done")
    }

    fn begin(&mut self, times: usize) -> Result<()> {
        Ok(writeln!(self.process.stdin.as_mut().context("stdin is piped")?, "{times}")?)
    }

    fn hear(&mut self, word: &str) -> Result<()> {
        let mut line = String::new();
        self.said.read_line(&mut line)?;
        ensure!(line.trim_end() == word, "the agent said {line:?} instead of {word:?}");
        Ok(())
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        // Its input ends, and so does it; without a daemon nobody tells its launcher, which is ended too.
        drop(self.process.stdin.take());
        if wait::within(wait::PATIENCE, || self.process.try_wait().ok().flatten()).is_none() {
            let _ = self.process.kill();
            let _ = self.process.wait();
        }
    }
}
