//! Why a request is judged as it is: every rule, and what made it match or not.

use serde::Serialize;

use super::Policy;
use super::facts::Facts;
use super::judge::told;
use super::matcher::Fit;
use super::verdict::{Judgement, NameAsked, Subject, Verdict};
use crate::flow::judge::Judge as _;
use crate::names::RuleId;

/// A judgement with its reasons.
#[derive(Debug, Serialize)]
pub struct Explanation {
    /// What happens.
    pub judgement: Judgement,
    /// Whether the host's name may be asked for; `None` when the host is an address.
    pub name: Option<Judgement>,
    /// Every rule, in the order of the files.
    pub rules: Vec<RuleTrace>,
}

/// What one rule says.
#[derive(Debug, Serialize)]
pub struct RuleTrace {
    /// Which.
    pub rule: RuleId,
    /// Its verdict, if it counts.
    pub verdict: Verdict,
    /// Whether it counts.
    pub outcome: Outcome,
    /// The key that decided: what did not match, or could not be evaluated. Empty when all matched.
    pub key: &'static str,
}

/// Whether a rule counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// Every key matches.
    Matches,
    /// A key does not match.
    DoesNotMatch,
    /// A key cannot be evaluated, and that counts as a match.
    CountsInDoubt,
    /// A key cannot be evaluated, and that counts as no match.
    DoesNotCountInDoubt,
    /// It matches, and an exception covers the request.
    Excepted,
    /// It matches, and is only tried out.
    Observed,
}

impl Policy {
    /// Judges a request and says why.
    pub fn explain(&self, subject: &Subject<'_>) -> Explanation {
        let facts = Facts::new(subject);
        let trace = |rule: &super::rule::Rule| {
            let fit = rule.test.fits(&facts, rule.lean());
            let (counts, key) = told(fit, rule.lean());
            let excepted =
                || self.exceptions_of(rule).iter().any(|exception| exception.covers(&facts, subject.now));
            let outcome = match (counts, fit) {
                (true, _) if excepted() => Outcome::Excepted,
                (true, _) if rule.observe => Outcome::Observed,
                (true, Fit::Unsure(_)) => Outcome::CountsInDoubt,
                (true, _) => Outcome::Matches,
                (false, Fit::Unsure(_)) => Outcome::DoesNotCountInDoubt,
                (false, _) => Outcome::DoesNotMatch,
            };
            RuleTrace { rule: rule.id.clone(), verdict: rule.verdict, outcome, key }
        };
        let host = &subject.head.host;
        let is_name = host.parse::<std::net::IpAddr>().is_err();
        let name = is_name.then(|| self.name(&NameAsked { agent: subject.agent, host, now: subject.now }));
        Explanation { judgement: self.judge(subject), name, rules: self.rules.iter().map(trace).collect() }
    }
}
