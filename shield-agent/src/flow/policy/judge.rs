//! Judging: all rules that may be about a request, and the strictest of those that are.

use jiff::Timestamp;

use super::facts::{Facts, HeadFacts};
use super::matcher::{Fit, Lean};
use super::rule::{Exception, Rule};
use super::verdict::{HoldTerms, Judgement, NameAsked, Subject, Verdict};
use super::{Mode, Policy};
use crate::flow::accept::Flow;
use crate::flow::http::canonical::RequestHead;
use crate::flow::inspect;
use crate::flow::inspect::action::{Action, Effect};
use crate::flow::judge::Judge;
use crate::names::{AgentName, Digest, RuleId};
use crate::networks::Networks;

impl Judge for Policy {
    fn body_need(&self, agent: &AgentName, head: &RequestHead, now: Timestamp) -> bool {
        let facts = HeadFacts::new(agent, head);
        let read_only = self.mode == Mode::ReadOnly && inspect::needs_body(head);
        read_only
            || self.index.candidates(&head.host).into_iter().any(|position| {
                let rule = &self.rules[position];
                let exceptions = self.exceptions_of(rule);
                if exceptions.iter().any(|exception| exception.covers_head(&facts, now)) {
                    return false;
                }
                let matters = rule.test.matcher.fits_head(&facts, rule.lean()).counts(rule.lean());
                rule.test.needs_body(&facts, rule.lean())
                    || matters && exceptions.iter().any(|exception| exception.needs_body(&facts, now))
            })
    }

    fn classify(&self, head: &RequestHead, body: Option<&[u8]>) -> Action {
        inspect::classify(head, body)
    }

    fn judge(&self, subject: &Subject<'_>) -> Judgement {
        let facts = Facts::new(subject);
        let mut finding = Finding::default();
        for position in self.index.candidates(&subject.head.host) {
            self.consider(&self.rules[position], &facts, &mut finding);
        }
        self.conclude(&facts, finding)
    }

    fn name(&self, asked: &NameAsked<'_>) -> Judgement {
        self.observe(self.judge_name(asked))
    }

    fn beyond_limits(&self, why: String) -> Judgement {
        self.observe(self.judgement(Verdict::Deny, None, why))
    }

    fn opaque(&self, flow: &Flow) -> Judgement {
        let judged = self.judge_connection(flow, None);
        self.observe(judged.unwrap_or_else(|| self.unread(self.defaults.opaque, None, "defaults.opaque")))
    }

    fn unopened(&self, flow: &Flow, tls_name: &str) -> Option<Judgement> {
        self.judge_connection(flow, Some(tls_name)).map(|judged| self.observe(judged))
    }

    fn networks(&self) -> &Networks {
        &self.networks
    }

    fn digest(&self) -> Digest {
        self.digest
    }
}

/// What was found while rules were considered.
#[derive(Default)]
struct Finding<'a> {
    strictest: Option<&'a Rule>,
    /// A rule could not look at the body it needs.
    undecodable: Option<&'a Rule>,
    observed: Vec<(RuleId, Verdict)>,
}

impl Policy {
    pub(super) fn exceptions_of(&self, rule: &Rule) -> &[Exception] {
        self.exceptions.get(&rule.id).map_or(&[], Vec::as_slice)
    }

    fn consider<'a>(&'a self, rule: &'a Rule, facts: &Facts<'_>, finding: &mut Finding<'a>) {
        let fit = rule.test.fits(facts, rule.lean());
        if matches!(fit, Fit::No(_)) {
            return;
        }
        let now = facts.subject.now;
        if self.exceptions_of(rule).iter().any(|exception| exception.covers(facts, now)) {
            return;
        }
        if matches!(fit, Fit::Unsure(_)) && facts.body().uninspectable && !rule.observe {
            finding.undecodable = finding.undecodable.or(Some(rule));
        }
        if !fit.counts(rule.lean()) {
            return;
        }
        if rule.observe {
            finding.observed.push((rule.id.clone(), rule.verdict));
            return;
        }
        // Of equally strict rules the first by id decides, so that the order in the files never matters.
        let stricter = |other: &Rule| (rule.verdict, &other.id) > (other.verdict, &rule.id);
        if finding.strictest.is_none_or(stricter) {
            finding.strictest = Some(rule);
        }
    }

    fn conclude(&self, facts: &Facts<'_>, finding: Finding<'_>) -> Judgement {
        let mut judgement = match finding.strictest {
            Some(rule) => {
                let judged = self.judgement(rule.verdict, Some(rule.id.clone()), rule.why.clone());
                Judgement { terms: rule.terms.clone(), ..judged }
            }
            None => self.unmatched(facts.subject.head),
        };
        if let Some(rule) = finding.undecodable {
            let why = format!(
                "rule {} must look at the body, and it cannot be decoded: defaults.uninspectable",
                rule.id
            );
            judgement = self.stricter(judgement, self.defaults.uninspectable, why);
        }
        let writes = || facts.subject.action.effect != Effect::Read || facts.action_is_uncertain();
        if self.mode == Mode::ReadOnly && writes() {
            judgement = self.stricter(judgement, Verdict::Hold, "mode: read-only holds every write".into());
        }
        judgement.observed = finding.observed;
        judgement.observed.retain(|(_, verdict)| *verdict > judgement.verdict);
        self.observe(judgement)
    }

    fn unmatched(&self, head: &RequestHead) -> Judgement {
        if self.knows(&head.host) {
            let why = "no rule is about this request: defaults.unmatched".to_owned();
            return self.judgement(self.defaults.unmatched, None, why);
        }
        let why = format!(
            "no rule is about this request, and {} is not a known host: defaults.unknown_host",
            head.host
        );
        self.judgement(self.defaults.unknown_host, None, why)
    }

    /// Whether a host is not strange.
    pub(super) fn knows(&self, host: &str) -> bool {
        self.known_hosts.is_empty() || self.known_hosts.iter().any(|known| known.matches(host))
    }

    fn stricter(&self, judgement: Judgement, verdict: Verdict, why: String) -> Judgement {
        if verdict > judgement.verdict { self.judgement(verdict, None, why) } else { judgement }
    }

    /// With `mode: observe`, what would have happened is written down and does not happen.
    fn observe(&self, mut judgement: Judgement) -> Judgement {
        if self.mode == Mode::Observe && judgement.verdict != Verdict::Allow {
            let rule = judgement.rule.take().unwrap_or_else(|| RuleId("defaults".into()));
            judgement.why = format!("mode: observe; {rule} says: {}", judgement.why);
            judgement.observed.push((rule, judgement.verdict));
            judgement.verdict = Verdict::Allow;
            judgement.terms = HoldTerms::default();
        }
        judgement
    }

    pub(super) fn judgement(&self, verdict: Verdict, rule: Option<RuleId>, why: String) -> Judgement {
        let (terms, observed) = (HoldTerms::default(), vec![]);
        Judgement { verdict, rule, why, terms, observed, policy: self.digest }
    }
}

/// How a rule's fit is told to people; see [`super::explain`].
pub(super) fn told(fit: Fit, lean: Lean) -> (bool, &'static str) {
    match fit {
        Fit::Yes => (true, ""),
        Fit::No(key) | Fit::Unsure(key) => (fit.counts(lean), key),
    }
}
