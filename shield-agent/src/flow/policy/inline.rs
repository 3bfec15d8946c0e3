//! The tests a policy carries, and requests made up by hand.

use std::net::Ipv4Addr;

use jiff::Timestamp;

use super::read::head_of;
use super::verdict::{BodyView, Judgement, Subject, Verdict};
use super::{Explanation, Policy};
use crate::flow::http::canonical::{Header, RequestHead};
use crate::flow::inspect;
use crate::flow::origin::{Caller, Destination};
use crate::names::{AgentName, RuleId};

/// A request and what is expected of the policy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InlineTest {
    /// The file it stands in.
    pub file: String,
    /// Its line.
    pub line: usize,
    /// Its name.
    pub name: String,
    /// Who asks.
    pub agent: AgentName,
    /// When; now, when absent.
    pub at: Option<Timestamp>,
    /// The request.
    pub head: RequestHead,
    /// Its body.
    pub body: Vec<u8>,
    /// The verdict that is expected.
    pub verdict: Verdict,
    /// The rule that is expected to decide, when it matters.
    pub rule: Option<RuleId>,
}

impl InlineTest {
    /// Judges the request. `Err` holds the judgement that was not expected.
    pub fn run(&self, policy: &Policy, now: Timestamp) -> Result<(), Box<Judgement>> {
        let made = MadeUp { agent: self.agent.clone(), head: self.head.clone(), body: self.body.clone() };
        let judgement = made.explain(policy, self.at.unwrap_or(now)).judgement;
        let as_expected =
            judgement.verdict == self.verdict && (self.rule.is_none() || self.rule == judgement.rule);
        if as_expected { Ok(()) } else { Err(Box::new(judgement)) }
    }
}

/// A request nobody sent.
#[derive(Clone, Debug)]
pub struct MadeUp {
    /// Who would ask.
    pub agent: AgentName,
    /// The request.
    pub head: RequestHead,
    /// Its body.
    pub body: Vec<u8>,
}

impl MadeUp {
    /// From a method, a URL, header fields and a body; the error says what is wrong with the URL.
    pub fn new(
        agent: AgentName,
        method: &str,
        url: &str,
        headers: &[(String, String)],
        body: Vec<u8>,
    ) -> Result<Self, String> {
        let mut head = head_of(method, url)?;
        let field = |(name, value): &(String, String)| Header {
            name: name.to_ascii_lowercase(),
            value: value.trim().as_bytes().to_vec(),
        };
        head.headers = headers.iter().map(field).collect();
        Ok(Self { agent, head, body })
    }

    /// What a policy makes of it.
    pub fn explain(&self, policy: &Policy, now: Timestamp) -> Explanation {
        let caller = Caller::default();
        let port = self.head.port;
        let destination = Destination { ip: Ipv4Addr::UNSPECIFIED.into(), port, verified_name: None };
        let action = inspect::classify(&self.head, Some(&self.body));
        policy.explain(&Subject {
            agent: &self.agent,
            caller: &caller,
            destination: &destination,
            head: &self.head,
            body: BodyView::Whole(&self.body),
            action: &action,
            now,
        })
    }
}
