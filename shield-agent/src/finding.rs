//! What a person should know about the protection of an agent or of the host, and what to do about it.
//!
//! A finding is raised once, by whoever noticed it, and says nothing an agent could have written but the path of its
//! program and the name it asked for, escaped.

use serde::{Deserialize, Serialize};

use crate::names::AgentName;

/// A gate lost a hook, or a hook runs what we did not give it.
pub const GATE_DAMAGED: &str = "gate-damaged";
/// A gate of an earlier daemon is in force but nobody serves it.
pub const GATE_NOT_TAKEN_OVER: &str = "gate-not-taken-over";
/// A program of others was attached beside our hooks.
pub const FOREIGN_PROGRAM: &str = "foreign-program";
/// A process of an agent was moved out of its gate.
pub const MOVED_OUT: &str = "process-moved-out";
/// A program of an agent does not trust our certificates.
pub const NOT_TRUSTED: &str = "not-trusted";
/// Programs of others judge the agent's calls too.
pub const ALSO_JUDGED: &str = "also-judged";

/// Something that was found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// Whose protection it is about; `None` for the host's.
    pub agent: Option<AgentName>,
    /// What kind it is: stable, one of this file's names.
    pub id: String,
    /// How bad it is.
    pub severity: Severity,
    /// What was found.
    pub what: String,
    /// What to do.
    pub remedy: String,
}

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// A layer less, or somebody else in the way: agents stay held back.
    Warning,
    /// An agent is blocked or stopped until a person acts.
    Critical,
}

impl Finding {
    /// About one agent.
    pub fn of(agent: &AgentName, id: &str, severity: Severity, what: String, remedy: String) -> Self {
        Self { agent: Some(agent.clone()), id: id.to_owned(), severity, what, remedy }
    }
}
