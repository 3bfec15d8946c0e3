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

use std::net::SocketAddr;
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
use judge::Judge;
use origin::Destination;
use policy::verdict::{Subject, Verdict};
use review::answers::{INTERNAL_HOST, OurAnswer};
use review::dialect::{Dialect, render};
use review::reply::Reply;
use review::{Asked, Exchange, Spoken, Unforwarded, Via, own, unasked};
use services::Services;
use upstream::ways::MOST_ADDRESSES;

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
    let (limits, opened) = (services.limits.http, Instant::now());
    match readable {
        Readable::Tls { stream, name, h2: true } => {
            let via = Via::new(services, flow, stop, Spoken::Tls { name, h2: true });
            server::http2(stream, limits, |request| exchange(Arc::clone(&via), request), &via.stop).await;
            Box::pin(unasked::look(&via, opened)).await;
        }
        Readable::Tls { stream, name, h2: false } => {
            // Who agreed on HTTP in the handshake may be silent; others may wait for a greeting.
            let agreed = stream.get_ref().1.alpn_protocol().is_some();
            let silence = (!agreed).then_some(decrypt::FIRST_BYTE);
            let via = Via::new(services, flow, stop, Spoken::Tls { name, h2: false });
            let answer = |request| exchange(Arc::clone(&via), request);
            let left = server::http1(stream, (silence, limits), answer, &via.stop).await;
            if left.refused.is_some() {
                via.note_asked();
            }
            Box::pin(review::conclude(&via, left)).await;
            Box::pin(unasked::look(&via, opened)).await;
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
    via.note_asked();
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
        // A body that is not there says nothing to any rule.
        let needed =
            !body.is_end_stream() && policy.body_need(&via.flow.agent, &head, jiff::Timestamp::now());
        let body = via.take_body(body, needed).await?;
        settle(&via, policy.as_ref().as_ref(), Asked { turn, arrived, head, spelling, body }).await
    };
    let response = answered.await.unwrap_or_else(|answer| Reply::ours(render(&answer, dialect)));
    Reply::to(&parts, response)
}

/// What becomes of a request that was read: judged, and forwarded, held or denied; when nobody is there to forward it to,
/// the same at another address of its host.
async fn settle(via: &Arc<Via>, policy: &dyn Judge, mut asked: Asked) -> Result<Response<Reply>, OurAnswer> {
    let (ways, agent, original) = (&via.services.upstream.ways, &via.flow.agent, via.flow.original);
    let mut address = ways.first(agent, &asked.head.host, original);
    let mut tried = 1;
    loop {
        let exchange = judge(via, policy, asked, address);
        let (verdict, head) = (exchange.judgement.verdict, &exchange.asked.head);
        // What policy denies is denied wherever it would have gone.
        if verdict != Verdict::Deny
            && head.scheme == Scheme::Http
            && let Err(elsewhere) = Box::pin(plain::check(via, &head.host)).await
        {
            return Ok(Box::pin(review::refuse_request(via, &elsewhere)).await);
        }
        let Unforwarded { answer, unreached } = match verdict {
            Verdict::Allow => match exchange.forward().await {
                Ok(response) => return Ok(response),
                Err(unforwarded) => unforwarded,
            },
            // Rare, and boxed so that an allowed request does not carry the room they need.
            Verdict::Hold => return Box::pin(exchange.hold(policy)).await,
            Verdict::Deny => return Box::pin(exchange.deny()).await,
        };
        let again = unreached.filter(|_| tried < MOST_ADDRESSES);
        let other = again.and_then(|again| Some((ways.other(agent, &again.head.host, address)?, again)));
        let Some((next, again)) = other else { return Err(answer) };
        (asked, address, tried) = (*again, next, tried + 1);
    }
}

/// Policy's word on a request that goes to an address.
fn judge<'a>(via: &'a Arc<Via>, policy: &dyn Judge, asked: Asked, address: SocketAddr) -> Box<Exchange<'a>> {
    let action = policy.classify(&asked.head, asked.body.known());
    let destination = Destination { ip: address.ip(), ..via.flow.destination() };
    let judgement = policy.judge(&Subject {
        agent: &via.flow.agent,
        caller: &via.flow.caller,
        destination: &destination,
        head: &asked.head,
        body: asked.body.view(),
        action: &action,
        now: jiff::Timestamp::now(),
    });
    let id = ExchangeId(ulid::Ulid::new());
    Box::new(Exchange { id, via, destination, asked, action, judgement })
}
