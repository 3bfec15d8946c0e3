//! A record before it has its place in the chain.

use jiff::Timestamp;
use serde::Serialize;

use crate::flow::policy::verdict::Verdict;
use crate::names::AgentName;

/// Bytes most bodies fit into.
const USUAL_BODY: usize = 1 << 10;

/// Something that is to be recorded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// When it happened.
    pub at: Timestamp,
    /// What kind of record, such as `hold.created`.
    pub kind: &'static str,
    /// The agent it is about.
    pub agent: Option<AgentName>,
    /// The exchange or hold it is about.
    pub subject: Option<String>,
    /// The verdict, where an exchange was judged.
    pub verdict: Option<Verdict>,
    /// JSON, fields in the order of their type, no white space; secrets masked.
    pub body: String,
}

impl Entry {
    /// A record of `kind` with `body` as JSON.
    pub fn new(at: Timestamp, kind: &'static str, body: &impl Serialize) -> Self {
        let mut json = Vec::with_capacity(USUAL_BODY);
        serde_json::to_writer(&mut json, body).expect("record types have string keys and finite numbers");
        let body = String::from_utf8(json).expect("JSON is UTF-8");
        Self { at, kind, agent: None, subject: None, verdict: None, body }
    }

    /// About this agent.
    pub fn agent(self, agent: &AgentName) -> Self {
        Self { agent: Some(agent.clone()), ..self }
    }

    /// About this exchange or hold.
    pub fn subject(self, subject: impl ToString) -> Self {
        Self { subject: Some(subject.to_string()), ..self }
    }

    /// The record of an exchange's judgement.
    pub fn verdict(self, verdict: Verdict) -> Self {
        Self { verdict: Some(verdict), ..self }
    }
}

/// A verdict as the journal's column and the API name it.
pub fn verdict_name(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Allow => "allow",
        Verdict::Hold => "hold",
        Verdict::Deny => "deny",
    }
}
