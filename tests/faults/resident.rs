//! An agent that lives through everything a test does, and asks when it is told to.

use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Child, ChildStdout, Stdio};

use anyhow::{Context as _, Result, ensure};
use shield_tests::client::Told;
use shield_tests::deployment::Deployment;

/// For each line it reads, asks at an address it knows and prints what it was told on one line, the status last: `000`
/// when there was no answer.
const LOOP: &str = r#"while read -r method host path; do
    curl --silent --max-time 5 --request "$method" --resolve "$host:443:$0" --write-out ' %{http_code}' \
        "https://$host$path" | tr '\n' ' '
    echo
done"#;

/// See the module.
pub(crate) struct Resident {
    process: Child,
    answers: BufReader<ChildStdout>,
}

impl Resident {
    pub(crate) fn start(deployment: &Deployment) -> Result<Self> {
        let address = deployment.origin.address.to_string();
        let mut command = deployment.agent("resident", &["sh", "-c", LOOP, &address]);
        let mut process = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let answers = BufReader::new(process.stdout.take().context("stdout is piped")?);
        Ok(Self { process, answers })
    }

    /// What a request is told; status 0 when there was no answer.
    pub(crate) fn ask(&mut self, method: &str, host: &str, path: &str) -> Result<Told> {
        let input = self.process.stdin.as_mut().context("stdin is piped")?;
        writeln!(input, "{method} {host} {path}")?;
        let mut line = String::new();
        self.answers.read_line(&mut line)?;
        ensure!(!line.is_empty(), "the agent ended");
        let (body, status) = line.trim_end().rsplit_once(' ').context("no status")?;
        Ok(Told { status: status.parse()?, body: body.trim().to_owned() })
    }
}

impl Drop for Resident {
    fn drop(&mut self) {
        // Its input ends, and so does it.
        drop(self.process.stdin.take());
        let _ = self.process.wait();
    }
}
