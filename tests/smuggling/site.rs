//! A gate, an agent that says what it is told, and the servers it says it to.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::SocketAddr;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use shield_tests::deployment::{Deployment, Settings, tool};
use shield_tests::speech::{Heard, Protocol, Saying};
use shield_tests::wait;

use crate::oracle;
use crate::origins::{Account, Origin, Origins};
use crate::shown::{self, Shown};

/// What lies under it is judged by its body, which is read whole first.
pub(crate) const JUDGED_PATH: &str = "/judged/";
/// What lies under it streams.
pub(crate) const STREAMED_PATH: &str = "/streamed/";

const NAME: &str = "crm.acme.internal";

const POLICY: &str = r#"version: 1
mode: gate
defaults: { unmatched: allow, unknown_host: allow, opaque: deny, uninspectable: allow }
hosts: { known: ["*.acme.internal"] }
rules:
  - id: by-the-body
    verdict: deny
    why: whatever is under this path is looked into
    match: { path: "/judged/{rest..}", body_regex: "this is never sent" }
"#;

pub(crate) struct Site {
    // Dropped first: they are in the deployment's directory.
    pub(crate) origins: Origins,
    pub(crate) deployment: Deployment,
}

impl Site {
    pub(crate) fn start() -> Result<Self> {
        let settings = Settings { policy: POLICY.into(), ..Settings::default() };
        let deployment = Deployment::start(settings)?;
        let origins = Origins::start(&deployment)?;
        Ok(Self { origins, deployment })
    }

    /// Bytes for an origin, over a connection that speaks `protocol`.
    pub(crate) fn saying(&self, origin: &Origin, protocol: Protocol, bytes: Vec<u8>) -> Saying {
        let plain = origin.port == 80;
        Saying {
            to: SocketAddr::from((self.deployment.origin.address, origin.port)),
            tls: (!plain).then(|| (NAME.to_owned(), protocol)),
            bytes,
            patience: 20_000,
            between: 300,
        }
    }

    /// Has the agent say all of it, and gives what it heard in the same order.
    pub(crate) fn say(&self, sayings: &[Saying]) -> Result<Vec<Heard>> {
        let mut agent = self.deployment.agent("smuggler", &[tool("speaker")]);
        let mut agent =
            agent.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().context("cannot start shield")?;
        let (mut told, heard) = (agent.stdin.take().context("piped")?, agent.stdout.take().context("piped")?);
        let mut all = std::thread::scope(|scope| -> Result<Vec<Heard>> {
            let telling = scope.spawn(move || -> Result<()> {
                for saying in sayings {
                    serde_json::to_writer(&mut told, saying)?;
                    told.write_all(b"\n")?;
                }
                Ok(())
            });
            let lines = BufReader::new(heard).lines();
            let heard = lines.map(|line| Ok(serde_json::from_str(&line?)?)).collect::<Result<Vec<Heard>>>();
            telling.join().map_err(|_| anyhow::anyhow!("telling panicked"))??;
            heard
        })?;
        let ended = agent.wait()?;
        ensure!(ended.success() && all.len() == sayings.len(), "{ended}; heard {} answers", all.len());
        all.sort_by_key(|heard| heard.number);
        Ok(all)
    }

    /// What the journal shows and what every origin received, once they agree or will not.
    pub(crate) fn outcome(&self) -> Result<Outcome> {
        let shown = shown::all(&self.deployment)?;
        let read = || -> Result<Outcome> {
            let origins = self.origins.all.iter();
            let accounts = origins.map(|origin| Ok((origin.clone(), origin.account(&self.deployment)?)));
            let accounts = accounts.collect::<Result<Vec<_>>>()?;
            let compared =
                accounts.iter().map(|(origin, account)| oracle::differences(origin, account, &shown));
            let differences = compared.collect::<Vec<_>>().concat();
            Ok(Outcome { shown: shown.clone(), accounts, differences })
        };
        // Servers write down what they received after they answered.
        let agreed = wait::within(Duration::from_secs(10), || {
            read().ok().filter(|outcome| outcome.differences.is_empty())
        });
        agreed.map_or_else(read, Ok)
    }
}

/// What became of everything that was said.
pub(crate) struct Outcome {
    pub(crate) shown: Vec<Shown>,
    pub(crate) accounts: Vec<(Origin, Account)>,
    /// Where the two do not agree.
    pub(crate) differences: Vec<String>,
}
