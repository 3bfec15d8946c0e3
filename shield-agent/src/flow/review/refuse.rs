//! What ends before any rule for requests is asked: requests with more than one reading, and connections nobody may look
//! into and that may not pass unread either. All of it is recorded.

use std::future::Future;

use ::http::Response;
use bytes::BytesMut;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::server::TlsStream;

use super::answers::OurAnswer;
use super::dialect::{Dialect, raw, render};
use super::reply::Reply;
use super::unasked;
use super::via::Via;
use super::websocket::Opened;
use crate::flow::accept::{self, Flow};
use crate::flow::decrypt::{self, DecryptError, Opaque};
use crate::flow::http::guard::Refused;
use crate::flow::http::serve::{Left, last_words};
use crate::flow::http::unclear::Unclear;
use crate::flow::opaque as unreadable;
use crate::flow::policy::verdict::{HoldTerms, Judgement, Verdict};
use crate::flow::relay::relay;
use crate::flow::services::Services;
use crate::ipc::approver::{Distrust, ExchangeRecord};
use crate::names::{Digest, ExchangeId};

/// A stream that came to us, plain or as TLS that was opened here.
pub trait Incoming: AsyncRead + AsyncWrite + Unpin {
    /// Makes the coming close a reset.
    fn reset(&self);
    /// What becomes of it when it does not speak HTTP; `first` was read of it.
    fn pass_unread(self, via: &Via, first: BytesMut) -> impl Future<Output = ()> + Send;
}

impl Incoming for TcpStream {
    fn reset(&self) {
        accept::reset(self);
    }

    async fn pass_unread(self, via: &Via, first: BytesMut) {
        let why = Unclear::NotHttp.to_string();
        let unread = Opaque { stream: self, first: first.to_vec(), tls_name: None, why };
        // It spoke already, and is not given back.
        unreadable::serve(&via.services, &via.flow, unread, &via.stop).await;
    }
}

impl Incoming for Box<TlsStream<TcpStream>> {
    fn reset(&self) {
        accept::reset(self.get_ref().0);
    }

    /// Never: it would leave as another session than the program made.
    async fn pass_unread(self, via: &Via, _first: BytesMut) {
        let why = "what is inside the TLS session is not HTTP; a rule with `connection` and `tls_name` lets such \
                   sessions pass unopened";
        opaque(&via.services, &via.flow, self, None, why).await;
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
pub async fn conclude<S: Incoming>(via: &Via, left: Left<S>) {
    let Left { mut stream, rest, refused } = left;
    if let Some(Opened { stream: destination, outcome }) = via.websocket() {
        return relay(stream, &rest, destination, outcome, &via.stop).await;
    }
    match refused {
        None => {
            // The client may be gone.
            let _ = stream.shutdown().await;
        }
        Some(Refused { why: Unclear::NotHttp, .. }) => stream.pass_unread(via, rest).await,
        Some(Refused { why, .. }) => {
            let answer = OurAnswer::unclear(&why);
            note(&via.services, &via.flow, &answer.sentence).await;
            last_words(stream, &raw(&answer)).await;
        }
    }
}

/// Resets a connection nobody can look into, and records what policy said of it; without a policy nothing passes.
pub async fn opaque(
    services: &Services,
    flow: &Flow,
    stream: impl Incoming,
    judgement: Option<Judgement>,
    why: &str,
) {
    stream.reset();
    drop(stream);
    let mut judgement =
        judgement.unwrap_or_else(|| denied(services, "no policy lets it pass untouched".to_owned()));
    judgement.why = format!("{why}; {}", judgement.why);
    if let Some(name) = services.resolver.names_of(&flow.agent, flow.original.ip()).first() {
        judgement.why += &format!("; name asked for: {name}");
    }
    judgement.verdict = Verdict::Deny;
    record(services, flow, judgement).await;
}

/// A connection that did not get as far as a request: logged, and when the program does not trust us, recorded and told.
pub async fn undecrypted(services: &Services, flow: &Flow, error: &DecryptError) {
    decrypt::report(flow, error);
    if let Some(name) = error.left() {
        return unasked::over(services, flow, name, false).await;
    }
    let Some((name, alert)) = error.distrust() else { return };
    let why = format!(
        "the program ended the TLS handshake for {name}: it does not trust our certificate ({alert:?})"
    );
    note(services, flow, &why).await;
    services.approver.distrusted(Distrust {
        agent: flow.agent.clone(),
        program: flow.caller.exe.clone(),
        name: name.to_owned(),
        alert: Some(alert.into()),
    });
}

pub(super) async fn note(services: &Services, flow: &Flow, why: &str) {
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
    if let Err(error) = services.approver.recorder.note(record.into()).await {
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
