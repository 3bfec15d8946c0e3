//! What pages, the API and the command line list: holds, agents and exchanges, a page at a time.

use std::collections::BTreeMap;

use bytes::Bytes;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::view::HoldState;
use crate::finding::Finding;
use crate::flow::policy::verdict::Verdict;
use crate::ipc::attempt::Attempt;
use crate::names::{AgentName, ExchangeId, HoldId, RuleId};

/// The longest page.
pub const MAX_PAGE: u32 = 200;

/// Some items, and where the rest begins.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Page<T> {
    /// The items.
    pub items: Vec<T>,
    /// What to pass as `after` (holds) or `before` (exchanges) for the next page; `None` on the last.
    pub next: Option<String>,
}

/// Which holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum StateFilter {
    /// Those that wait for a decision, oldest first.
    #[default]
    Pending,
    /// All, newest first.
    All,
    /// Those in one state, newest first.
    Only(HoldState),
}

/// Which page of which holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HoldFilter {
    /// In which state.
    pub state: StateFilter,
    /// Of one agent only.
    pub agent: Option<AgentName>,
    /// Where the page before ended.
    pub after: Option<HoldId>,
    /// How many, at most [`MAX_PAGE`]; 0 means [`MAX_PAGE`].
    pub limit: u32,
}

/// The body of a held request, whole and unmasked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeldBody {
    /// Media type as sent; empty when absent.
    pub media_type: String,
    /// The bytes.
    pub bytes: Bytes,
}

/// An agent and what it did so far.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AgentView {
    /// Name.
    pub name: AgentName,
    /// Whether it is gated now.
    pub attached: bool,
    /// Since when it is gated.
    pub attached_since: Option<Timestamp>,
    /// Whether its processes are stopped.
    pub frozen: bool,
    /// Holds that wait for a decision.
    pub pending: u32,
    /// Exchanges in the journal.
    pub exchanges: u64,
    /// Of these, held.
    pub held: u64,
    /// Of these, denied by rule.
    pub denied: u64,
    /// When it last asked for something.
    pub last_seen: Option<Timestamp>,
    /// How often the hooks refused it something since it is gated.
    pub refused: u64,
    /// The same by reason; without those that never happened.
    pub refusals: BTreeMap<String, u64>,
    /// What is known to be wrong with its protection.
    pub findings: Vec<Finding>,
}

/// An agent and what its hooks told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AgentDetail {
    /// What is listed of it.
    #[serde(flatten)]
    pub agent: AgentView,
    /// Everything the hooks count since it is gated, by name.
    pub counters: BTreeMap<String, u64>,
    /// What was refused lately, newest first.
    pub refused_lately: Vec<Attempt>,
    /// What was redirected lately, newest first.
    pub redirected_lately: Vec<Attempt>,
}

/// Which page of which exchanges, newest first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ExchangeFilter {
    /// Of one agent only.
    pub agent: Option<AgentName>,
    /// Of one verdict only.
    pub verdict: Option<Verdict>,
    /// Only those whose record comes before this one.
    pub before: Option<i64>,
    /// How many, at most [`MAX_PAGE`]; 0 means [`MAX_PAGE`].
    pub limit: u32,
}

/// One exchange as it was journalled.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExchangeView {
    /// Number of its first record.
    pub seq: i64,
    /// When it was judged.
    pub at: Timestamp,
    /// Its id.
    pub exchange: ExchangeId,
    /// The agent.
    pub agent: AgentName,
    /// The verdict.
    pub verdict: Verdict,
    /// The rule that decided; `None` when a default did.
    pub rule: Option<RuleId>,
    /// Why.
    pub why: String,
    /// Method; empty for a connection that was refused before HTTP.
    pub method: String,
    /// Absolute URL, secrets masked; the address and port for a connection.
    pub url: String,
    /// One line about what it means.
    pub summary: String,
    /// The hold it made or joined.
    pub hold: Option<HoldId>,
    /// Where that hold is in its life.
    pub hold_state: Option<HoldState>,
    /// Status of the answer.
    pub status: Option<u16>,
    /// Bytes of the request's body that were sent.
    pub sent: Option<u64>,
    /// Bytes of the answer's body that were passed on.
    pub received: Option<u64>,
    /// From judging to the end, milliseconds.
    pub took_ms: Option<u64>,
    /// Why it failed.
    pub error: Option<String>,
}
