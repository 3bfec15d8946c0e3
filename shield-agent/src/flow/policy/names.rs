//! Names: a question about a host may leave when some request to that host could pass or be held, for a name is a message
//! to whoever answers it.

use super::Policy;
use super::rule::Rule;
use super::verdict::{Judgement, NameAsked, Verdict};

impl Policy {
    /// `deny` when nothing an agent could ask of the host would pass or be held, else `allow`.
    pub(super) fn judge_name(&self, asked: &NameAsked<'_>) -> Judgement {
        let (agent, host) = (asked.agent.as_str(), asked.host);
        let candidates = self.index.candidates(host).into_iter().map(|position| &self.rules[position]);
        let rules: Vec<&Rule> =
            candidates.filter(|rule| !rule.observe && rule.test.matcher.may_be_about(agent, host)).collect();
        if let Some(rule) = self.denies_everything(&rules, asked) {
            return self.judgement(Verdict::Deny, Some(rule.id.clone()), rule.why.clone());
        }
        let known = self.knows(host);
        let (default, key) = match known {
            true => (self.defaults.unmatched, "unmatched"),
            false => (self.defaults.unknown_host, "unknown_host"),
        };
        if default != Verdict::Deny || rules.iter().any(|rule| opens(rule, known)) {
            return self.judgement(Verdict::Allow, None, String::new());
        }
        let why = format!("no request to this host could pass: defaults.{key}");
        self.judgement(Verdict::Deny, None, why)
    }

    /// A rule that denies every request to the host, and has no exception that could be about it.
    fn denies_everything<'a>(&self, rules: &[&'a Rule], asked: &NameAsked<'_>) -> Option<&'a Rule> {
        let (agent, host, now) = (asked.agent.as_str(), asked.host, asked.now);
        let excepted = |rule: &Rule| {
            self.exceptions_of(rule).iter().any(|exception| exception.may_cover(agent, host, now))
        };
        let deny = rules.iter().copied().filter(|rule| rule.verdict == Verdict::Deny);
        deny.filter(|rule| rule.test.is_unconditional() && !excepted(rule)).min_by(|a, b| a.id.cmp(&b.id))
    }
}

