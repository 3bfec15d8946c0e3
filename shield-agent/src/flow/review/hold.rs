//! Holding a request: it is stored, its connection waits as long as is useful, and then the agent is told where it
//! stands.
//!
//! Dropping the future, because the agent hung up, leaves the hold where it is and says that nobody waits for it.

use std::sync::Arc;
use std::time::Duration;

use ::http::Response;
use tokio::time::{Instant, timeout, timeout_at};

use super::answers::OurAnswer;
use super::approver::Approver;
use super::patience::patience;
use super::recorder::Unrecorded;
use super::reply::Reply;
use crate::ipc::approver::{Ending, FromApprover, HoldRequest};
use crate::names::HoldId;

/// How long the approver may take to store a hold.
const STORED_WITHIN: Duration = Duration::from_secs(20);

/// Holds a request that arrived at `arrived`. `usual` is how long its connection waits if nobody says otherwise.
pub async fn hold(
    approver: &Arc<Approver>,
    request: HoldRequest,
    arrived: Instant,
    usual: Duration,
) -> Result<Response<Reply>, OurAnswer> {
    let terms = request.judgement.terms.clone();
    let patience = patience(&request.request.head, terms.wait.unwrap_or(usual));
    let mut ask = approver.hold(request);
    let hold = match timeout(STORED_WITHIN, ask.next()).await {
        Ok(Some(FromApprover::Held { hold, .. })) => hold,
        Ok(Some(FromApprover::Over { hold, ending, .. })) => return ended(hold, *ending),
        Ok(Some(FromApprover::NotHeld { reason, .. })) => return Err(OurAnswer::not_held(&reason)),
        Ok(_) => return Err(OurAnswer::unrecorded(&Unrecorded::Gone)),
        Err(_elapsed) => return Err(OurAnswer::unrecorded(&Unrecorded::Behind)),
    };
    match timeout_at(arrived + patience.wait, ask.next()).await {
        Ok(Some(FromApprover::Over { hold, ending, .. })) => ended(hold, *ending),
        Ok(Some(FromApprover::NotHeld { reason, .. })) => Err(OurAnswer::not_held(&reason)),
        // Undecided; or the approver stopped, and the hold waits in its store.
        Ok(_) | Err(_) => Err(OurAnswer::pending(hold, terms.pending_status, patience.asynchronous)),
    }
}

fn ended(hold: HoldId, ending: Ending) -> Result<Response<Reply>, OurAnswer> {
    OurAnswer::ended(hold, ending).map(Reply::stored)
}
