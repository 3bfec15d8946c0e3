//! A hold as JSON: what the API serves and every page shows. The contract of the console API.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::flow::inspect::action::Action;
use crate::flow::origin::{Caller, Destination};
use crate::names::{AgentName, Digest, HoldId, RuleId};

/// Where a hold is in its life, as JSON and the CLI name it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum HoldState {
    /// Waits for a decision.
    Pending,
    /// Approved, not yet being sent.
    Approved,
    /// The intent to send is durable; the request may have reached its destination.
    Sending,
    /// Sent, and the answer is known.
    Done,
    /// A reviewer said no.
    Denied,
    /// Nobody decided in time.
    Expired,
    /// Withdrawn by the agent, or the agent is gone and the rule says so.
    Cancelled,
    /// Approved, but not sent: policy became stricter, the stored bytes do not match, or it was too late.
    Refused,
    /// Sent or half sent, and no answer was recorded. Never sent again.
    OutcomeUnknown,
}

impl HoldState {
    /// Every state with its name in JSON, in the store and on the command line.
    pub const ALL: [(Self, &'static str); 9] = [
        (Self::Pending, "pending"),
        (Self::Approved, "approved"),
        (Self::Sending, "sending"),
        (Self::Done, "done"),
        (Self::Denied, "denied"),
        (Self::Expired, "expired"),
        (Self::Cancelled, "cancelled"),
        (Self::Refused, "refused"),
        (Self::OutcomeUnknown, "outcome-unknown"),
    ];

    /// The name.
    pub fn as_str(self) -> &'static str {
        let named = Self::ALL.iter().find(|(state, _)| *state == self);
        named.expect("every state is in the table").1
    }

    /// The state of that name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.iter().find(|(_, known)| *known == name).map(|(state, _)| *state)
    }

    /// Whether something can still happen to the hold.
    pub fn is_open(self) -> bool {
        matches!(self, Self::Pending | Self::Approved | Self::Sending)
    }
}

impl std::fmt::Display for HoldState {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// One hold in full, safe to show: secrets are masked, nothing else is left out.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct HoldView {
    /// Id, a ULID.
    pub id: HoldId,
    /// Where it is in its life.
    pub state: HoldState,
    /// The agent that asked.
    pub agent: AgentName,
    /// When it was stored.
    pub created_at: Timestamp,
    /// When it expires undecided.
    pub expires_at: Timestamp,
    /// The rule that held it; `None` when a default did.
    pub rule: Option<RuleId>,
    /// Why that rule exists.
    pub why: String,
    /// What the request means.
    pub action: Action,
    /// The request.
    pub request: RequestView,
    /// Where it goes.
    pub destination: Destination,
    /// Who asked.
    pub caller: Caller,
    /// Digest of exactly what was judged; a decision must name it.
    pub digest: Digest,
    /// How many times the agent asked (1 + joins).
    pub asked: u32,
    /// Whether a connection of the agent is waiting for the answer now.
    pub caller_waiting: bool,
    /// The decision, when there is one.
    pub decision: Option<DecisionView>,
    /// The answer of the destination, or why there is none.
    pub result: Option<ResultView>,
}

/// The request of a hold.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RequestView {
    /// Method.
    pub method: String,
    /// Absolute URL, secrets in its query masked.
    pub url: String,
    /// Fields in order; secret values masked as `••••`, keeping the scheme word (`Bearer ••••`).
    pub headers: Vec<(String, String)>,
    /// Names of the fields that a retry may refresh before sending.
    pub refreshable: Vec<String>,
    /// The body.
    pub body: BodyInfo,
}

/// A body, described and as text where it is text.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BodyInfo {
    /// Bytes.
    pub size: u64,
    /// SHA-256, 64 hex digits.
    pub sha256: String,
    /// Media type as sent; empty when absent.
    pub media_type: String,
    /// Beginning of the body as text, secrets masked; `None` when it is not UTF-8.
    pub text: Option<String>,
    /// Whether `text` leaves out the rest.
    pub truncated: bool,
    /// Whether the body could be decoded strictly.
    pub inspectable: bool,
}

/// A reviewer's decision.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DecisionView {
    /// `approve` or `deny`.
    pub decision: Decision,
    /// Who decided: a reviewer's name, or `root (uid 0) on the control socket`.
    pub by: String,
    /// When.
    pub at: Timestamp,
    /// The reviewer's words; empty when none were given.
    pub reason: String,
}

/// Yes or no.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Decision {
    /// Forward it, once.
    Approve,
    /// Never.
    Deny,
}

impl Decision {
    /// As JSON and the store name it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Approve => "approve",
            Self::Deny => "deny",
        }
    }
}

/// What became of a decided hold.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ResultView {
    /// HTTP status of the destination's answer; `None` when there was none.
    pub status: Option<u16>,
    /// Bytes of the answer's body.
    pub size: u64,
    /// When the answer was complete.
    pub at: Timestamp,
    /// How many times the agent collected it.
    pub collected: u32,
    /// Why there is no answer, for `refused`, `outcome-unknown` and failed sends.
    pub error: Option<String>,
}

/// The body of `POST /api/v1/holds/{id}/decision`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DecisionRequest {
    /// Yes or no.
    pub decision: Decision,
    /// The digest the reviewer saw.
    pub digest: Digest,
    /// The reviewer's words.
    #[serde(default)]
    pub reason: String,
}