/// Whether a rule lets something pass that the default would deny.
///
/// One that holds and is about every host is a precaution: it does not make strange hosts known.
fn opens(rule: &Rule, known: bool) -> bool {
    match rule.verdict {
        Verdict::Allow => true,
        Verdict::Hold => known || rule.test.matcher.names_hosts(),
        Verdict::Deny => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flow::judge::Judge as _;

    const STRICT: &str =
        "defaults: { unknown_host: deny }\nhosts: { known: [known.example, '*.acme.internal'] }\n";

    fn judged(policy: &str, agent: &str, host: &str) -> Judgement {
        let text = format!("version: 1\n{policy}");
        let policy = Policy::compile(&[("test".to_owned(), text)]).unwrap();
        policy.name(&NameAsked {
            agent: &agent.parse().unwrap(),
            host,
            now: "2026-06-01T00:00:00Z".parse().unwrap(),
        })
    }

    fn leaves(policy: &str, host: &str) -> bool {
        judged(policy, "bot", host).verdict == Verdict::Allow
    }

    fn rule(id: &str, verdict: &str, test: &str) -> String {
        format!("  - {{ id: {id}, verdict: {verdict}, why: because, {test} }}\n")
    }

    #[test]
    fn names_of_strange_hosts_leave_unless_the_default_denies_them() {
        assert!(leaves("", "anything.example"));
        assert!(leaves("defaults: { unknown_host: hold }\nhosts: { known: [a.example] }\n", "b.example"));
        for (host, expected) in [
            ("known.example", true),
            ("a.b.acme.internal", true),
            ("acme.internal", false),
            ("x.known.example", false),
            ("192.0.2.7", false),
        ] {
            assert_eq!(leaves(STRICT, host), expected, "{host}");
        }
        let why = judged(STRICT, "bot", "evil.example");
        assert_eq!(
            (why.why.as_str(), why.rule),
            ("no request to this host could pass: defaults.unknown_host", None)
        );
        let closed = "defaults: { unmatched: deny }\n";
        assert!(!leaves(closed, "a.example"));
    }

    #[test]
    fn a_rule_that_lets_something_pass_or_wait_opens_the_name() {
        for (verdict, test, expected) in [
            ("allow", "match: { host: [evil.example], method: [GET] }", true),
            ("hold", "match: { host: ['*.evil.example', evil.example] }", true),
            ("hold", "match: { host: [other.example] }", false),
            ("allow", "match: { method: [GET] }", true),
            ("allow", "when: 'request.host == \"elsewhere.example\"'", true),
            ("allow", "match: { agent: [deploy-*], method: [GET] }", false),
            // The starter policy is made of these.
            ("hold", "match: { method: [DELETE] }", false),
            ("hold", "match: { host: ['*'], method: [DELETE] }", false),
            ("allow", "match: { host: [evil.example] }, mode: observe", false),
        ] {
            let policy = format!("{STRICT}rules:\n{}", rule("r", verdict, test));
            assert_eq!(leaves(&policy, "evil.example"), expected, "{verdict} {test}");
        }
        let held = format!(
            "defaults: {{ unmatched: deny }}\nrules:\n{}",
            rule("r", "hold", "match: { method: [POST] }")
        );
        assert!(leaves(&held, "a.example"), "without strange hosts, whatever can be held can be asked for");
    }

    #[test]
    fn a_deny_closes_a_name_only_when_it_is_about_every_request() {
        for (test, expected) in [
            ("match: { host: ['*.evil.example'] }", false),
            ("match: { host: ['*.evil.example'], agent: [bot] }", false),
            ("match: { host: ['*.evil.example'], agent: [other] }", true),
            ("match: { host: ['*.evil.example'], method: [POST] }", true),
            ("match: { host: ['*.evil.example'], path: '/admin/{rest..}' }", true),
            ("match: { host: ['*.evil.example'], effect: [delete] }", true),
            ("match: { host: ['*.evil.example'] }, when: 'request.port == 443'", true),
            ("match: { host: ['*.evil.example'] }, unless: 'caller.uid == 0'", true),
            ("match: { host: ['*.evil.example'] }, mode: observe", true),
            ("match: { agent: ['*'] }", false),
        ] {
            let policy = format!("rules:\n{}", rule("r", "deny", test));
            assert_eq!(leaves(&policy, "x.evil.example"), expected, "{test}");
        }
        let two = ["b", "a"].map(|id| rule(id, "deny", "match: { host: [evil.example] }")).concat();
        let allowed = rule("c", "allow", "match: { host: [evil.example] }");
        let denied = judged(&format!("rules:\n{two}{allowed}"), "bot", "evil.example");
        assert_eq!((denied.verdict, denied.rule.unwrap().0.as_str()), (Verdict::Deny, "a"));
    }

    #[test]
    fn an_exception_that_may_apply_opens_the_name_until_it_is_over() {
        let deny = rule("r", "deny", "match: { host: ['*.evil.example'] }");
        for (exception, expected) in [
            ("match: { path: /health }", true),
            ("when: 'caller.uid == 0'", true),
            ("match: { host: [a.evil.example] }", true),
            ("match: { host: [b.evil.example] }", false),
            ("match: { agent: [other] }", false),
            ("match: { path: /health }, until: 2026-05-31", false),
        ] {
            let policy = format!("rules:\n{deny}exceptions:\n  - {{ of: r, why: because, {exception} }}\n");
            assert_eq!(leaves(&policy, "a.evil.example"), expected, "{exception}");
        }
    }

    #[test]
    fn in_observe_mode_every_name_leaves_and_it_is_said_which_would_not() {
        let observed = judged(&format!("mode: observe\n{STRICT}"), "bot", "evil.example");
        assert_eq!((observed.verdict, observed.observed.len()), (Verdict::Allow, 1));
        let policy =
            Policy::compile(&[("test".to_owned(), "version: 1\nmode: observe\n".to_owned())]).unwrap();
        assert_eq!(policy.beyond_limits("too much".into()).verdict, Verdict::Allow);
    }
}
