//! What changed, for pages that follow along. An event says where to look, never what is there.

use serde::{Deserialize, Serialize};

use crate::names::{AgentName, HoldId};

/// Names of events, as the stream of the API has them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum EventName {
    /// A request was held.
    #[serde(rename = "hold.created")]
    HoldCreated,
    /// A reviewer decided.
    #[serde(rename = "hold.decided")]
    HoldDecided,
    /// A hold is over.
    #[serde(rename = "hold.finished")]
    HoldFinished,
    /// An agent is gated.
    #[serde(rename = "agent.attached")]
    AgentAttached,
    /// An agent's gate was removed.
    #[serde(rename = "agent.detached")]
    AgentDetached,
    /// Something needs a person's attention.
    #[serde(rename = "finding.raised")]
    FindingRaised,
}

impl EventName {
    /// The name as text.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::HoldCreated => "hold.created",
            Self::HoldDecided => "hold.decided",
            Self::HoldFinished => "hold.finished",
            Self::AgentAttached => "agent.attached",
            Self::AgentDetached => "agent.detached",
            Self::FindingRaised => "finding.raised",
        }
    }
}

/// Something changed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// What.
    pub name: EventName,
    /// Which hold.
    pub hold: Option<HoldId>,
    /// Which agent; `None` when it is about the host.
    pub agent: Option<AgentName>,
}
