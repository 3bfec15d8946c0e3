//! Deciding: a reviewer's yes or no, taking a yes back, the agent's withdrawal, and time running out.

use super::engine::Engine;
use super::error::{Conflict, DecideError, FindError};
use super::event::EventName;
use super::hold::{self, Move};
use super::mask;
use super::take::ending;
use super::view::{Decision, DecisionRequest, DecisionView, HoldState, HoldView};
use crate::ipc::approver::{Ending, FromApprover, OwnHold};
use crate::journal::body::{self, By, Decided, Over};
use crate::journal::entry::Entry;
use crate::names::{AgentName, HoldId};
use crate::store::holds::{self, End, HoldRow};
use crate::store::{StoreError, Tx};

/// Longest reason of a reviewer, in characters.
const MAX_REASON: usize = 2000;

/// What became of an attempt to move a hold.
pub(super) enum Moved {
    /// There is no such hold.
    Nowhere,
    /// It is not where the move begins.
    Conflict(Conflict),
    /// It is where the move leads; with what its agent is told, when it is over.
    To(Option<Ending>),
}

impl Engine {
    /// Approves or denies a hold; returns it as it is then. `by` is the reviewer's name.
    pub async fn decide(
        &self,
        id: HoldId,
        request: &DecisionRequest,
        by: &str,
    ) -> Result<HoldView, DecideError> {
        let what = match request.decision {
            Decision::Approve => Move::Approve,
            Decision::Deny => Move::Deny,
        };
        let reason: String = mask::text(request.reason.trim()).chars().take(MAX_REASON).collect();
        let decision = DecisionView { decision: request.decision, by: by.to_owned(), at: self.now(), reason };
        let (engine, digest) = (self.clone(), request.digest);
        let moved = self.store().run(move |tx| {
            Box::pin(async move {
                let Some(row) = holds::find(tx, id).await? else { return Ok(Moved::Nowhere) };
                if row.digest != digest {
                    return Ok(Moved::Conflict(Conflict::StaleDigest));
                }
                // Too late is too late, even before anybody has looked at the clock.
                if row.state == HoldState::Pending && decision.at >= row.expires_at {
                    engine.shift(tx, &row, Move::TimeOut, None).await?;
                    return Ok(Moved::Conflict(Conflict::Expired));
                }
                if hold::after(row.state, what).is_some() {
                    let said = (decision.decision, decision.by.clone(), decision.reason.clone());
                    let said = Decided { decision: said.0, by: said.1, reason: said.2, digest };
                    tx.journal(engine.entry(&row, body::DECIDED, &said));
                    holds::decided(tx, id, &decision).await?;
                }
                engine.shift(tx, &row, what, None).await
            })
        });
        self.after_review(id, moved.await?, EventName::HoldDecided).await
    }

    /// Takes back an approval whose sending has not begun: the hold is denied.
    pub async fn revoke(&self, id: HoldId, by: &str) -> Result<HoldView, DecideError> {
        let (engine, by, at) = (self.clone(), by.to_owned(), self.now());
        let moved = self.store().run(move |tx| {
            Box::pin(async move {
                let Some(row) = holds::find(tx, id).await? else { return Ok(Moved::Nowhere) };
                if hold::after(row.state, Move::Revoke).is_some() {
                    tx.journal(engine.entry(&row, body::REVOKED, &By { by: by.clone() }));
                    let reason = "the approval was taken back".to_owned();
                    let decision = DecisionView { decision: Decision::Deny, by, at, reason };
                    holds::decided(tx, id, &decision).await?;
                }
                engine.shift(tx, &row, Move::Revoke, None).await
            })
        });
        self.after_review(id, moved.await?, EventName::HoldDecided).await
    }

    /// Withdraws an agent's own hold, if nothing was sent; how it stands then.
    pub(super) async fn withdraw(&self, agent: AgentName, id: HoldId) -> Result<Vec<OwnHold>, StoreError> {
        let (engine, owner) = (self.clone(), agent.clone());
        let moved = self.store().run(move |tx| {
            Box::pin(async move {
                match holds::find(tx, id).await? {
                    Some(row) if row.agent == owner => engine.shift(tx, &row, Move::Withdraw, None).await,
                    _ => Ok(Moved::Nowhere),
                }
            })
        });
        if let Moved::To(ending) = moved.await? {
            self.settle(id, &agent, ending);
        }
        self.own_holds(&agent, Some(id)).await
    }

