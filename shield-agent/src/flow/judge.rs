//! What the flow asks of policy.

use jiff::Timestamp;

use crate::flow::accept::Flow;
use crate::flow::http::canonical::RequestHead;
use crate::flow::inspect::action::Action;
use crate::flow::policy::verdict::{Judgement, NameAsked, Subject};
use crate::names::{AgentName, Digest};
use crate::networks::Networks;

/// A compiled policy.
pub trait Judge: Send + Sync {
    /// Whether a rule that may decide this request looks at its body.
    fn body_need(&self, agent: &AgentName, head: &RequestHead, now: Timestamp) -> bool;
    /// What a request means; `body` when all of it is known.
    fn classify(&self, head: &RequestHead, body: Option<&[u8]>) -> Action;
    /// The verdict on a request.
    fn judge(&self, subject: &Subject<'_>) -> Judgement;
    /// Whether a question about a host's name may leave: `deny` when no request to that host could pass or be held.
    fn name(&self, asked: &NameAsked<'_>) -> Judgement;
    /// The verdict on a question that is more than the configuration lets an agent ask, and why it is.
    fn beyond_limits(&self, why: String) -> Judgement;
    /// The verdict on a connection that is neither TLS nor HTTP.
    fn opaque(&self, flow: &Flow) -> Judgement;
    /// The networks that are denied or direct.
    fn networks(&self) -> &Networks;
    /// The verdict on a TLS session that is not to be opened here; `None` for every other.
    fn unopened(&self, flow: &Flow, tls_name: &str) -> Option<Judgement>;
    /// Digest of the policy's text.
    fn digest(&self) -> Digest;
}
