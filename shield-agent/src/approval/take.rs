//! Taking a request in: a new hold, another asking for one that is there, or the end of one that is over.

use std::time::Duration;

use jiff::Timestamp;
use ulid::Ulid;

use super::engine::Engine;
use super::event::EventName;
use super::held::{self, Held, Whole};
use super::mask::Secrets;
use super::view::HoldState;
use crate::flow::policy::verdict::Verdict;
use crate::ipc::approver::{Ending, FromApprover, HoldRequest, StoredResponse};
use crate::journal::body::{self, Judged};
use crate::journal::entry::Entry;
use crate::names::{Digest, HoldId};
use crate::report::Chain;
use crate::store::holds::{self, HoldRow, damaged};
use crate::store::{StoreError, Tx};

/// What became of a request for a hold.
#[derive(Debug)]
enum Taken {
    /// A new hold.
    New(HoldRow),
    /// One that is not over yet.
    Joined(HoldRow),
    /// One that is.
    Over(HoldId, Ending),
    /// None, and why.
    TooMany(String),
}

impl Engine {
    /// Holds a request, or joins the hold it repeats, and answers the worker when that is durable.
    pub(super) async fn take(&self, ask: u64, request: HoldRequest) {
        let agent = request.agent.clone();
        let answer = match self.try_take(ask, request).await {
            Ok(Taken::New(row)) => {
                self.announce(EventName::HoldCreated, Some(row.id), &agent);
                FromApprover::Held { ask, hold: row.id, expires_at: row.expires_at }
            }
            Ok(Taken::Joined(row)) => FromApprover::Held { ask, hold: row.id, expires_at: row.expires_at },
            Ok(Taken::Over(hold, ending)) => FromApprover::Over { ask, hold, ending: Box::new(ending) },
            Ok(Taken::TooMany(reason)) => FromApprover::NotHeld { ask, reason },
            Err(error) => FromApprover::NotHeld { ask, reason: Chain(&error).to_string() },
        };
        if !matches!(answer, FromApprover::Held { .. }) {
            self.inner.waiting.stopped(ask);
        }
        self.tell_worker(answer);
    }

    async fn try_take(&self, ask: u64, request: HoldRequest) -> Result<Taken, StoreError> {
        // The worker is not believed: what is judged, shown and sent is what hashes to the digest.
        if request.request.digest() != request.digest {
            return Ok(Taken::TooMany("the request does not hash to its own digest".to_owned()));
        }
        let engine = self.clone();
        self.store().run(move |tx| Box::pin(async move { engine.admit(tx, ask, &request).await })).await
    }

    /// Inside the transaction: which hold it is.
    async fn admit(&self, tx: &mut Tx, ask: u64, request: &HoldRequest) -> Result<Taken, StoreError> {
        let earlier = holds::newest(tx, &request.agent, request.digest).await?;
        if let Some(row) = earlier {
            if row.state.is_open() {
                return self.join(tx, ask, row, request).await;
            }
            if let Some(ending) = self.still_told(tx, &row).await? {
                holds::asked(tx, row.id).await?;
                holds::collected(tx, row.id).await?;
                tx.journal(self.judged(body::ASKED, request, row.id).verdict(Verdict::Hold));
                self.count_held(tx, request).await?;
                return Ok(Taken::Over(row.id, ending));
            }
        }
        let most = self.inner.hold.max_pending_per_agent;
        if holds::pending(tx, &request.agent).await? >= most {
            return Ok(Taken::TooMany(format!(
                "{most} requests of this agent wait for a decision already (hold.max_pending_per_agent)"
            )));
        }
        let row = self.new_row(request);
        holds::insert(tx, &row, &Held::of(request).store(row.id, &request.request.body)).await?;
        tx.journal(self.judged(body::HELD, request, row.id).verdict(Verdict::Hold));
        self.count_held(tx, request).await?;
        self.inner.waiting.waits_for(ask, row.id);
        Ok(Taken::New(row))
    }

    /// Another asking: what may be fresher in it replaces the old.
    async fn join(
        &self,
        tx: &mut Tx,
        ask: u64,
        row: HoldRow,
        request: &HoldRequest,
    ) -> Result<Taken, StoreError> {
        holds::asked(tx, row.id).await?;
        if row.state != HoldState::Sending {
            let stored = holds::request(tx, row.id).await?;
            let stored = stored.ok_or_else(|| damaged(format!("hold {} has no request", row.id)))?;
            let mut whole = Whole::read(row.id, stored)?;
            whole.held.head = request.request.head.clone();
            holds::refresh(tx, row.id, &whole.held.store(row.id, &whole.request.body)).await?;
        }
        tx.journal(self.judged(body::ASKED, request, row.id).verdict(Verdict::Hold));
        self.count_held(tx, request).await?;
        self.inner.waiting.waits_for(ask, row.id);
        Ok(Taken::Joined(row))
    }