    /// Ends every hold whose time is over.
    pub async fn expire(&self) -> Result<(), StoreError> {
        for row in self.overdue(self.now()).await? {
            let (engine, id) = (self.clone(), row.id);
            let moved = self.store().run(move |tx| {
                Box::pin(async move {
                    let Some(row) = holds::find(tx, id).await? else { return Ok(Moved::Nowhere) };
                    let late = "it was approved, but could not be sent before it expired".to_owned();
                    let why = (row.state == HoldState::Approved).then_some(late);
                    engine.shift(tx, &row, Move::TimeOut, why).await
                })
            });
            if let Moved::To(ending) = moved.await? {
                self.settle(id, &row.agent, ending);
            }
        }
        Ok(())
    }

    /// Inside a transaction: moves a hold, and when that ends it, writes down how.
    pub(super) async fn shift(
        &self,
        tx: &mut Tx,
        row: &HoldRow,
        what: Move,
        why: Option<String>,
    ) -> Result<Moved, StoreError> {
        let end = End { error: why, ..End::default() };
        self.shift_with(tx, row, what, end, None).await
    }

    /// The same, with everything that is known of the end.
    pub(super) async fn shift_with(
        &self,
        tx: &mut Tx,
        row: &HoldRow,
        what: Move,
        end: End,
        answer: Option<crate::names::Digest>,
    ) -> Result<Moved, StoreError> {
        let Some(to) = hold::after(row.state, what) else {
            return Ok(Moved::Conflict(hold::conflict(row.state, what)));
        };
        holds::step(tx, row.id, row.state, to).await?;
        if to.is_open() {
            return Ok(Moved::To(None));
        }
        holds::ended(tx, row.id, self.now(), &end).await?;
        let (status, size, verified_name, error) =
            (end.status, end.answer_size, end.verified_name, end.error);
        let over = Over { state: to, status, size, answer, verified_name, error };
        tx.journal(self.entry(row, body::OVER, &over));
        // What whoever waits is told counts as told; who is not there will be when they ask again.
        if self.inner.waiting.any(row.id) {
            holds::collected(tx, row.id).await?;
        }
        let Some(now) = holds::find(tx, row.id).await? else { return Ok(Moved::Nowhere) };
        ending(tx, &now).await.map(|ending| Moved::To(Some(ending)))
    }

    /// After a move is durable: whoever waits for the hold is told how it ended.
    pub(super) fn settle(&self, hold: HoldId, agent: &AgentName, ending: Option<Ending>) {
        let Some(ending) = ending else { return };
        for ask in self.inner.waiting.take(hold) {
            self.tell_worker(FromApprover::Over { ask, hold, ending: Box::new(ending.clone()) });
        }
        self.announce(EventName::HoldFinished, Some(hold), agent);
    }

    async fn after_review(&self, id: HoldId, moved: Moved, name: EventName) -> Result<HoldView, DecideError> {
        let unknown = || FindError::Unknown { given: id.to_string(), nearest: vec![] };
        match moved {
            Moved::Nowhere => Err(unknown().into()),
            Moved::Conflict(why) => {
                let current = Box::new(self.view(id).await?.ok_or_else(unknown)?);
                if current.state == HoldState::Expired {
                    self.settle(id, &current.agent, Some(Ending::Expired));
                }
                Err(DecideError::Conflict { why, current })
            }
            Moved::To(ending) => {
                // A yes is durable now; sending has a life of its own.
                self.dispatch_soon(id);
                let view = self.view(id).await?.ok_or_else(unknown)?;
                self.announce(name, Some(id), &view.agent);
                self.settle(id, &view.agent, ending);
                Ok(view)
            }
        }
    }

    /// A record about a hold.
    pub(super) fn entry(&self, row: &HoldRow, kind: &'static str, body: &impl serde::Serialize) -> Entry {
        Entry::new(self.now(), kind, body).agent(&row.agent).subject(row.id)
    }
}
