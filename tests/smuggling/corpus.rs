//! Every payload of `tests/cases/smuggling/`, to every server, judged with its body and without.

use anyhow::{Context as _, Result, ensure};
use shield_tests::speech::{Heard, Protocol};

use crate::cases::{self, Case, Expected};
use crate::oracle;
use crate::origins::{Account, Origin};
use crate::shown::Shown;
use crate::site::{JUDGED_PATH, Outcome, STREAMED_PATH, Site};

/// How our first frame of HTTP/2 starts: four settings on stream 0.
const SETTINGS: &str = "\0\0\x18\x04\0\0\0\0\0";

#[test]
fn what_is_shown_of_every_payload_is_what_eleven_servers_receive() -> Result<()> {
    let cases = cases::all()?;
    ensure!(cases.len() >= 300, "only {} cases were found", cases.len());
    let site = Site::start()?;
    send(&site, &cases)
}

/// A payload on its way to one origin, under a path of its own.
struct Attempt<'a> {
    case: &'a Case,
    origin: &'a Origin,
    path: String,
}

fn send(site: &Site, cases: &[Case]) -> Result<()> {
    let attempts = attempts(site, cases);
    let mut sayings = Vec::with_capacity(attempts.len());
    for attempt in &attempts {
        let payload = attempt.case.payload(&host(attempt.origin), &attempt.path)?;
        let mut saying = site.saying(attempt.origin, attempt.case.protocol, payload);
        match attempt.case.expected {
            Expected::Waits => saying.patience = 1000,
            Expected::Shown(_) => saying.between = saying.patience,
            _ => {}
        }
        sayings.push(saying);
    }
    let heard = site.say(&sayings)?;
    let Outcome { shown, accounts, differences: mut wrong } = site.outcome()?;
    for (attempt, heard) in attempts.iter().zip(&heard) {
        let account = accounts.iter().find(|(origin, _)| origin.port == attempt.origin.port);
        let (_, account) = account.context("an origin without an account")?;
        if let Err(why) = attempt.check(heard, &shown, account) {
            wrong.push(format!(
                "{} → {:?} {:?}: {why:#}",
                attempt.case.name, attempt.origin.server, attempt.origin.protocol
            ));
        }
    }
    let count = wrong.len();
    wrong.truncate(40);
    ensure!(wrong.is_empty(), "{count} things wrong of {} attempts:\n{}", attempts.len(), wrong.join("\n"));
    println!(
        "{} cases, {} attempts, {} requests shown and received",
        cases.len(),
        attempts.len(),
        shown.len()
    );
    Ok(())
}

/// Every case for every origin an agent can speak its protocol to.
fn attempts<'a>(site: &'a Site, cases: &'a [Case]) -> Vec<Attempt<'a>> {
    let mut attempts = Vec::new();
    for case in cases {
        let origins = site.origins.all.iter().filter(|origin| !case.only_tls || origin.port != 80);
        for (number, origin) in origins.enumerate() {
            // What is refused is refused before anybody asks how it would be judged: one of the two will do.
            let both = matches!(case.expected, Expected::Shown(_));
            for prefix in [JUDGED_PATH, STREAMED_PATH]
                .into_iter()
                .skip(usize::from(!both && number % 2 == 1))
                .take(1 + usize::from(both))
            {
                let path = format!("{prefix}{:05}", attempts.len());
                attempts.push(Attempt { case, origin, path });
            }
        }
    }
    attempts
}

/// The authority of an origin.
pub(crate) fn host(origin: &Origin) -> String {
    match origin.port {
        80 | 443 => "crm.acme.internal".into(),
        port => format!("crm.acme.internal:{port}"),
    }
}

impl Attempt<'_> {
    fn check(&self, heard: &Heard, shown: &[Shown], account: &Account) -> Result<()> {
        let shown: Vec<&Shown> = shown.iter().filter(|one| one.judged.url.contains(&self.path)).collect();
        let received: Vec<_> =
            account.received.iter().filter(|one| one.target.contains(&self.path)).collect();
        let answer = String::from_utf8_lossy(&heard.answer);
        let context = || {
            let answer: String = answer.chars().take(300).collect();
            let shown: Vec<String> = shown.iter().map(|one| oracle::brief(one)).collect();
            format!("answered {answer:?} {:?}, shown {shown:?}", heard.error)
        };
        let answered = shown.iter().any(|one| one.finished.status.is_some());
        match &self.case.expected {
            Expected::Shown(_) => {
                let expected = self.case.shown(&host(self.origin), &self.path)?;
                let as_shown: Vec<_> = shown
                    .iter()
                    .map(|one| (one.judged.method.clone(), one.judged.url.clone(), one.finished.sent))
                    .collect();
                let scheme = if self.origin.port == 80 { "http" } else { "https" };
                let url = |target: &str| format!("{scheme}://{}{target}", host(self.origin));
                let as_expected: Vec<_> = expected
                    .iter()
                    .map(|(method, target, body)| (method.clone(), url(target), body.len() as u64))
                    .collect();
                ensure!(as_shown == as_expected, "expected {as_expected:?}; {}", context());
                let bodies: Vec<_> = expected.iter().map(|(_, _, body)| sha256(body)).collect();
                ensure!(received.iter().all(|one| bodies.contains(&one.sha256)), "received {received:?}");
                return Ok(());
            }
            Expected::Status(status) => {
                let line = format!("HTTP/1.1 {status} ");
                ensure!(answer.starts_with(&line) && shown.is_empty(), "expected {status}; {}", context());
            }
            Expected::Refused => {
                // Without TLS, the preface of HTTP/2 is answered in HTTP/2.
                let refusals = ["HTTP/1.1 4", "HTTP/1.1 5", SETTINGS];
                let answer_is_refusal = refusals.iter().any(|start| answer.starts_with(start));
                let refused = match self.case.protocol {
                    Protocol::H1 => answer_is_refusal,
                    Protocol::H2 => !answer.is_empty() || heard.error.is_some(),
                };
                ensure!(refused && !answered, "expected to be refused; {}", context());
            }
            Expected::Reset => {
                ensure!(answer.is_empty() && shown.is_empty(), "expected a reset; {}", context());
            }
            Expected::Waits => {
                ensure!(!answered, "expected to wait; {}", context());
                // Those give their applications what came of a body that broke off: shown as that, the judge finds.
                let whole = self.origin.server.takes_broken_bodies() || received.is_empty();
                ensure!(whole, "received {received:?}");
                return Ok(());
            }
        }
        ensure!(received.is_empty(), "received {received:?}");
        Ok(())
    }
}

fn sha256(body: &[u8]) -> String {
    shield_tests::origin::ledger::hex(&<sha2::Sha256 as sha2::Digest>::digest(body))
}