    /// What an agent that asks again is told of a hold that is over; `None` when it may ask anew.
    ///
    /// For `hold.result_ttl` an answer is collected and a no stays a no. What ended without anything being sent is said
    /// once: then the agent knows, and may ask anew.
    async fn still_told(&self, tx: &mut Tx, row: &HoldRow) -> Result<Option<Ending>, StoreError> {
        let ended_at = row.ended_at.unwrap_or(row.expires_at);
        let old = self.now() > later(ended_at, self.inner.hold.result_ttl);
        let told_once = matches!(row.state, HoldState::Refused | HoldState::Expired | HoldState::Cancelled);
        // A WebSocket was opened for the connection that waited: whoever comes back wants another.
        let opened = row.status == Some(101);
        if old || opened || told_once && row.collected > 0 || row.state == HoldState::Cancelled {
            return Ok(None);
        }
        ending(tx, row).await.map(Some)
    }

    fn new_row(&self, request: &HoldRequest) -> HoldRow {
        let now = self.now();
        let expires = request.judgement.terms.expires.unwrap_or(self.inner.hold.expires);
        let milliseconds = u64::try_from(now.as_millisecond()).unwrap_or_default();
        HoldRow {
            id: HoldId(Ulid::from_parts(milliseconds, rand::random())),
            agent: request.agent.clone(),
            digest: request.digest,
            state: HoldState::Pending,
            created_at: now,
            expires_at: later(now, expires),
            asked: 1,
            body_size: request.request.body.len() as u64,
            body_sha256: Digest::of(&request.request.body),
            decision: None,
            ended_at: None,
            status: None,
            answer_size: 0,
            verified_name: None,
            error: None,
            collected: 0,
            card: None,
        }
    }

    fn judged(&self, kind: &'static str, request: &HoldRequest, hold: HoldId) -> Entry {
        let head = &request.request.head;
        let secrets = Secrets::of(head);
        let body = Judged {
            exchange: request.exchange,
            caller: held::caller(&request.caller, &secrets),
            destination: request.destination.clone(),
            method: head.method.clone(),
            url: secrets.scrub(&head.url()),
            action: Some(held::action(&request.action, &secrets)),
            rule: request.judgement.rule.clone(),
            why: request.judgement.why.clone(),
            observed: request.judgement.observed.clone(),
            policy: request.judgement.policy,
            digest: Some(request.digest),
            hold: Some(hold),
            ended: None,
        };
        Entry::new(self.now(), kind, &body).agent(&request.agent).subject(hold)
    }

    async fn count_held(&self, tx: &mut Tx, request: &HoldRequest) -> Result<(), StoreError> {
        let seen = super::agents::Seen { exchanges: 1, held: 1, denied: 0, last: self.now() };
        super::agents::count(tx, &request.agent, &seen).await
    }
}

/// A time after another; the end of time when that is too far to be written down, as a policy may ask.
fn later(at: Timestamp, by: Duration) -> Timestamp {
    // The last whole second: what is stored has no finer end.
    let end = || Timestamp::from_second(Timestamp::MAX.as_second()).expect("the last second is a time");
    at.checked_add(by).unwrap_or_else(|_| end())
}

/// How a hold that is over ended, for its agent.
pub(super) async fn ending(tx: &mut Tx, row: &HoldRow) -> Result<Ending, StoreError> {
    let why = || row.error.clone().unwrap_or_default();
    Ok(match row.state {
        HoldState::Done => match holds::answer(tx, row.id).await? {
            Some(answer) => Ending::Done(read_answer(&answer)?),
            None => Ending::OutcomeUnknown("its answer is not kept any more".to_owned()),
        },
        HoldState::Denied => {
            let decision = row.decision.clone().ok_or_else(|| damaged("a denied hold without a decision"))?;
            Ending::Denied { by: decision.by, reason: decision.reason }
        }
        HoldState::Expired => Ending::Expired,
        HoldState::Cancelled => Ending::Cancelled,
        HoldState::Refused => Ending::Refused(why()),
        HoldState::OutcomeUnknown => Ending::OutcomeUnknown(why()),
        HoldState::Pending | HoldState::Approved | HoldState::Sending => {
            return Err(damaged("a hold that is not over has no ending"));
        }
    })
}

/// An answer as it is stored.
pub(super) fn write_answer(answer: &StoredResponse) -> Vec<u8> {
    postcard::to_stdvec(answer).expect("an answer is plain data")
}

fn read_answer(bytes: &[u8]) -> Result<StoredResponse, StoreError> {
    postcard::from_bytes(bytes).map_err(|error| damaged(format!("a stored answer: {error}")))
}
