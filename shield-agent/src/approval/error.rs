//! Why a question about a hold, a decision or a freeze has no good answer.

use super::view::HoldView;
use crate::names::{AgentName, HoldId};
use crate::store::StoreError;

/// Why there is no such hold to show.
#[derive(Debug, thiserror::Error)]
pub enum FindError {
    /// None by this id.
    #[error("there is no hold {given}{}", nearest_words(nearest))]
    Unknown {
        /// As it was given.
        given: String,
        /// Holds whose ids look most like it; pending ones first.
        nearest: Vec<HoldId>,
    },
    /// The id's beginning fits several.
    #[error("{given} is the beginning of several holds: {}", list(matches))]
    Ambiguous {
        /// As it was given.
        given: String,
        /// Some of them.
        matches: Vec<HoldId>,
    },
    /// Its body was dropped: the hold is long over.
    #[error("the body of hold {0} is not kept any more: bodies are dropped when hold.result_ttl is over")]
    Dropped(HoldId),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Why a decision was not taken.
#[derive(Debug, thiserror::Error)]
pub enum DecideError {
    /// The hold is not where the decision expects it.
    #[error("{why}")]
    Conflict {
        /// Why.
        why: Conflict,
        /// The hold as it is now.
        current: Box<HoldView>,
    },
    /// No such hold, or the store failed.
    #[error(transparent)]
    Find(#[from] FindError),
}

impl From<StoreError> for DecideError {
    fn from(error: StoreError) -> Self {
        Self::Find(FindError::Store(error))
    }
}

/// How a hold differs from what a decision expects.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Conflict {
    /// The decision names another request than the one that is held.
    #[error("the digest is not the held request's: look at the hold again and decide on what it shows now")]
    StaleDigest,
    /// Somebody said no.
    #[error("somebody already denied this hold")]
    AlreadyDenied,
    /// Somebody said yes.
    #[error("somebody already approved this hold")]
    AlreadyDecided,
    /// There is no approval to take back.
    #[error("this hold is not approved, so there is no approval to withdraw: deny it instead")]
    NotApproved,
    /// The request is on its way, or arrived.
    #[error("this request is being sent or was sent, so its approval cannot be taken back")]
    TooLate,
    /// Nobody decided in time.
    #[error("this hold expired before anybody decided; the agent has to ask again")]
    Expired,
    /// It ended in another way.
    #[error("this hold is over")]
    Over,
}

/// Why an agent was not stopped or continued.
#[derive(Debug, thiserror::Error)]
pub enum FreezeError {
    /// No agent by that name is gated.
    #[error("there is no agent {0} now")]
    Unknown(AgentName),
    /// The supervisor could not.
    #[error("{0}")]
    Refused(String),
    /// The supervisor did not answer.
    #[error("the supervisor did not answer; see its log")]
    NoAnswer,
    /// It was done, or not, but cannot be recorded.
    #[error(transparent)]
    Store(#[from] StoreError),
}

fn nearest_words(nearest: &[HoldId]) -> String {
    if nearest.is_empty() { String::new() } else { format!("; the nearest are {}", list(nearest)) }
}

fn list(holds: &[HoldId]) -> String {
    holds.iter().map(HoldId::to_string).collect::<Vec<_>>().join(", ")
}
