//! Holding a request: it is stored, its connection waits as long as is useful, and then the agent is told where it
//! stands.
//!
//! Dropping the future, because the agent hung up, leaves the hold where it is and says that nobody waits for it.

use std::sync::Arc;
use std::time::Duration;

use ::http::Response;
use tokio::time::{Instant, timeout, timeout_at};
use tokio_util::sync::CancellationToken;

use super::answers::OurAnswer;
use super::approver::Approver;
use super::patience::patience;
use super::recorder::Unrecorded;
use super::reply::Reply;
use crate::ipc::approver::{Ending, FromApprover, HoldRequest};
use crate::names::HoldId;

/// How long the approver may take to store a hold.
const STORED_WITHIN: Duration = Duration::from_secs(20);

/// No connection waits longer, whatever a rule says: its hold does.
const A_DAY: Duration = Duration::from_secs(24 * 3600);

/// How the connection of a held request waits.
pub struct Waiting<'a> {
    /// Since when.
    pub arrived: Instant,
    /// How long, if neither rule nor client say otherwise.
    pub usual: Duration,
    /// Cancelled when the worker stops: then the wait is over.
    pub stop: &'a CancellationToken,
}

/// Holds a request.
pub async fn hold(
    approver: &Arc<Approver>,
    request: HoldRequest,
    waiting: Waiting<'_>,
) -> Result<Response<Reply>, OurAnswer> {
    let terms = request.judgement.terms.clone();
    let patience = patience(&request.request.head, terms.wait.unwrap_or(waiting.usual));
    let mut ask = approver.hold(request);
    let hold = match timeout(STORED_WITHIN, ask.next()).await {
        Ok(Some(FromApprover::Held { hold, .. })) => hold,
        Ok(Some(FromApprover::Over { hold, ending, .. })) => return ended(hold, *ending),
        Ok(Some(FromApprover::NotHeld { reason, .. })) => return Err(OurAnswer::not_held(&reason)),
        Ok(_) => return Err(OurAnswer::unrecorded(&Unrecorded::Gone)),
        Err(_elapsed) => return Err(OurAnswer::unrecorded(&Unrecorded::Behind)),
    };
    let deadline = waiting.arrived + patience.wait.min(A_DAY);
    match waiting.stop.run_until_cancelled(timeout_at(deadline, ask.next())).await {
        Some(Ok(Some(FromApprover::Over { hold, ending, .. }))) => ended(hold, *ending),
        Some(Ok(Some(FromApprover::NotHeld { reason, .. }))) => Err(OurAnswer::not_held(&reason)),
        // Undecided; or the worker or the approver stopped, and the hold waits in its store.
        _ => Err(OurAnswer::pending(hold, terms.pending_status, patience.asynchronous)),
    }
}

fn ended(hold: HoldId, ending: Ending) -> Result<Response<Reply>, OurAnswer> {
    OurAnswer::ended(hold, ending).map(Reply::stored)
}
