//! The data plane, in travel order: accept → decrypt → http → inspect → policy → review → upstream.
//!
//! [`serve`] is the life of a connection, [`exchange`] the life of a request. Nothing here decides what may pass, and
//! nothing here writes upstream without a permit.

pub mod accept;
pub mod decrypt;
pub mod http;
pub mod inspect;
pub mod judge;
pub mod limits;
pub mod opaque;
pub mod origin;
pub mod plain;
pub mod policy;
pub mod relay;
pub mod review;
pub mod services;
#[cfg(test)]
mod tests;
pub mod upstream;

use std::os::fd::AsFd;
use std::sync::Arc;

use ::http::{Request, Response};
use hyper::body::{Body as _, Incoming};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::names::ExchangeId;
use accept::{Accepted, Flow, Gate};
use decrypt::{Opened, Readable};
use http::canonical::Scheme;
use http::spelling::Spelling;
use http::{parse, serve as server};
use policy::verdict::{Subject, Verdict};
use review::answers::{INTERNAL_HOST, OurAnswer};
use review::dialect::{Dialect, render};
use review::reply::Reply;
use review::{Exchange, Spoken, Via, own};
use services::Services;

/// The life of a connection: whose it is, what it speaks, its requests one by one. Returns when it is closed.
///
/// What a connection does once is boxed: an idle one holds what its requests need and no more.
pub async fn serve(services: Arc<Services>, gate: Arc<Gate>, socket: TcpStream, stop: CancellationToken) {
    let flow = match accept::identify(&gate, (&services.forbidden, &services.callers), socket.as_fd()).await {
        Ok(Accepted::Flow(flow)) => flow,
        Ok(Accepted::Probe) => return accept::answer_probe(socket, &gate.agent).await,
        Ok(Accepted::Dns) => return Box::pin(services::answer_dns(&services, &gate.agent, socket)).await,
        Err(error) => return accept::turn_away(socket, &gate.agent, &error),
    };
    let mut socket = socket;
    loop {
        let limits = opaque::limits(&services, &flow);
        let kept = |name: &str| opaque::is_kept(&services, &flow, name);
        let opened = decrypt::open(socket, flow.original.ip(), &services.leaves, limits, kept);
        let unread = match Box::pin(opened).await {
            Ok(Opened::Readable(readable)) => {
                return converse(services, (*flow, Arc::clone(&gate.turns)), readable, stop).await;
            }
            Ok(Opened::Unreadable { stream, why }) => {
                return Box::pin(review::refuse::opaque(&services, &flow, stream, None, &why)).await;
            }
            Ok(Opened::Opaque(unread)) => unread,
            Err(error) => return Box::pin(review::refuse::undecrypted(&services, &flow, &error)).await,
        };
        match Box::pin(opaque::serve(&services, &flow, unread, &stop)).await {
            Some(speaking) => socket = speaking,
            None => return,
        }
    }
}

/// The requests of a connection, one by one.
async fn converse(
    services: Arc<Services>,
    flow: (Flow, Arc<Semaphore>),
    readable: Readable,
    stop: CancellationToken,
) {
    let limits = services.limits.http;
    match readable {
        Readable::Tls { stream, name, h2: true } => {
            let via = Via::new(services, flow, stop, Spoken::Tls { name, h2: true });
            server::http2(stream, limits, |request| exchange(Arc::clone(&via), request), &via.stop).await;
        }
        Readable::Tls { stream, name, h2: false } => {
            // Who agreed on HTTP in the handshake may be silent; others may wait for a greeting.
            let agreed = stream.get_ref().1.alpn_protocol().is_some();
            let silence = (!agreed).then_some(decrypt::FIRST_BYTE);
            let via = Via::new(services, flow, stop, Spoken::Tls { name, h2: false });
            let answer = |request| exchange(Arc::clone(&via), request);
            let left = server::http1(stream, (silence, limits), answer, &via.stop).await;
            Box::pin(review::conclude(&via, left)).await;
        }
        Readable::Plain { stream, h2: true } => {
            let via = Via::new(services, flow, stop, Spoken::Plain { h2: true });
            server::http2(stream, limits, |request| exchange(Arc::clone(&via), request), &via.stop).await;
        }
        Readable::Plain { stream, h2: false } => {
            let via = Via::new(services, flow, stop, Spoken::Plain { h2: false });
            let answer = |request| exchange(Arc::clone(&via), request);
            let left = server::http1(stream, (None, limits), answer, &via.stop).await;
            Box::pin(review::conclude(&via, left)).await;
        }
    }
}

/// The life of a request, from its parsed head to the head of its answer.
pub async fn exchange(via: Arc<Via>, request: Request<Incoming>) -> Response<Reply> {
    let arrived = Instant::now();
    let (mut parts, body) = request.into_parts();
    let spelling = Spelling::take(&mut parts);
    let head = match parse::canonical_head(&parts, &via.channel) {
        Ok(head) => head,
        Err(unclear) => {
            let refused = Box::pin(review::refuse_request(&via, &unclear)).await;
            return Reply::to(&parts, refused);
        }
    };
    let dialect = Dialect::of(&head);
    let answered = async {
        if head.host == INTERNAL_HOST {
            return Box::pin(own::answer(&via.services.approver, &via.flow.agent, &head)).await;
        }
        let turn = via.turn().await?;
        let policy = via.services.policy.load_full().ok_or_else(OurAnswer::unjudged)?;
        let now = jiff::Timestamp::now();
        // A body that is not there says nothing to any rule.
        let needed = !body.is_end_stream() && policy.body_need(&via.flow.agent, &head, now);
        let body = via.take_body(body, needed).await?;
        let action = policy.classify(&head, body.known());
        let destination = via.flow.destination();
        let judgement = policy.judge(&Subject {
            agent: &via.flow.agent,
            caller: &via.flow.caller,
            destination: &destination,
            head: &head,
            body: body.view(),
            action: &action,
            now,
        });
        // What policy denies is denied wherever it would have gone.
        if judgement.verdict != Verdict::Deny
            && head.scheme == Scheme::Http
            && let Err(elsewhere) = Box::pin(plain::check(&via, &head.host)).await
        {
            return Ok(Box::pin(review::refuse_request(&via, &elsewhere)).await);
        }
        let id = ExchangeId(ulid::Ulid::new());
        let verdict = judgement.verdict;
        let exchange =
            Exchange { id, via: &via, turn, arrived, destination, head, spelling, body, action, judgement };
        let exchange = Box::new(exchange);
        match verdict {
            Verdict::Allow => exchange.forward().await,
            // Rare, and boxed so that an allowed request does not carry the room they need.
            Verdict::Hold => Box::pin(exchange.hold(policy.as_ref().as_ref())).await,
            Verdict::Deny => Box::pin(exchange.deny()).await,
        }
    };
    let response = answered.await.unwrap_or_else(|answer| Reply::ours(render(&answer, dialect)));
    Reply::to(&parts, response)
}
