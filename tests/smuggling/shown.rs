//! What the journal shows of exchanges: what was judged, and how it ended.

use std::collections::HashMap;

use anyhow::{Context as _, Result};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;
use shield_agent::flow::policy::verdict::Verdict;
use shield_agent::journal::body::{FINISHED, Finished, JUDGED, Judged};
use shield_agent::journal::entry::verdict_name;
use shield_tests::deployment::{Deployment, output};
use shield_tests::wait;

/// A request that was allowed to leave.
#[derive(Clone, Debug)]
pub(crate) struct Shown {
    pub(crate) judged: Judged,
    pub(crate) finished: Finished,
}

#[derive(Deserialize)]
struct Record {
    kind: String,
    subject: Option<String>,
    verdict: Option<String>,
    body: Box<RawValue>,
}

/// Every request that was allowed to leave, in the order they were judged, once all of them have ended.
pub(crate) fn all(deployment: &Deployment) -> Result<Vec<Shown>> {
    let mut failure = None;
    wait::until("every exchange to have ended", || {
        read(deployment).unwrap_or_else(|error| {
            failure = Some(error);
            None
        })
    })
    .map_err(|error| failure.unwrap_or(error))
}

fn read(deployment: &Deployment) -> Result<Option<Vec<Shown>>> {
    let tail = ["-o", "jsonl", "journal", "tail", "--lines", "10000000"];
    let told = output(&mut deployment.shield(&tail))?;
    let (mut judged, mut finished) = (Vec::new(), HashMap::new());
    for line in told.stdout.split(|&c| c == b'\n').filter(|line| !line.is_empty()) {
        let record: Record = serde_json::from_slice(line).context("a record is not JSON")?;
        let subject = record.subject.clone().unwrap_or_default();
        if record.kind == FINISHED {
            finished.insert(subject, body::<Finished>(&record)?);
        } else if record.kind == JUDGED && record.verdict.as_deref() == Some(verdict_name(Verdict::Allow)) {
            judged.push((subject, body::<Judged>(&record)?));
        }
    }
    let ended = judged.into_iter().map(|(exchange, judged)| {
        let finished = judged.ended.clone().or_else(|| finished.remove(&exchange))?;
        Some(Shown { judged, finished })
    });
    Ok(ended.collect())
}

fn body<T: DeserializeOwned>(record: &Record) -> Result<T> {
    serde_json::from_str(record.body.get()).with_context(|| format!("a {} is not readable", record.kind))
}
