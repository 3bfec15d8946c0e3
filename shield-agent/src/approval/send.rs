//! Sending what was approved: checked once more, intended durably, ordered once; and what became of it.

use super::decide::Moved;
use super::engine::Engine;
use super::held::Whole;
use super::hold::Move;
use super::take::write_answer;
use super::view::HoldState;
use crate::flow::judge::Judge as _;
use crate::flow::policy::verdict::{BodyView, Subject, Verdict};
use crate::ipc::approver::{FromApprover, SendFailure, SendOrder, StoredResponse};
use crate::journal::body::{self, Sending};
use crate::names::{AgentName, Digest, HoldId};
use crate::report::Chain;
use crate::store::holds::{self, End, HoldRow};
use crate::store::{StoreError, Tx};

/// What became of an attempt to send.
enum Dispatched {
    /// The intent is durable.
    Go(Box<SendOrder>),
    /// It is not sent, or not any more.
    Ended(AgentName, Moved),
    /// It is not approved.
    Nothing,
}

impl Engine {
    /// Orders an approved hold to be sent, when everything still holds; ends it otherwise.
    pub(super) async fn dispatch(&self, id: HoldId) -> Result<(), StoreError> {
        if !self.inner.agents.worker_listens() {
            // Whatever is approved is dispatched when the worker is there.
            return Ok(());
        }
        let engine = self.clone();
        let dispatched = self.store().run(move |tx| {
            Box::pin(async move {
                match holds::find(tx, id).await? {
                    Some(row) if row.state == HoldState::Approved => engine.intend(tx, row).await,
                    _ => Ok(Dispatched::Nothing),
                }
            })
        });
        match dispatched.await? {
            Dispatched::Go(order) => self.tell_worker(FromApprover::Send(order)),
            Dispatched::Ended(agent, Moved::To(ending)) => self.settle(id, &agent, ending),
            Dispatched::Ended(..) | Dispatched::Nothing => {}
        }
        Ok(())
    }

    /// Does so without making anybody wait for it. Nothing happens to a hold that is not approved.
    pub(super) fn dispatch_soon(&self, id: HoldId) {
        let engine = self.clone();
        tokio::spawn(async move {
            if let Err(error) = engine.dispatch(id).await {
                // It stays approved, and is sent when the store can be written again.
                tracing::error!(hold = %id, "an approved request could not be sent yet: {}", Chain(&error));
            }
        });
    }

    /// Orders everything that is approved and not sent: what an earlier process left.
    pub(super) async fn dispatch_all(&self) -> Result<(), StoreError> {
        for row in self.in_state(HoldState::Approved).await? {
            self.dispatch(row.id).await?;
        }
        Ok(())
    }

    /// What an earlier process was sending when it died: nobody can know whether it arrived.
    pub async fn recover(&self) -> Result<(), StoreError> {
        for row in self.in_state(HoldState::Sending).await? {
            let engine = self.clone();
            self.store()
                .run(move |tx| {
                    Box::pin(async move {
                        let why = "the gate stopped after it began to send and before it had the answer";
                        engine.shift(tx, &row, Move::LostTrack, Some(why.to_owned())).await
                    })
                })
                .await?;
        }
        Ok(())
    }

    /// An order was carried out: how it ended.
    pub(super) async fn sent(
        &self,
        id: HoldId,
        result: Result<StoredResponse, SendFailure>,
    ) -> Result<(), StoreError> {
        let engine = self.clone();
        let moved = self.store().run(move |tx| {
            Box::pin(async move {
                let Some(row) = holds::find(tx, id).await? else { return Ok(None) };
                let (what, end, answer) = outcome(result);
                Ok(Some((row.agent.clone(), engine.shift_with(tx, &row, what, end, answer).await?)))
            })
        });
        match moved.await? {
            Some((agent, Moved::To(ending))) => self.settle(id, &agent, ending),
            _ => tracing::warn!(hold = %id, "the worker reports a send nobody ordered"),
        }
        Ok(())
    }

    /// Inside the transaction: everything is checked again, and then the intent is written down.
    async fn intend(&self, tx: &mut Tx, row: HoldRow) -> Result<Dispatched, StoreError> {
        let whole = match self.check(tx, &row).await? {
            Ok(whole) => whole,
            Err(why) => {
                let moved = self.shift(tx, &row, Move::NotSent, Some(why)).await?;
                return Ok(Dispatched::Ended(row.agent, moved));
            }
        };
        let destination = whole.held.destination;
        tx.journal(self.entry(
            &row,
            body::SENDING,
            &Sending { digest: row.digest, destination: destination.clone() },
        ));
        match self.shift(tx, &row, Move::Begin, None).await? {
            Moved::To(_) => {
                let (agent, digest) = (row.agent, row.digest);
                let order = SendOrder { hold: row.id, agent, destination, request: whole.request, digest };
                Ok(Dispatched::Go(Box::new(order)))
            }
            moved => Ok(Dispatched::Ended(row.agent, moved)),
        }
    }

    /// Whether what is stored is what was approved, in time, and still allowed to be asked for.
    async fn check(&self, tx: &mut Tx, row: &HoldRow) -> Result<Result<Whole, String>, StoreError> {
        if self.now() >= row.expires_at {
            return Ok(Err("it was approved, but could not be sent before it expired".to_owned()));
        }
        let Some(stored) = holds::request(tx, row.id).await? else {
            return Ok(Err("its stored request is gone".to_owned()));
        };
        let whole = match Whole::read(row.id, stored) {
            Ok(whole) if whole.request.digest() == row.digest => whole,
            Ok(_) => return Ok(Err("the stored request is not the one that was approved".to_owned())),
            Err(StoreError::Damaged(why)) => return Ok(Err(why)),
            Err(error) => return Err(error),
        };
        let policy = self.inner.policy.load();
        let judgement = policy.judge(&Subject {
            agent: &row.agent,
            caller: &whole.held.caller,
            destination: &whole.held.destination,
            head: &whole.request.head,
            body: BodyView::Whole(&whole.request.body),
            action: &whole.held.action,
            now: self.now(),
        });
        if judgement.verdict == Verdict::Deny {
            return Ok(Err(format!("policy denies it by now: {}", judgement.why)));
        }
        Ok(Ok(whole))
    }

    /// The worker takes orders from now on.
    pub(super) async fn worker_is_there(&self) -> Result<(), StoreError> {
        self.inner.agents.set_worker_listens();
        self.dispatch_all().await
    }
}

fn outcome(result: Result<StoredResponse, SendFailure>) -> (Move, End, Option<Digest>) {
    match result {
        Ok(answer) => {
            let digest = Digest::of(&answer.body);
            let end = End {
                status: Some(answer.status),
                answer_size: answer.body.len() as u64,
                verified_name: answer.verified_name.clone(),
                error: None,
                answer: Some(write_answer(&answer)),
            };
            (Move::Answered, end, Some(digest))
        }
        Err(SendFailure::NotSent(why)) => (Move::NotSent, End { error: Some(why), ..End::default() }, None),
        Err(SendFailure::Unknown(why)) => (Move::LostTrack, End { error: Some(why), ..End::default() }, None),
    }
}
