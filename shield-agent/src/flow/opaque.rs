//! Connections nobody can look into: refused, unless policy says of exactly this one that it passes.
//!
//! What passes is recorded as what it is, goes to its original destination and is copied untouched. It never falls back to
//! that: a connection that can be read is read.

use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::accept::{Flow, reset};
use super::decrypt::{Limits, Opaque};
use super::inspect::action::{Action, Effect};
use super::policy::verdict::{Judgement, Verdict};
use super::relay::relay;
use super::review::outcome::Outcome;
use super::review::refuse;
use super::services::Services;
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
    let usual = services.limits;
    Limits { first_byte: if passes { SILENCE.min(usual.first_byte) } else { usual.first_byte }, ..usual }
}

/// Whether a TLS session is not to be opened, because a rule is about it as it is.
pub fn is_kept(services: &Services, flow: &Flow, tls_name: &str) -> bool {
    let policy = services.policy.load();
    policy.as_ref().is_some_and(|policy| policy.unopened(flow, tls_name).is_some())
}

/// The life of a connection nobody looks into.
pub async fn serve(services: &Arc<Services>, flow: &Flow, opaque: Opaque, stop: &CancellationToken) {
    let judgement = services.policy.load().as_ref().map(|policy| match &opaque.tls_name {
        None => policy.opaque(flow),
        // Between two questions the policy may have changed: what is no longer allowed is denied.
        Some(name) => policy.unopened(flow, name).unwrap_or_else(|| policy.opaque(flow)),
    });
    match judgement {
        Some(judgement) if judgement.verdict == Verdict::Allow => {
            pass(services, flow, opaque, judgement, stop).await;
        }
        judgement => refuse::opaque(services, flow, opaque.stream, judgement, &opaque.why).await,
    }
}

async fn pass(
    services: &Arc<Services>,
    flow: &Flow,
    opaque: Opaque,
    mut judgement: Judgement,
    stop: &CancellationToken,
) {
    judgement.why = format!("{}; uninspectable: {}", judgement.why, opaque.why);
    let (agent, original) = (&flow.agent, flow.original);
    let digest = Digest::of(format!("agent.shield connection v1 {original} {:?}", opaque.tls_name).as_bytes());
    let record = record(flow, &opaque, judgement, digest);
    let exchange = record.exchange;
    let permit = match services.approver.recorder.accept(record, digest).await {
        Ok(accepted) => Permit::by_rule(accepted),
        Err(error) => {
            tracing::warn!(%agent, %original, %error, "a connection was not passed: it cannot be recorded");
            return reset(&opaque.stream);
        }
    };
    let mut outcome = Outcome::begin(Arc::clone(&services.approver), exchange);
    match services.upstream.connect(permit, digest).await {
        Ok(destination) => relay(opaque.stream, &opaque.first, destination, outcome, stop).await,
        Err(error) => {
            outcome.failed(error.to_string());
            tracing::info!(%agent, %original, %error, "an upstream failed");
            reset(&opaque.stream);
        }
    }
}

fn record(flow: &Flow, opaque: &Opaque, judgement: Judgement, digest: Digest) -> ExchangeRecord {
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
        summary: format!("Connect to {}{name}; what is said is not seen", flow.original),
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
