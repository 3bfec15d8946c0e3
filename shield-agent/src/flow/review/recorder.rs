//! Records on their way to the journal: nothing is permitted before its record was accepted, and only so many may be
//! unacknowledged.
//!
//! ```text
//!            sent ───────────────►  a record waits while  sent − durable ≥ RECORD_WINDOW
//! ──────────┬──────────────┬───►
//!        durable          sent      Stopped or a closed channel: refused until Recorded is heard again
//! ```
//! How an exchange ended is always taken, also beyond the window: there are at most as many of those as exchanges
//! under way, and each of them was accepted once.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, mpsc};
use tokio::time::{Instant, timeout_at};

use crate::flow::origin::Destination;
use crate::ipc::approver::{ExchangeOutcome, ExchangeRecord, NamesRefused, RECORD_WINDOW, ToApprover};
use crate::names::{AgentName, Digest};

/// How long an exchange waits for room in the window before it is refused.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// Why nothing may leave.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unrecorded {
    /// The approver is gone.
    #[error("the journal cannot be reached: the approval process stopped or died")]
    Gone,
    /// The journal cannot be written; the reason is the approver's.
    #[error("the journal cannot be written: {0}")]
    Stopped(String),
    /// The window stayed full.
    #[error("the journal is {RECORD_WINDOW} records behind")]
    Behind,
}

/// A record in the journal's channel: what a permit by rule is made from.
#[derive(Debug, PartialEq, Eq)]
pub struct Accepted {
    agent: AgentName,
    destination: Destination,
    digest: Digest,
}

impl Accepted {
    /// Agent, destination and digest of the exchange.
    pub fn into_parts(self) -> (AgentName, Destination, Digest) {
        (self.agent, self.destination, self.digest)
    }
}

/// Numbers records, sends them and knows how far the journal got.
pub struct Recorder {
    window: Mutex<Window>,
    changed: Notify,
    outbox: mpsc::UnboundedSender<ToApprover>,
}

/// What waits for room in the window.
enum Record {
    Judged(Box<ExchangeRecord>),
    NamesRefused(Box<NamesRefused>),
}

#[derive(Default)]
struct Window {
    sent: u64,
    durable: u64,
    /// Why the journal stands still; `None` while it runs.
    halted: Option<Unrecorded>,
}

impl Recorder {
    /// A recorder whose messages go to `outbox`, in order.
    pub fn new(outbox: mpsc::UnboundedSender<ToApprover>) -> Self {
        Self { window: Mutex::default(), changed: Notify::new(), outbox }
    }

    /// Takes the record of an exchange that is allowed to run, as soon as there is room.
    pub async fn accept(&self, record: Box<ExchangeRecord>, digest: Digest) -> Result<Accepted, Unrecorded> {
        let (agent, destination) = (record.agent.clone(), record.destination.clone());
        self.admit(Record::Judged(record)).await?;
        Ok(Accepted { agent, destination, digest })
    }

    /// Takes the record of an exchange that does not run, and returns once it is durable.
    pub async fn make_durable(&self, record: Box<ExchangeRecord>) -> Result<(), Unrecorded> {
        let seq = self.admit(Record::Judged(record)).await?;
        self.until(|window| (window.durable >= seq).then_some(())).await
    }

    /// Takes the record of something that was refused before any rule was asked; nothing waits for it to be durable.
    pub async fn note(&self, record: Box<ExchangeRecord>) -> Result<(), Unrecorded> {
        self.admit(Record::Judged(record)).await.map(drop)
    }

    /// Takes the record of questions about names that were refused.
    pub async fn note_names(&self, record: NamesRefused) -> Result<(), Unrecorded> {
        self.admit(Record::NamesRefused(record.into())).await.map(drop)
    }

    /// Takes how an accepted exchange ended. Never waits.
    pub fn finished(&self, outcome: ExchangeOutcome) {
        let mut window = self.lock();
        window.sent += 1;
        // A closed outbox halts the window elsewhere; the record of the exchange itself is with the approver.
        let _ = self.outbox.send(ToApprover::Finished { seq: window.sent, outcome });
    }

    /// The journal got this far.
    pub fn recorded(&self, upto: u64) {
        let mut window = self.lock();
        window.durable = upto.clamp(window.durable, window.sent);
        if window.halted != Some(Unrecorded::Gone) {
            window.halted = None;
        }
        drop(window);
        self.changed.notify_waiters();
    }

    /// The journal stands still.
    pub fn halt(&self, why: Unrecorded) {
        self.lock().halted = Some(why);
        self.changed.notify_waiters();
    }

