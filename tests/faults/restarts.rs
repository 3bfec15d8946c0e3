//! Connections made while no daemon runs are answered by the next one, when a service manager keeps the listeners.

use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Child, ChildStdout, Stdio};

use anyhow::{Context as _, Result, ensure};
use shield_tests::deployment::{Deployment, Role, Settings};
use shield_tests::wait;

const HOST: &str = "crm.acme.internal";
/// Few enough that the last one speaks before a silent client is taken for one that waits for its server.
const CONNECTIONS: usize = 100;

/// Connects when it is told to, says how many connections were made, and when told again asks over each of them and says
/// how many answers came.
const AGENT: &str = r#"
import socket, ssl, sys
address, host, count = sys.argv[1], sys.argv[2], int(sys.argv[3])
trust = ssl.create_default_context()
print("here", flush=True)
for path in iter(sys.stdin.readline, ""):
    made = []
    for _ in range(count):
        try:
            made.append(socket.create_connection((address, 443), 60))
        except OSError:
            pass
    print(len(made), flush=True)
    sys.stdin.readline()
    answered = 0
    for raw in made:
        try:
            with trust.wrap_socket(raw, server_hostname=host) as secret:
                secret.sendall(f"GET {path.strip()} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode())
                answered += secret.recv(12) == b"HTTP/1.1 200"
        except OSError as error:
            print(error, file=sys.stderr)
    print(answered, flush=True)
"#;

struct Agent {
    process: Child,
    said: BufReader<ChildStdout>,
}

impl Agent {
    fn start(deployment: &Deployment) -> Result<Self> {
        let (address, count) = (deployment.origin.address.to_string(), CONNECTIONS.to_string());
        let command = ["/usr/bin/python3", "-c", AGENT, &address, HOST, &count];
        let mut command = deployment.agent("patient", &command);
        let mut process = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let said = BufReader::new(process.stdout.take().context("stdout is piped")?);
        let mut agent = Self { process, said };
        agent.hear()?;
        Ok(agent)
    }

    fn tell(&mut self, line: &str) -> Result<String> {
        writeln!(self.process.stdin.as_mut().context("stdin is piped")?, "{line}")?;
        self.hear()
    }

    fn hear(&mut self) -> Result<String> {
        let mut line = String::new();
        self.said.read_line(&mut line)?;
        ensure!(!line.is_empty(), "the agent ended");
        Ok(line.trim_end().to_owned())
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        drop(self.process.stdin.take());
        let _ = self.process.wait();
    }
}

#[test]
fn connections_made_while_no_daemon_runs_are_answered_by_the_next_one() -> Result<()> {
    let mut deployment = Deployment::start(Settings { managed: true, ..Settings::default() })?;
    let outcome = restart_twice(&mut deployment);
    outcome.with_context(|| format!("the daemon said:\n{}", deployment.daemon.log()))
}

fn restart_twice(deployment: &mut Deployment) -> Result<()> {
    let all = CONNECTIONS.to_string();
    let mut agent = Agent::start(deployment)?;
    for (path, on_purpose) in [("/stopped", true), ("/killed", false)] {
        if on_purpose {
            ensure!(deployment.daemon.stop()?.success());
        } else {
            deployment.daemon.kill(Role::Supervisor)?;
        }
        let before = deployment.origin.connections();
        ensure!(agent.tell(path)? == all, "a connection was refused while no daemon ran");
        ensure!(deployment.origin.connections() == before, "a connection got out without a daemon");
        deployment.restart()?;
        ensure!(agent.tell("go on")? == all, "a connection made without a daemon was lost");
        ensure!(
            deployment.origin.ledger.of("GET", path).len() == CONNECTIONS,
            "a request was lost or doubled"
        );
    }
    drop(agent);
    wait::until("the listeners to be let go", || (deployment.daemon.kept() == 0).then_some(()))
}
