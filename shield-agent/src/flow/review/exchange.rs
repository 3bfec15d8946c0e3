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
use crate::flow::upstream::body::Outgoing;
use crate::flow::upstream::{Failed, Outbound};
use crate::ipc::approver::{ExchangeRecord, HoldRequest};
use crate::names::{Digest, ExchangeId};

/// A request that was read as far as it has to be, before its verdict.
pub struct Asked {
    /// Leave to be under way.
    pub turn: Turn,
    /// When its head was read.
    pub arrived: Instant,
    /// Its head.
    pub head: RequestHead,
    /// How the names of its fields are spelled.
    pub spelling: Spelling,
    /// Its body, as far as it was needed.
    pub body: Intake,
}

/// A request with its verdict.
pub struct Exchange<'a> {
    /// Its id.
    pub id: ExchangeId,
    /// The connection it came over.
    pub via: &'a Arc<Via>,
    /// Where it goes.
    pub destination: Destination,
    /// The request.
    pub asked: Asked,
    /// What it means.
    pub action: Action,
    /// The verdict.
    pub judgement: Judgement,
}

/// Why a request that was allowed has no answer of its destination.
pub struct Unforwarded {
    /// What the program is told.
    pub answer: OurAnswer,
    /// The request, when nobody was there to write it to.
    pub unreached: Option<Box<Asked>>,
}

impl From<OurAnswer> for Unforwarded {
    fn from(answer: OurAnswer) -> Self {
        Self { answer, unreached: None }
    }
}

impl Exchange<'_> {
    /// Allowed: recorded, permitted, sent; the answer streams back.
    pub async fn forward(self: Box<Self>) -> Result<Response<Reply>, Unforwarded> {
        let (id, via) = (self.id, self.via);
        let services = &via.services;
        let body_digest = self.asked.body.digest();
        let digest = self.asked.head.digest(body_digest);
        let (record, Asked { turn, arrived, head, spelling, body }) = self.into_record(digest);
        let accepted = services.approver.recorder.accept(record, digest).await;
        let permit = Permit::by_rule(accepted.map_err(|why| OurAnswer::unrecorded(&why))?);
        let outcome = Outcome::begin(Arc::clone(&services.approver), id).with(turn);
        let body = Outgoing::new(body, outcome.sent());
        let opens_websocket = head.opens_websocket();
        let outbound = Box::new(Outbound { head, body_digest, body, spelling, knows_h2: via.knows_h2() });
        let failed = if opens_websocket {
            match Box::pin(services.upstream.open_websocket(permit, outbound)).await {
                Ok(opening) => return Ok(websocket::answer(via, opening, outcome)),
                Err(failed) => failed,
            }
        } else {
            match services.upstream.send(permit, outbound).await {
                Ok(answer) => return Ok(Reply::passing(answer, outcome)),
                Err(failed) => failed,
            }
        };
        Err(unforwarded(via, arrived, failed, outcome))
    }

    /// Held: stored whole, then waiting for a reviewer. A body that cannot be stored whole is refused.
    pub async fn hold(self: Box<Self>, policy: &dyn Judge) -> Result<Response<Reply>, OurAnswer> {
        let services = &self.via.services;
        let Intake::Whole(body) = self.via.read_whole(self.asked.body).await? else {
            return Err(OurAnswer::too_large(services.max_body));
        };
        let action = policy.classify(&self.asked.head, Some(&body));
        let request = CanonicalRequest { head: self.asked.head, body };
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
            hold::Waiting { arrived: self.asked.arrived, usual: services.hold_wait, stop: &self.via.stop };
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
        let digest = self.asked.head.digest(self.asked.body.digest());
        let recorded = recorder.make_durable(self.into_record(digest).0).await;
        Err(recorded.map_or_else(|why| OurAnswer::unrecorded(&why), |()| answer))
    }

    /// What is recorded, and what is sent if it may be.
    fn into_record(self: Box<Self>, digest: Digest) -> (Box<ExchangeRecord>, Asked) {
        let record = Box::new(ExchangeRecord {
            exchange: self.id,
            agent: self.via.flow.agent.clone(),
            caller: self.via.flow.caller.brief(),
            destination: self.destination,
            request: Some((&self.asked.head).into()),
            action: Some(self.action),
            judgement: self.judgement,
            digest: Some(digest),
        });
        (record, self.asked)
    }
}

/// What becomes of a request that was not answered.
fn unforwarded(via: &Via, arrived: Instant, failed: Failed, mut outcome: Outcome) -> Unforwarded {
    if let Some(why) = outcome.sent().unsendable() {
        outcome.failed(why.to_owned());
        return OurAnswer::unfinished(why).into();
    }
    let (agent, original, why) = (&via.flow.agent, via.flow.original, &failed.why);
    tracing::info!(%agent, %original, error = why as &dyn std::error::Error, "an upstream failed");
    let answer = OurAnswer::upstream_failed(why);
    let Some(outbound) = failed.unreached else {
        outcome.failed(why.to_string());
        return answer.into();
    };
    let Outbound { head, spelling, body, .. } = *outbound;
    let unreached = outcome
        .unreached(why.to_string())
        .map(|turn| Box::new(Asked { turn, arrived, head, spelling, body: body.unsent() }));
    Unforwarded { answer, unreached }
}
