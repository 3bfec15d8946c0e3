//! Records of exchanges on their way into the journal: as many as wait share one transaction, and none is lost.

use std::collections::HashMap;
use std::pin::pin;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::sleep;

use super::agents::{self, Seen};
use super::engine::Engine;
use super::held;
use super::mask::{self, Secrets};
use crate::flow::origin::Caller;
use crate::flow::policy::verdict::Verdict;
use crate::ipc::approver::{ExchangeOutcome, ExchangeRecord, FromApprover, NamesRefused};
use crate::journal::body::{self, Finished, Judged};
use crate::journal::entry::Entry;
use crate::names::{AgentName, ExchangeId};
use crate::report::Chain;
use crate::store::StoreError;

/// Records of one transaction.
const BATCH: usize = 512;

/// How long records wait for others to share a transaction with: nobody waits for those of allowed exchanges.
const GATHER: Duration = Duration::from_millis(20);

/// Callers whose masked form is remembered.
const CALLERS: usize = 32;

/// How long to wait before a store that refused something is asked again.
pub(super) const TRY_AGAIN: Duration = Duration::from_millis(250);

/// Something that happened.
#[derive(Debug)]
pub enum Record {
    /// It was judged.
    Judged(Box<ExchangeRecord>),
    /// It ended.
    Finished(ExchangeOutcome),
    /// Questions about names were refused.
    NamesRefused(Box<NamesRefused>),
}

impl Record {
    /// Whether an agent waits until this is durable.
    fn is_awaited(&self) -> bool {
        matches!(self, Self::Judged(record) if record.judgement.verdict != Verdict::Allow)
    }
}

/// Takes records until the worker is gone, and tells it how far the journal got.
pub async fn keep(engine: Engine, mut records: mpsc::Receiver<(u64, Record)>) {
    let mut trouble = engine.store().watch_trouble();
    let mut upto = 0;
    let mut batch = Vec::new();
    let mut callers = MaskedCallers::default();
    loop {
        tokio::select! {
            received = records.recv_many(&mut batch, BATCH) => {
                if received == 0 {
                    return;
                }
                gather(&mut records, &mut batch).await;
                upto = batch.last().map_or(upto, |(seq, _)| *seq);
                engine.keep_batch(std::mem::take(&mut batch), &mut callers).await;
                engine.tell_worker(FromApprover::Recorded { upto });
            }
            changed = trouble.changed() => {
                if changed.is_err() {
                    return;
                }
                let why = trouble.borrow_and_update().as_ref().map(|error| Chain(error).to_string());
                match why {
                    Some(reason) => engine.tell_worker(FromApprover::Stopped { reason }),
                    None => {
                        engine.tell_worker(FromApprover::Recorded { upto });
                        engine.go_on().await;
                    }
                }
            }
        }
    }
}

/// Waits for more records to share a transaction with, but not once an agent waits for one of them.
async fn gather(records: &mut mpsc::Receiver<(u64, Record)>, batch: &mut Vec<(u64, Record)>) {
    let mut enough = pin!(sleep(GATHER));
    while batch.len() < BATCH && !batch.iter().any(|(_, record)| record.is_awaited()) {
        let room = BATCH - batch.len();
        tokio::select! {
            received = records.recv_many(batch, room) => if received == 0 { return },
            () = &mut enough => return,
        }
    }
}

impl Engine {
    /// Writes records down, however long that takes; the worker is told when it is not at once.
    async fn keep_batch(&self, batch: Vec<(u64, Record)>, callers: &mut MaskedCallers) {
        let now = self.now();
        let seen = count(&batch, now);
        loop {
            let entries = entries(&batch, callers, now);
            let Err(error) = self.append(entries, seen.clone()).await else { return };
            self.tell_worker(FromApprover::Stopped { reason: Chain(&error).to_string() });
            self.store().writable().await;
            sleep(TRY_AGAIN).await;
        }
    }

    async fn append(&self, entries: Vec<Entry>, seen: HashMap<AgentName, Seen>) -> Result<(), StoreError> {
        self.store()
            .run(move |tx| {
                Box::pin(async move {
                    entries.into_iter().for_each(|entry| tx.journal(entry));
                    for (agent, seen) in &seen {
                        agents::count(tx, agent, seen).await?;
                    }
                    Ok(())
                })
            })
            .await
    }

    /// After an interruption: what was approved meanwhile is sent.
    async fn go_on(&self) {
        if let Err(error) = self.dispatch_all().await {
            tracing::error!("approved requests wait: {}", Chain(&error));
        }
    }
}

/// Callers as they are shown: a connection has one and many exchanges, and looking for secrets takes time.
#[derive(Debug, Default)]
struct MaskedCallers(Vec<(Caller, Caller)>);

impl MaskedCallers {
    fn masked(&mut self, caller: &Caller) -> Caller {
        if let Some((_, masked)) = self.0.iter().find(|(known, _)| known == caller) {
            return masked.clone();
        }
        let masked = held::caller(caller, &Secrets::default());
        if self.0.len() == CALLERS {
            self.0.clear();
        }
        self.0.push((caller.clone(), masked.clone()));
        masked
    }
}

fn count(batch: &[(u64, Record)], now: jiff::Timestamp) -> HashMap<AgentName, Seen> {
    let mut seen: HashMap<AgentName, Seen> = HashMap::new();
    for (_, record) in batch {
        if let Record::Judged(record) = record {
            let none = Seen { exchanges: 0, held: 0, denied: 0, last: now };
            let seen = seen.entry(record.agent.clone()).or_insert(none);
            seen.exchanges += 1;
            seen.denied += u32::from(record.judgement.verdict == Verdict::Deny);
        }
    }
    seen
}

