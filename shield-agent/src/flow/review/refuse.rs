//! What ends before any rule for requests is asked: opaque connections and requests with more than one reading.
//!
//! All of it is recorded. None of it is tunnelled, whatever policy would say of opaque connections: that stage does not
//! exist, so it fails closed.

use std::sync::Arc;

use ::http::Response;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::server::TlsStream;

use super::answers::OurAnswer;
use super::dialect::{Dialect, raw, render};
use super::reply::Reply;
use super::via::Via;
use super::websocket::Opened;
use crate::flow::accept::{self, Flow};
use crate::flow::http::guard::Refused;
use crate::flow::http::serve::{Left, last_words};
use crate::flow::http::unclear::Unclear;
use crate::flow::policy::verdict::{HoldTerms, Judgement, Verdict};
use crate::flow::relay::relay;
use crate::flow::services::Services;
use crate::ipc::approver::ExchangeRecord;
use crate::names::{Digest, ExchangeId};

/// A stream whose connection can be reset.
pub trait Resettable: AsyncRead + AsyncWrite + Unpin {
    /// Makes the coming close a reset.
    fn reset(&self);
}

impl Resettable for TcpStream {
    fn reset(&self) {
        accept::reset(self);
    }
}

impl Resettable for Box<TlsStream<TcpStream>> {
    fn reset(&self) {
        accept::reset(self.get_ref().0);
    }
}

/// Answers a request with more than one reading.
pub async fn refuse_request(via: &Via, why: &Unclear) -> Response<Reply> {
    let answer = OurAnswer::unclear(why);
    note(&via.services, &via.flow, &answer.sentence).await;
    Reply::ours(render(&answer, Dialect::Json))
}

/// What becomes of a connection that HTTP is over on: a WebSocket, an explanation why its last message was not handed
/// on, or its end.
pub async fn conclude<S: Resettable>(via: &Via, left: Left<S>) {
    let Left { mut stream, rest, refused } = left;
    if let Some(Opened { stream: destination, outcome }) = via.websocket() {
        return relay(stream, &rest, destination, outcome, &via.stop).await;
    }
    match refused {
        None => {
            // The client may be gone.
            let _ = stream.shutdown().await;
        }
        Some(Refused { why: Unclear::NotHttp, .. }) => {
            refuse_opaque(&via.services, &via.flow, stream, &Unclear::NotHttp.to_string()).await;
        }
        Some(Refused { why, .. }) => {
            let answer = OurAnswer::unclear(&why);
            note(&via.services, &via.flow, &answer.sentence).await;
            last_words(stream, &raw(&answer)).await;
        }
    }
}

/// Resets a connection that is neither TLS nor HTTP, and records what policy says of it.
pub async fn refuse_opaque(services: &Arc<Services>, flow: &Flow, stream: impl Resettable, why: &str) {
    stream.reset();
    drop(stream);
    let policy = services.policy.load_full();
    let mut judgement =
        policy.as_ref().map_or_else(|| denied(services, String::new()), |policy| policy.opaque(flow));
    judgement.why = match judgement.verdict {
        Verdict::Deny => format!("{why}; {}", judgement.why),
        _ => format!("{why}; opaque connections cannot pass yet, so this one was closed"),
    };
    if let Some(name) = services.resolver.names_of(&flow.agent, flow.original.ip()).first() {
        judgement.why += &format!("; name asked for: {name}");
    }
    judgement.verdict = Verdict::Deny;
    record(services, flow, judgement).await;
}

async fn note(services: &Services, flow: &Flow, why: &str) {
    record(services, flow, denied(services, why.to_owned())).await;
}

async fn record(services: &Services, flow: &Flow, judgement: Judgement) {
    let record = ExchangeRecord {
        exchange: ExchangeId(ulid::Ulid::new()),
        agent: flow.agent.clone(),
        caller: flow.caller.clone(),
        destination: flow.destination(),
        request: None,
        action: None,
        judgement,
        digest: None,
    };
    let (agent, original) = (&flow.agent, flow.original);
    tracing::info!(%agent, %original, why = record.judgement.why, "a connection was refused");
    // Nothing left this host: a journal that stands still does not change that.
    if let Err(error) = services.approver.recorder.note(record).await {
        tracing::warn!(%agent, %original, %error, "a refusal could not be recorded");
    }
}

fn denied(services: &Services, why: String) -> Judgement {
    let policy = services.policy.load().as_ref().map_or_else(|| Digest::of(b""), |policy| policy.digest());
    Judgement {
        verdict: Verdict::Deny,
        rule: None,
        why,
        terms: HoldTerms::default(),
        observed: vec![],
        policy,
    }
}
