//! Rules about connections.

use super::super::Policy;
use crate::flow::accept::Flow;
use crate::flow::judge::Judge as _;
use crate::flow::origin::Caller;
use crate::flow::policy::verdict::Verdict;
use crate::names::RuleId;

const RULES: &str = r#"
version: 1
rules:
  - { id: git-ssh, verdict: allow, why: our git server, connection: { address: 10.1.2.3, port: 22 } }
  - { id: no-lab, verdict: deny, why: the lab is closed, connection: { address: 10.9.0.0/16 } }
  - { id: lab, verdict: allow, why: the lab, connection: { address: 10.0.0.0/8, port: [5432], agent: ["db-*"] } }
  - id: updater
    verdict: allow
    why: it pins its certificate
    connection: { address: [198.51.100.0/24], tls_name: "*.vendor.example" }
"#;

fn flow(agent: &str, original: &str) -> Flow {
    let caller = Caller { pid: 1, ..Caller::default() };
    Flow { agent: agent.parse().unwrap(), caller, original: original.parse().unwrap() }
}

fn compile(text: &str) -> Result<Policy, String> {
    Policy::compile(&[("p.yaml".into(), text.into())]).map_err(|mistakes| mistakes.to_string())
}

#[test]
fn only_what_a_rule_names_by_where_it_goes_passes_unread() {
    let policy = compile(RULES).unwrap();
    let judged = |agent, original| {
        let judgement = policy.opaque(&flow(agent, original));
        (judgement.verdict, judgement.rule.map_or(String::new(), |rule| rule.0))
    };
    assert_eq!(judged("bot", "10.1.2.3:22"), (Verdict::Allow, "git-ssh".into()));
    assert_eq!(judged("bot", "10.1.2.3:23"), (Verdict::Deny, String::new()));
    assert_eq!(judged("bot", "10.1.2.4:22"), (Verdict::Deny, String::new()));
    assert_eq!(judged("db-1", "10.5.5.5:5432"), (Verdict::Allow, "lab".into()));
    assert_eq!(judged("bot", "10.5.5.5:5432"), (Verdict::Deny, String::new()));
    assert_eq!(judged("db-1", "10.9.5.5:5432"), (Verdict::Deny, "no-lab".into()), "the strictest wins");
}

#[test]
fn a_tls_session_is_kept_shut_only_for_its_name_and_address() {
    let policy = compile(RULES).unwrap();
    let kept =
        |original, name| policy.unopened(&flow("bot", original), name).map(|judgement| judgement.verdict);
    assert_eq!(kept("198.51.100.7:443", "updates.vendor.example"), Some(Verdict::Allow));
    assert_eq!(kept("198.51.100.7:443", "api.example.com"), None);
    assert_eq!(kept("203.0.113.7:443", "updates.vendor.example"), None);
    assert_eq!(kept("10.1.2.3:22", "updates.vendor.example"), None, "a rule without names is not about TLS");
    let opaque = policy.opaque(&flow("bot", "198.51.100.7:443"));
    assert_eq!(opaque.verdict, Verdict::Deny, "a rule with names is about TLS alone");
}

#[test]
fn a_default_lets_connections_pass_unread_only_when_it_says_allow() {
    for (word, verdict) in [("allow", Verdict::Allow), ("hold", Verdict::Deny), ("deny", Verdict::Deny)] {
        let policy = compile(&format!("version: 1\ndefaults: {{ opaque: {word} }}\n")).unwrap();
        let judgement = policy.opaque(&flow("bot", "10.1.2.3:22"));
        assert_eq!(judgement.verdict, verdict);
        assert!(judgement.why.starts_with("defaults.opaque"));
    }
}

#[test]
fn who_may_only_read_connects_to_nothing_unread_and_who_is_observed_to_everything() {
    let with =
        |mode: &str| compile(&RULES.replace("version: 1", &format!("version: 1\nmode: {mode}"))).unwrap();
    let allowed = flow("bot", "10.1.2.3:22");
    let read_only = with("read-only").opaque(&allowed);
    assert_eq!(read_only.verdict, Verdict::Deny);
    assert!(read_only.why.contains("mode: read-only"), "{}", read_only.why);
    let observed = with("observe").opaque(&flow("bot", "10.9.5.5:5432"));
    assert_eq!(observed.verdict, Verdict::Allow);
    assert_eq!(observed.observed, [(RuleId("no-lab".into()), Verdict::Deny)]);
}

#[test]
fn a_rule_about_connections_says_where_and_does_not_wait() {
    let rule = |verdict: &str, rest: &str| {
        compile(&format!("version: 1\nrules:\n  - {{ id: a, verdict: {verdict}, why: b, {rest} }}\n"))
            .unwrap_err()
    };
    for (verdict, rest, complaint) in [
        ("allow", "connection: { port: 22 }", "`address` is missing"),
        ("hold", "connection: { address: 10.0.0.1 }", "cannot wait for a person"),
        ("allow", "connection: { address: ten }", "expected an address or a range"),
        ("allow", "connection: { address: 10.0.0.1, port: 0 }", "expected a port"),
        ("allow", "connection: { address: 10.0.0.1 }, match: { host: a }", "is about requests"),
        ("allow", "connection: { address: 10.0.0.1, host: a }", "unknown key `host`"),
    ] {
        let told = rule(verdict, rest);
        assert!(told.contains(complaint), "{rest}: {told}");
    }
    let exception = "version: 1\nrules:\n  - { id: a, verdict: deny, why: b, connection: { port: 1 } }\n\
        exceptions:\n  - { of: a, why: c, match: { host: d } }\n";
    assert!(compile(exception).unwrap_err().contains("write its limits into the rule"));
}
