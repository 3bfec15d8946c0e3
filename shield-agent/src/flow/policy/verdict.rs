//! What policy answers, and what it is asked about.

use std::fmt;
use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::flow::http::canonical::RequestHead;
use crate::flow::inspect::action::Action;
use crate::flow::origin::{Caller, Destination};
use crate::names::{AgentName, Digest, RuleId};

/// What may happen to an exchange; ordered by strictness.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// Passes at once.
    Allow,
    /// Waits for a reviewer.
    Hold,
    /// Never runs.
    Deny,
}

impl fmt::Display for Verdict {
    /// As policies write it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Allow => "allow",
            Self::Hold => "hold",
            Self::Deny => "deny",
        })
    }
}

/// The body as far as it was read for judging.
#[derive(Clone, Copy, Debug)]
pub enum BodyView<'a> {
    /// No candidate rule needs it; it streams.
    NotRead,
    /// All of it.
    Whole(&'a [u8]),
    /// Longer than the limit: only this beginning was read. Conditions on it cannot be evaluated.
    Truncated(&'a [u8]),
}

/// Everything a verdict may depend on.
#[derive(Clone, Copy, Debug)]
pub struct Subject<'a> {
    /// The agent, by its gate.
    pub agent: &'a AgentName,
    /// The process that opened the flow.
    pub caller: &'a Caller,
    /// Where the flow goes.
    pub destination: &'a Destination,
    /// The request.
    pub head: &'a RequestHead,
    /// Its body.
    pub body: BodyView<'a>,
    /// What it means.
    pub action: &'a Action,
    /// When it is judged; exceptions may be over.
    pub now: Timestamp,
}

/// A question about a name.
#[derive(Clone, Copy, Debug)]
pub struct NameAsked<'a> {
    /// The agent, by its gate.
    pub agent: &'a AgentName,
    /// The host it is about, in canonical form.
    pub host: &'a str,
    /// When it is judged; exceptions may be over.
    pub now: Timestamp,
}

/// The answer of policy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Judgement {
    /// What happens: after modes (`observe`) were applied.
    pub verdict: Verdict,
    /// The rule that decided; `None` when a default did.
    pub rule: Option<RuleId>,
    /// The rule's `why`, or which default applied.
    pub why: String,
    /// How to hold, when the verdict is `hold`.
    pub terms: HoldTerms,
    /// Rules in observe mode that would have been stricter, with what they would have said.
    pub observed: Vec<(RuleId, Verdict)>,
    /// Digest of the policy that judged.
    pub policy: Digest,
}

/// How a held request waits. Absent values follow the configuration's `hold` section.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HoldTerms {
    /// How long the agent's connection is kept open for a decision.
    pub wait: Option<Duration>,
    /// How long a decision may take before the hold expires.
    pub expires: Option<Duration>,
    /// Status of the pending answer: 503 (default), 403 or 202.
    pub pending_status: Option<u16>,
}
