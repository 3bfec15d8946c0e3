//! Rules and the exceptions to them.

use jiff::Timestamp;

use super::condition::Condition;
use super::facts::{Facts, HeadFacts};
use super::matcher::{Fit, Lean, Matcher};
use super::verdict::{HoldTerms, Verdict};
use crate::flow::inspect;
use crate::names::RuleId;

/// A matcher and conditions: what rules and exceptions have in common.
#[derive(Debug)]
pub(super) struct Test {
    pub(super) matcher: Matcher,
    pub(super) when: Option<Condition>,
    pub(super) unless: Option<Condition>,
}

/// A rule.
#[derive(Debug)]
pub(super) struct Rule {
    pub(super) id: RuleId,
    pub(super) verdict: Verdict,
    pub(super) why: String,
    pub(super) test: Test,
    pub(super) terms: HoldTerms,
    /// Whether it is only tried out.
    pub(super) observe: bool,
}

/// A limit to a rule.
#[derive(Debug)]
pub(super) struct Exception {
    pub(super) test: Test,
    /// The first moment it no longer holds.
    pub(super) until: Option<Timestamp>,
}

impl Test {
    /// Whether it is about this request.
    pub(super) fn fits(&self, facts: &Facts<'_>, lean: Lean) -> Fit {
        let holds = |condition: &Option<Condition>, wanted: bool, key: &'static str| match condition {
            None => Fit::Yes,
            Some(condition) => match condition.evaluate(facts) {
                None => Fit::Unsure(key),
                Some(value) if value == wanted => Fit::Yes,
                Some(_) => Fit::No(key),
            },
        };
        let matched = self.matcher.fits(facts, lean);
        matched.and(|| holds(&self.when, true, "when")).and(|| holds(&self.unless, false, "unless"))
    }

    /// Whether nothing but the head decides, and it decides for certain.
    fn is_certain(&self, facts: &HeadFacts<'_>) -> bool {
        let head_only = !self.matcher.reads_body() && !self.matcher.reads_action();
        let unconditional = self.when.is_none() && self.unless.is_none();
        head_only && unconditional && self.matcher.fits_head(facts, Lean::Loose) == Fit::Yes
    }

    /// Whether it is about every request of those agents to those hosts, whatever the request is.
    pub(super) fn is_unconditional(&self) -> bool {
        self.matcher.reads_only_agent_and_host() && self.when.is_none() && self.unless.is_none()
    }

    /// Whether a body could change what it says of a request with this head.
    pub(super) fn needs_body(&self, facts: &HeadFacts<'_>, lean: Lean) -> bool {
        let conditions = || self.when.iter().chain(&self.unless);
        let reads_body = self.matcher.reads_body() || conditions().any(|condition| condition.reads_body);
        let reads_action =
            self.matcher.reads_action() || conditions().any(|condition| condition.reads_action);
        (reads_body || reads_action && inspect::needs_body(facts.head))
            && self.matcher.fits_head(facts, lean) == Fit::Yes
    }
}

impl Rule {
    /// Which way doubt goes: against the request.
    pub(super) fn lean(&self) -> Lean {
        if self.verdict == Verdict::Allow { Lean::Loose } else { Lean::Strict }
    }
}

impl Exception {
    /// Whether it may take some request of `agent` to `host` out of its rule.
    pub(super) fn may_cover(&self, agent: &str, host: &str, now: Timestamp) -> bool {
        !self.is_over(now) && self.test.matcher.may_be_about(agent, host)
    }

    fn is_over(&self, now: Timestamp) -> bool {
        self.until.is_some_and(|until| now >= until)
    }

    /// Whether it takes a request out of its rule.
    pub(super) fn covers(&self, facts: &Facts<'_>, now: Timestamp) -> bool {
        !self.is_over(now) && self.test.fits(facts, Lean::Loose) == Fit::Yes
    }

    /// Whether it does so whatever the body says.
    pub(super) fn covers_head(&self, facts: &HeadFacts<'_>, now: Timestamp) -> bool {
        !self.is_over(now) && self.test.is_certain(facts)
    }

    /// Whether a body could change what it says.
    pub(super) fn needs_body(&self, facts: &HeadFacts<'_>, now: Timestamp) -> bool {
        !self.is_over(now) && self.test.needs_body(facts, Lean::Loose)
    }
}
