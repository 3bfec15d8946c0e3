//! Policy: caller + action + request → verdict and why. No I/O, no clock, nothing spawned.
//!
//! The strictest verdict of all rules that match wins; the order of rules never matters. Doubt counts against the
//! request: a condition that cannot be evaluated makes a rule that holds or denies match, and one that allows not.

mod body;
mod condition;
mod connection;
mod explain;
mod facts;
pub mod host;
mod index;
pub mod inline;
mod json;
mod judge;
mod matcher;
mod names;
mod path;
mod read;
mod rule;
pub mod verdict;

use std::collections::BTreeMap;

pub use body::inspectable;
pub use explain::{Explanation, Outcome, RuleTrace};

use self::connection::ConnectionRule;
use self::host::HostPattern;
use self::index::HostIndex;
use self::inline::InlineTest;
use self::rule::{Exception, Rule};
use crate::names::{Digest, RuleId};
use crate::networks::Networks;
use crate::yaml::Mistakes;
use verdict::Verdict;

/// A compiled policy: all files together.
#[derive(Debug)]
pub struct Policy {
    mode: Mode,
    defaults: Defaults,
    known_hosts: Vec<HostPattern>,
    networks: Networks,
    rules: Vec<Rule>,
    connections: Vec<ConnectionRule>,
    exceptions: BTreeMap<RuleId, Vec<Exception>>,
    index: HostIndex,
    /// The tests written in the files.
    pub tests: Vec<InlineTest>,
    digest: Digest,
}

/// What the policy as a whole does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Mode {
    /// Verdicts apply.
    #[default]
    Gate,
    /// Verdicts are written down; everything passes.
    Observe,
    /// Every action that is not a read is held at least.
    ReadOnly,
}

/// What happens where no rule says anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Defaults {
    unmatched: Verdict,
    unknown_host: Verdict,
    opaque: Verdict,
    uninspectable: Verdict,
}

impl Default for Defaults {
    fn default() -> Self {
        Self {
            unmatched: Verdict::Allow,
            unknown_host: Verdict::Allow,
            opaque: Verdict::Deny,
            uninspectable: Verdict::Hold,
        }
    }
}

impl Policy {
    /// Compiles policy files, each a name for messages and its text.
    ///
    /// # Errors
    /// Every mistake in every file.
    pub fn compile(files: &[(String, String)]) -> Result<Self, Mistakes> {
        read::files(files)
    }

    /// How many rules there are.
    pub fn rule_count(&self) -> usize {
        self.rules.len() + self.connections.len()
    }
}

/// Digest of the files' text, whatever they are called.
fn digest(files: &[(String, String)]) -> Digest {
    let mut all = Vec::new();
    for (_, text) in files {
        all.extend_from_slice(&(text.len() as u64).to_be_bytes());
        all.extend_from_slice(text.as_bytes());
    }
    Digest::of(&all)
}

#[cfg(test)]
mod tests;
