//! The test suites of real client libraries through the gate, compared test by test with a run without it.
//!
//! Usage: shield-suites BROUGHT [NAME…], where BROUGHT is what `cargo xtask suites` brought. A difference that is not in
//! `tests/suites/explained.txt` is a failure.

mod detour;
mod explained;
mod run;
mod suites;

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, Result, ensure};
use serde::Deserialize;
use shield_tests::deployment::{Deployment, Settings, output};

use explained::Explained;
use run::{Ground, Outcomes, Way};
use suites::{SUITES, Suite};

/// Everything passes: what is compared is what the gate does to traffic it lets pass.
const POLICY: &str = "version: 1\nmode: gate\n\
    defaults: { unmatched: allow, unknown_host: allow, opaque: deny, uninspectable: allow }\n";

fn main() -> ExitCode {
    match compare_all() {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("suites: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn compare_all() -> Result<bool> {
    let mut words = std::env::args().skip(1);
    let brought = PathBuf::from(words.next().context("say where the suites are")?);
    let wanted: Vec<String> = words.collect();
    let known = |name: &String| SUITES.iter().any(|suite| suite.name == name);
    let names = SUITES.map(|suite| suite.name).join(", ");
    ensure!(wanted.iter().all(known), "the suites are called {names}");
    let (certificate, key) = run::authority()?;
    let mut authorities = certificate.clone();
    for file in SUITES
        .iter()
        .flat_map(|suite| suite.authorities.iter().map(|file| brought.join(suite.source).join(file)))
    {
        authorities +=
            &std::fs::read_to_string(&file).with_context(|| format!("cannot read {}", file.display()))?;
    }
    let upstream = detour::places();
    let settings = Settings { policy: POLICY.into(), upstream, authorities, ..Settings::default() };
    let deployment = Deployment::start(settings)?;
    detour::open(&deployment)?;
    let detour = detour::library(deployment.dir())?;
    let ground =
        Ground { deployment: &deployment, authority: &(certificate + &key), brought: &brought, detour };
    ground.lay_out()?;
    println!(
        "{:<12}{:>8}{:>14}{:>14}{:>14}{:>12}{:>8}{:>12}{:>12}",
        "suite", "tests", "direct", "detour", "gate", "requests", "refused", "explained", "unexplained"
    );
    let mut all_explained = true;
    for suite in
        SUITES.iter().filter(|suite| wanted.is_empty() || wanted.iter().any(|name| name == suite.name))
    {
        all_explained &= compare(&ground, suite)?;
    }
    Ok(all_explained)
}

/// Runs a suite all three ways and says what differs; whether all of it is explained.
fn compare(ground: &Ground<'_>, suite: &Suite) -> Result<bool> {
    let mut ways = [Way::Direct, Way::Detour, Way::Gate].into_iter().map(|way| ground.run(suite, way));
    let mut next = || ways.next().context("there are three ways")?;
    let (direct, detour, gate) = (next()?, next()?, next()?);
    let requests = judged(ground.deployment, suite.name)?;
    ensure!(requests.allowed > 0, "nothing of {} went through the gate", suite.name);
    let tests: BTreeSet<&String> = direct.keys().chain(gate.keys()).collect();
    let differs = |test: &str| gate.get(test) != direct.get(test) && gate.get(test) != detour.get(test);
    let different: Vec<&str> = tests.iter().map(|test| test.as_str()).filter(|test| differs(test)).collect();
    let explained = Explained::of(suite.name)?;
    let unexplained: Vec<&str> =
        different.iter().copied().filter(|test| explained.reason(test).is_none()).collect();
    println!(
        "{:<12}{:>8}{:>14}{:>14}{:>14}{:>12}{:>8}{:>12}{:>12}",
        suite.name,
        tests.len(),
        passed(&direct),
        passed(&detour),
        passed(&gate),
        requests.allowed,
        requests.refused,
        different.len() - unexplained.len(),
        unexplained.len()
    );
    for (reason, count) in explained.count(different.iter().copied()) {
        println!("    {count:>4}  {reason}");
    }
    for test in &unexplained {
        let shown = |outcomes: &Outcomes| outcomes.get(*test).cloned().unwrap_or_else(|| "not run".into());
        println!("    NOT EXPLAINED: {} -> {}  {test}", shown(&detour), shown(&gate));
    }
    Ok(unexplained.is_empty())
}

fn passed(outcomes: &Outcomes) -> usize {
    outcomes.values().filter(|outcome| *outcome == "passed").count()
}

/// What the journal says an agent asked.
#[derive(Default)]
struct Judged {
    allowed: usize,
    refused: usize,
}

#[derive(Deserialize)]
struct Record {
    kind: String,
    agent: Option<String>,
    verdict: Option<String>,
}

fn judged(deployment: &Deployment, agent: &str) -> Result<Judged> {
    let records = output(&mut deployment.shield(&["journal", "tail", "-n", "1000000", "-o", "jsonl"]))?;
    let mut judged = Judged::default();
    for line in String::from_utf8(records.stdout)?.lines() {
        let record: Record = serde_json::from_str(line).context("a record is not JSON")?;
        if record.kind != "exchange.judged" || record.agent.as_deref() != Some(agent) {
            continue;
        }
        match record.verdict.as_deref() {
            Some("allow") => judged.allowed += 1,
            _ => judged.refused += 1,
        }
    }
    Ok(judged)
}
