//! Connections nobody can look into: refused, unless policy says of exactly this one that it passes.
//!
//! What passes is recorded as what it is, goes to its original destination, or to another address of its name when nobody
//! is there, and is moved untouched. It never falls back to that: a connection that can be read is read.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;

use super::accept::{Flow, reset};
use super::decrypt::{FIRST_BYTE, Limits, Opaque};
use super::inspect::action::{Action, Effect};
use super::policy::verdict::{Judgement, Verdict};
use super::relay::relay_unread;
use super::review::outcome::Outcome;
use super::review::refuse;
use super::services::Services;
use super::upstream::ways::MOST_ADDRESSES;
use crate::approval::permit::Permit;
use crate::ipc::approver::ExchangeRecord;
use crate::names::{Digest, ExchangeId};

/// How long a client may stay silent where a rule lets pass what cannot be read: it may wait for its server's greeting,
/// and programs must not notice us.
const SILENCE: Duration = Duration::from_millis(200);

/// How long a flow may take to say what it is.
pub fn limits(services: &Services, flow: &Flow) -> Limits {
    let policy = services.policy.load();
    let passes = policy.as_ref().is_some_and(|policy| policy.opaque(flow).verdict == Verdict::Allow);
    let first_byte = if passes { SILENCE } else { FIRST_BYTE };
    Limits { first_byte, handshake: services.limits.handshake }
}

/// Whether a TLS session is not to be opened, because a rule is about it as it is.
pub fn is_kept(services: &Services, flow: &Flow, tls_name: &str) -> bool {
    let policy = services.policy.load();
    policy.as_ref().is_some_and(|policy| policy.unopened(flow, tls_name).is_some())
}

/// The life of a connection nobody looks into. When its client waited for the server and then was the one to begin after
/// all, it is given back: what it says can be read like on any connection.
pub async fn serve(
    services: &Arc<Services>,
    flow: &Flow,
    opaque: Opaque,
    stop: &CancellationToken,
) -> Option<TcpStream> {
    let (ways, name) = (&services.upstream.ways, name(services, flow, &opaque));
    let mut flow = flow.clone();
    if let Some(name) = &name {
        flow.original = ways.first(&flow.agent, name, flow.original);
    }
    for _ in 0..MOST_ADDRESSES {
        let judgement = match judge(services, &flow, &opaque) {
            Some(judgement) if judgement.verdict == Verdict::Allow => judgement,
            refused => {
                refuse::opaque(services, &flow, opaque.stream, refused, &opaque.why).await;
                return None;
            }
        };
        match connect(services, &flow, &opaque, judgement, name.as_deref()).await {
            Ok((destination, outcome)) => return pass(opaque, destination, outcome, stop).await,
            Err(Some(other)) => flow.original = other,
            Err(None) => break,
        }
    }
    reset(&opaque.stream);
    None
}

/// The name the program went to: the one of its TLS session, or the only one that led to the address.
fn name(services: &Services, flow: &Flow, opaque: &Opaque) -> Option<String> {
    opaque.tls_name.clone().or_else(|| match &services.resolver.names_of(&flow.agent, flow.original.ip())[..]
    {
        [name] => Some(name.to_string()),
        _ => None,
    })
}

/// Policy's word on the connection; `None` when there is no policy.
fn judge(services: &Services, flow: &Flow, opaque: &Opaque) -> Option<Judgement> {
    services.policy.load().as_ref().map(|policy| match &opaque.tls_name {
        None => policy.opaque(flow),
        // Between two questions the policy may have changed: what is no longer allowed is denied.
        Some(name) => policy.unopened(flow, name).unwrap_or_else(|| policy.opaque(flow)),
    })
}

/// The destination, once the connection is on record. On failure: another address of its name, when it has any.
async fn connect(
    services: &Arc<Services>,
    flow: &Flow,
    opaque: &Opaque,
    judgement: Judgement,
    name: Option<&str>,
) -> Result<(TcpStream, Outcome), Option<SocketAddr>> {
    let (agent, original) = (&flow.agent, flow.original);
    let digest =
        Digest::of(format!("agent.shield connection v1 {original} {:?}", opaque.tls_name).as_bytes());
    let record = record(flow, opaque, judgement, digest);
    let exchange = record.exchange;
    let permit = match services.approver.recorder.accept(record.into(), digest).await {
        Ok(accepted) => Permit::by_rule(accepted),
        Err(error) => {
            tracing::warn!(%agent, %original, %error, "a connection was not passed: it cannot be recorded");
            return Err(None);
        }
    };
    let mut outcome = Outcome::begin(Arc::clone(&services.approver), exchange);
    match services.upstream.connect(permit, digest, name).await {
        Ok(destination) => Ok((destination, outcome)),
        Err(error) => {
            outcome.failed(error.to_string());
            tracing::info!(%agent, %original, %error, "an upstream failed");
            let name = name.filter(|_| error.is_unreached());
            Err(name.and_then(|name| services.upstream.ways.other(agent, name, original)))
        }
    }
}

async fn pass(
    opaque: Opaque,
    destination: TcpStream,
    mut outcome: Outcome,
    stop: &CancellationToken,
) -> Option<TcpStream> {
    let Opaque { stream, first, .. } = opaque;
    if first.is_empty() && stop.run_until_cancelled(agent_begins(&stream, &destination)).await == Some(true) {
        outcome.failed("the program spoke first after all: nothing was sent".to_owned());
        return Some(stream);
    }
    relay_unread(stream, &first, destination, outcome, stop).await;
    None
}

/// Waits for a word of either side, or the end of one. The agent's counts before its server's: what it said can be read.
async fn agent_begins(agent: &TcpStream, destination: &TcpStream) -> bool {
    let (mut one, mut other) = ([0], [0]);
    tokio::select! {
        biased;
        said = agent.peek(&mut one) => matches!(said, Ok(1..)),
        _ = destination.peek(&mut other) => false,
    }
}

fn record(flow: &Flow, opaque: &Opaque, mut judgement: Judgement, digest: Digest) -> ExchangeRecord {
    judgement.why = format!("{}; uninspectable: {}", judgement.why, opaque.why);
    let name = opaque.tls_name.as_ref().map_or_else(String::new, |name| format!(" as {name}"));
    let action = Action {
        effect: Effect::Connect,
        family: "connection".to_owned(),
        operation: "connect".to_owned(),
        resource: None,
        environment: None,
        reversible: None,
        count: None,
        amount: None,
        currency: None,
        summary: format!("Connect to {}{name}; uninspectable, nobody sees what is said", flow.original),
    };
    ExchangeRecord {
        exchange: ExchangeId(ulid::Ulid::new()),
        agent: flow.agent.clone(),
        caller: flow.caller.clone(),
        destination: flow.destination(),
        request: None,
        action: Some(action),
        judgement,
        digest: Some(digest),
    }
}
