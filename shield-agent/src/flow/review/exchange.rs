//! One judged request: forwarded, held or denied, and recorded whichever it is.

use std::sync::Arc;

use ::http::Response;
use tokio::time::Instant;

use super::answers::OurAnswer;
use super::hold;
use super::outcome::Outcome;
use super::reply::Reply;
use super::via::{Turn, Via};
use super::websocket;
use crate::approval::permit::Permit;
use crate::flow::http::body::Intake;
use crate::flow::http::canonical::{CanonicalRequest, RequestHead};
use crate::flow::http::spelling::Spelling;
use crate::flow::inspect::action::Action;
use crate::flow::judge::Judge;
use crate::flow::origin::Destination;
use crate::flow::policy::verdict::Judgement;
use crate::flow::upstream::Outbound;
use crate::ipc::approver::{ExchangeRecord, HoldRequest};
use crate::names::{Digest, ExchangeId};

/// A request with its verdict.
pub struct Exchange<'a> {
    /// Its id.
    pub id: ExchangeId,
    /// The connection it came over.
    pub via: &'a Arc<Via>,
    /// Leave to be under way.
    pub turn: Turn,
    /// When its head was read.
    pub arrived: Instant,
    /// Where it goes.
    pub destination: Destination,
    /// The request.
    pub head: RequestHead,
    /// How the names of its fields are spelled.
    pub spelling: Spelling,
    /// Its body, as far as it was needed.
    pub body: Intake,
    /// What it means.
    pub action: Action,
    /// The verdict.
    pub judgement: Judgement,
}

impl Exchange<'_> {
    /// Allowed: recorded, permitted, sent; the answer streams back.
    pub async fn forward(mut self: Box<Self>) -> Result<Response<Reply>, OurAnswer> {
        let (id, via) = (self.id, self.via);
        let services = &via.services;
        let body_digest = self.body.digest();
        let digest = self.head.digest(body_digest);
        let spelling = std::mem::take(&mut self.spelling);
        let (record, (head, body), turn) = self.into_record(digest);
        let accepted = services.approver.recorder.accept(record, digest).await;
        let permit = Permit::by_rule(accepted.map_err(|why| OurAnswer::unrecorded(&why))?);
        let mut outcome = Outcome::begin(Arc::clone(&services.approver), id).with(turn);
        if head.opens_websocket() {
            return Box::pin(websocket::forward(via, permit, (&head, spelling), outcome)).await;
        }
        let sent = outcome.sent();
        let knows_h2 = via.knows_h2();
        let body = body.outgoing(sent.clone());
        let outbound = Box::new(Outbound { head, body_digest, body, spelling, knows_h2 });
        match (services.upstream.send(permit, outbound).await, sent.unsendable()) {
            (Ok(answer), _) => Ok(Reply::passing(answer, outcome)),
            (Err(_), Some(why)) => {
                outcome.failed(why.to_owned());
                Err(OurAnswer::unfinished(why))
            }
            (Err(error), None) => {
                outcome.failed(error.to_string());
                let (agent, original) = (&via.flow.agent, via.flow.original);
                tracing::info!(%agent, %original, error = &error as &dyn std::error::Error, "an upstream failed");
                Err(OurAnswer::upstream_failed(&error))
            }
        }
    }

    /// Held: stored whole, then waiting for a reviewer. A body that cannot be stored whole is refused.
    pub async fn hold(self: Box<Self>, policy: &dyn Judge) -> Result<Response<Reply>, OurAnswer> {
        let services = &self.via.services;
        let Intake::Whole(body) = self.via.read_whole(self.body).await? else {
            return Err(OurAnswer::too_large(services.max_body));
        };
        let action = policy.classify(&self.head, Some(&body));
        let request = CanonicalRequest { head: self.head, body };
        let request = HoldRequest {
            exchange: self.id,
            agent: self.via.flow.agent.clone(),
            caller: self.via.flow.caller.clone(),
            destination: self.destination,
            digest: request.digest(),
            request,
            action,
            judgement: self.judgement,
        };
        let waiting =
            hold::Waiting { arrived: self.arrived, usual: services.hold_wait, stop: &self.via.stop };
        let opens_websocket = request.request.head.opens_websocket();
        let waiter = opens_websocket.then(|| services.websockets.begin(&request.agent, request.digest));
        let response = hold::hold(&services.approver, request, waiting).await?;
        match waiter {
            Some(waiter) => waiter.hand_over(self.via, response),
            None => Ok(response),
        }
    }

    /// Denied: the agent is told when the record is durable.
    pub async fn deny(self: Box<Self>) -> Result<Response<Reply>, OurAnswer> {
        let (recorder, answer) =
            (&self.via.services.approver.recorder, OurAnswer::denied_by_policy(&self.judgement));
        let digest = self.head.digest(self.body.digest());
        let recorded = recorder.make_durable(self.into_record(digest).0).await;
        Err(recorded.map_or_else(|why| OurAnswer::unrecorded(&why), |()| answer))
    }

    /// What is recorded, and what is sent if it may be.
    fn into_record(self: Box<Self>, digest: Digest) -> (Box<ExchangeRecord>, (RequestHead, Intake), Turn) {
        let record = Box::new(ExchangeRecord {
            exchange: self.id,
            agent: self.via.flow.agent.clone(),
            caller: self.via.flow.caller.brief(),
            destination: self.destination,
            request: Some((&self.head).into()),
            action: Some(self.action),
            judgement: self.judgement,
            digest: Some(digest),
        });
        (record, (self.head, self.body), self.turn)
    }
}
