//! While a role is dead, its agents' traffic stops: it does not find a way round.

use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Child, Stdio};

use anyhow::{Context as _, Result, ensure};
use nix::sys::signal::{Signal, kill};
use shield_tests::deployment::{Deployment, Role, Settings};
use shield_tests::wait;

/// Fetches a URL for each line it reads, at an address it knows, and prints curl's exit code.
const FETCHER: &str = r#"while read -r host path; do
    curl --silent --max-time 3 --output /dev/null --resolve "$host:443:$0" "https://$host$path"
    echo "$?"
done"#;

#[test]
fn nothing_leaves_while_a_role_is_dead_and_service_returns_with_it() -> Result<()> {
    let mut deployment = Deployment::start(Settings::default())?;
    let outcome = kill_each(&mut deployment);
    outcome.with_context(|| format!("the daemon said:\n{}", deployment.daemon.log()))
}

fn kill_each(deployment: &mut Deployment) -> Result<()> {
    let mut agent = Fetcher::start(deployment)?;
    ensure!(agent.fetch("crm.acme.internal", "/before")?, "a read does not pass at first");
    // A name it has not met: without the signer there is no certificate for it.
    for (role, host) in [
        (Role::Worker, "crm.acme.internal"),
        (Role::Approver, "crm.acme.internal"),
        (Role::Signer, "git.acme.internal"),
        (Role::Supervisor, "crm.acme.internal"),
    ] {
        // A stopped supervisor brings nobody back.
        let supervisor = deployment.daemon.pid(Role::Supervisor).context("no supervisor")?;
        if role != Role::Supervisor {
            kill(supervisor, Signal::SIGSTOP)?;
        }
        let before = deployment.origin.connections();
        deployment.daemon.kill(role)?;
        let path = format!("/without/{role:?}");
        ensure!(!agent.fetch(host, &path)?, "a request got an answer without {role:?}");
        ensure!(deployment.origin.ledger.of("GET", &path).is_empty(), "a request got out without {role:?}");
        ensure!(deployment.origin.connections() == before, "a connection got out without {role:?}");
        if role == Role::Supervisor {
            deployment.restart()?;
        } else {
            kill(supervisor, Signal::SIGCONT)?;
        }
        wait::until(&format!("service without {role:?} to return"), || {
            agent.fetch(host, "/again").ok()?.then_some(())
        })?;
    }
    Ok(())
}

/// An agent that lives through all of it.
struct Fetcher {
    process: Child,
    answers: BufReader<std::process::ChildStdout>,
}

impl Fetcher {
    fn start(deployment: &Deployment) -> Result<Self> {
        let address = deployment.origin.address.to_string();
        let mut command = deployment.agent("fetcher", &["sh", "-c", FETCHER, &address]);
        let mut process = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let answers = BufReader::new(process.stdout.take().context("stdout is piped")?);
        Ok(Self { process, answers })
    }

    /// Whether a request was answered.
    fn fetch(&mut self, host: &str, path: &str) -> Result<bool> {
        let input = self.process.stdin.as_mut().context("stdin is piped")?;
        writeln!(input, "{host} {path}")?;
        let mut answer = String::new();
        self.answers.read_line(&mut answer)?;
        ensure!(!answer.is_empty(), "the agent ended");
        Ok(answer.trim() == "0")
    }
}

impl Drop for Fetcher {
    fn drop(&mut self) {
        // Its input ends, and so does it.
        drop(self.process.stdin.take());
        let _ = self.process.wait();
    }
}