/// The entries of a batch. An exchange that was judged and ended within it has one.
fn entries(batch: &[(u64, Record)], callers: &mut MaskedCallers, now: jiff::Timestamp) -> Vec<Entry> {
    let outcome = |record: &Record| match record {
        Record::Finished(outcome) => Some((outcome.exchange, finished(outcome))),
        Record::Judged(_) | Record::NamesRefused(_) => None,
    };
    let mut ended: HashMap<ExchangeId, Finished> =
        batch.iter().filter_map(|(_, record)| outcome(record)).collect();
    let entry = |(_, record): &(u64, Record)| match record {
        Record::Judged(record) => {
            let judged = judged(record, callers, ended.remove(&record.exchange));
            let entry = Entry::new(now, body::JUDGED, &judged).agent(&record.agent);
            Some(entry.subject(record.exchange).verdict(record.judgement.verdict))
        }
        Record::Finished(outcome) => {
            let finished = ended.remove(&outcome.exchange)?;
            Some(Entry::new(now, body::FINISHED, &finished).subject(outcome.exchange))
        }
        Record::NamesRefused(record) => Some(names_refused(record, now)),
    };
    batch.iter().filter_map(entry).collect()
}

fn finished(outcome: &ExchangeOutcome) -> Finished {
    Finished {
        status: outcome.status,
        sent: outcome.sent,
        received: outcome.received,
        took_ms: u64::try_from(outcome.took.as_millis()).unwrap_or(u64::MAX),
        error: outcome.error.as_deref().map(mask::url),
    }
}

fn names_refused(record: &NamesRefused, now: jiff::Timestamp) -> Entry {
    let NamesRefused { agent, parent, name, kind, questions, judgement } = record;
    let passed = judgement.verdict != Verdict::Deny;
    let body = body::NamesRefused {
        summary: format!("{questions} × {parent}, first {kind} {}: {}", mask::text(name), judgement.why),
        parent: parent.clone(),
        name: mask::text(name),
        kind: kind.clone(),
        questions: *questions,
        rule: judgement.rule.clone(),
        why: judgement.why.clone(),
        observed: judgement.observed.clone(),
        policy: judgement.policy,
    };
    let kind = if passed { body::NAMES_OBSERVED } else { body::NAMES_REFUSED };
    Entry::new(now, kind, &body).agent(agent)
}

fn judged(record: &ExchangeRecord, callers: &mut MaskedCallers, ended: Option<Finished>) -> Judged {
    // The worker keeps header fields to itself: what is secret here is found by name and shape.
    let secrets = Secrets::default();
    let (method, url) = match &record.request {
        Some(line) => (line.method.clone(), mask::url(&line.url)),
        None => (
            String::new(),
            std::net::SocketAddr::new(record.destination.ip, record.destination.port).to_string(),
        ),
    };
    Judged {
        exchange: record.exchange,
        caller: callers.masked(&record.caller),
        destination: record.destination.clone(),
        method,
        url,
        action: record.action.as_ref().map(|action| held::action(action, &secrets)),
        rule: record.judgement.rule.clone(),
        why: record.judgement.why.clone(),
        observed: record.judgement.observed.clone(),
        policy: record.judgement.policy,
        digest: record.digest,
        hold: None,
        ended,
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::world::record;
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_record_an_agent_waits_for_is_not_kept_waiting_for_others() {
        let judged = |verdict| Record::Judged(Box::new(record(verdict, "https://api.acme.internal/")));
        let (say, mut records) = mpsc::channel(4);
        let begun = tokio::time::Instant::now();
        let mut batch = vec![(1, judged(Verdict::Allow))];
        say.send((2, judged(Verdict::Deny))).await.unwrap();
        gather(&mut records, &mut batch).await;
        assert_eq!((batch.len(), begun.elapsed()), (2, Duration::ZERO));
        batch.truncate(1);
        gather(&mut records, &mut batch).await;
        assert_eq!((batch.len(), begun.elapsed()), (1, GATHER));
    }

    #[test]
    fn an_exchange_that_was_judged_and_ended_at_once_has_one_record() {
        let judged = record(Verdict::Allow, "https://api.acme.internal/");
        let outcome = |exchange| {
            let took = Duration::from_millis(7);
            Record::Finished(ExchangeOutcome {
                exchange,
                status: Some(204),
                sent: 3,
                received: 5,
                took,
                error: None,
            })
        };
        let (here, before) = (judged.exchange, ExchangeId(ulid::Ulid::from_parts(1, 1)));
        let batch = [(1, outcome(before)), (2, Record::Judged(Box::new(judged))), (3, outcome(here))];
        let entries = entries(&batch, &mut MaskedCallers::default(), jiff::Timestamp::UNIX_EPOCH);
        let kinds: Vec<_> = entries.iter().map(|entry| (entry.kind, entry.subject.clone())).collect();
        let expected = [(body::FINISHED, Some(before.to_string())), (body::JUDGED, Some(here.to_string()))];
        assert_eq!(kinds, expected);
        let written: Judged = serde_json::from_str(&entries[1].body).unwrap();
        assert_eq!(written.ended.map(|ended| (ended.status, ended.received)), Some((Some(204), 5)));
    }
}