    async fn admit(&self, record: Record) -> Result<u64, Unrecorded> {
        let mut record = Some(record);
        self.until(|window| {
            let room = window.sent - window.durable < RECORD_WINDOW;
            let record = room.then(|| record.take()).flatten()?;
            window.sent += 1;
            let seq = window.sent;
            // Under the lock, so that numbers leave in order.
            let _ = self.outbox.send(match record {
                Record::Judged(record) => ToApprover::Judged { seq, record },
                Record::NamesRefused(record) => ToApprover::NamesRefused { seq, record },
            });
            Some(seq)
        })
        .await
    }

    /// Waits until `attempt` finds what it looks for.
    async fn until<T>(&self, mut attempt: impl FnMut(&mut Window) -> Option<T>) -> Result<T, Unrecorded> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let changed = self.changed.notified();
            {
                let mut window = self.lock();
                if let Some(why) = &window.halted {
                    return Err(why.clone());
                }
                if let Some(found) = attempt(&mut window) {
                    return Ok(found);
                }
            }
            timeout_at(deadline, changed).await.map_err(|_| Unrecorded::Behind)?;
        }
    }

    fn lock(&self) -> MutexGuard<'_, Window> {
        // Nothing panics while holding the lock.
        self.window.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::flow::origin::Caller;
    use crate::flow::policy::verdict::{HoldTerms, Judgement, Verdict};
    use crate::names::ExchangeId;

    fn record() -> Box<ExchangeRecord> {
        Box::new(ExchangeRecord {
            exchange: ExchangeId(ulid::Ulid::from_parts(1, 1)),
            agent: "a".parse().unwrap(),
            caller: Caller { pid: 1, ..Caller::default() },
            destination: Destination { ip: [192, 0, 2, 7].into(), port: 443, verified_name: None },
            request: None,
            action: None,
            judgement: Judgement {
                verdict: Verdict::Allow,
                rule: None,
                why: String::new(),
                terms: HoldTerms::default(),
                observed: vec![],
                policy: Digest([0; 32]),
            },
            digest: None,
        })
    }

    fn recorder() -> (Arc<Recorder>, mpsc::UnboundedReceiver<ToApprover>) {
        let (outbox, sent) = mpsc::unbounded_channel();
        (Arc::new(Recorder::new(outbox)), sent)
    }

    #[tokio::test(start_paused = true)]
    async fn a_full_window_stops_traffic_until_the_journal_catches_up() {
        let (recorder, _sent) = recorder();
        for _ in 0..RECORD_WINDOW {
            recorder.accept(record(), Digest([0; 32])).await.unwrap();
        }
        assert_eq!(recorder.accept(record(), Digest([0; 32])).await, Err(Unrecorded::Behind));
        let waiting = tokio::spawn({
            let recorder = Arc::clone(&recorder);
            async move { recorder.accept(record(), Digest([0; 32])).await }
        });
        tokio::task::yield_now().await;
        assert!(!waiting.is_finished());
        recorder.recorded(1);
        waiting.await.unwrap().unwrap();
    }

    #[tokio::test]
    async fn a_journal_that_stopped_lets_nothing_pass_until_it_writes_again() {
        let (recorder, _sent) = recorder();
        recorder.halt(Unrecorded::Stopped("disk full".into()));
        let refused = recorder.accept(record(), Digest([0; 32])).await;
        assert_eq!(refused, Err(Unrecorded::Stopped("disk full".into())));
        recorder.recorded(0);
        assert!(recorder.accept(record(), Digest([0; 32])).await.is_ok());
        recorder.halt(Unrecorded::Gone);
        recorder.recorded(1);
        assert_eq!(recorder.accept(record(), Digest([0; 32])).await, Err(Unrecorded::Gone), "gone is final");
    }

    #[tokio::test]
    async fn a_record_that_must_be_durable_waits_for_its_own_number() {
        let (recorder, mut sent) = recorder();
        recorder.accept(record(), Digest([0; 32])).await.unwrap();
        let durable = tokio::spawn({
            let recorder = Arc::clone(&recorder);
            async move { recorder.make_durable(record()).await }
        });
        for expected in 1..=2 {
            assert!(matches!(sent.recv().await, Some(ToApprover::Judged { seq, .. }) if seq == expected));
        }
        recorder.recorded(1);
        tokio::task::yield_now().await;
        assert!(!durable.is_finished());
        recorder.recorded(2);
        durable.await.unwrap().unwrap();
    }
}
