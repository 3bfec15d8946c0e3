//! What a policy file says and what comes of it.

mod connections;
mod inline;
mod reading;

use jiff::Timestamp;
use proptest::prelude::*;

use super::inline::MadeUp;
use super::verdict::{BodyView, Judgement, Subject, Verdict};
use super::{Outcome, Policy};
use crate::flow::http::canonical::{Header, RequestHead};
use crate::flow::inspect;
use crate::flow::judge::Judge as _;
use crate::flow::origin::{Caller, Destination};
use crate::names::AgentName;

fn compile(text: &str) -> Policy {
    Policy::compile(&[("p.yaml".into(), format!("version: 1\n{text}"))])
        .unwrap_or_else(|error| panic!("{error}"))
}

fn now() -> Timestamp {
    "2026-11-24T12:00:00Z".parse().unwrap()
}

fn agent(name: &str) -> AgentName {
    name.parse().unwrap()
}

fn judge_as(
    policy: &Policy,
    who: &str,
    method: &str,
    url: &str,
    headers: &[(&str, &str)],
    body: BodyView<'_>,
) -> Judgement {
    let mut head: RequestHead = MadeUp::new(agent(who), method, url, &[], vec![]).unwrap().head;
    let header =
        |(name, value): &(&str, &str)| Header { name: (*name).into(), value: value.as_bytes().to_vec() };
    head.headers = headers.iter().map(header).collect();
    let known = if let BodyView::Whole(body) = body { Some(body) } else { None };
    policy.judge(&Subject {
        agent: &agent(who),
        caller: &Caller {
            pid: 1,
            uid: 1001,
            exe: "/usr/bin/python3".into(),
            comm: "python3".into(),
            ..Caller::default()
        },
        destination: &Destination { ip: [192, 0, 2, 7].into(), port: 443, verified_name: None },
        head: &head,
        body,
        action: &inspect::classify(&head, known),
        now: now(),
    })
}

fn judge(policy: &Policy, method: &str, url: &str, body: &str) -> Judgement {
    let json = [("content-type", "application/json")];
    judge_as(policy, "bot", method, url, &json, BodyView::Whole(body.as_bytes()))
}

fn verdict(policy: &Policy, method: &str, url: &str, body: &str) -> Verdict {
    judge(policy, method, url, body).verdict
}

const CUSTOMERS: &str = r#"
rules:
  - id: delete
    verdict: hold
    why: deletes cannot be undone
    match: { host: ["*.acme.internal"], method: [DELETE], path: "/v1/customers/{id}" }
    hold: { wait: 30s, expires: 15m, pending_status: 403 }
"#;

#[test]
fn a_rule_is_about_what_all_its_keys_match() {
    let policy = compile(CUSTOMERS);
    let held = judge(&policy, "DELETE", "https://crm.acme.internal/v1/customers/8821", "");
    assert_eq!((held.verdict, held.rule.unwrap().0.as_str()), (Verdict::Hold, "delete"));
    assert_eq!(held.terms.pending_status, Some(403));
    for (method, url) in [
        ("GET", "https://crm.acme.internal/v1/customers/8821"),
        ("DELETE", "https://crm.acme.example/v1/customers/8821"),
        ("DELETE", "https://crm.acme.internal/v1/customers"),
        ("DELETE", "https://crm.acme.internal/v2/customers/8821"),
    ] {
        assert_eq!(verdict(&policy, method, url, ""), Verdict::Allow, "{method} {url}");
    }
}

#[test]
fn no_spelling_of_a_path_or_method_is_a_way_around_a_rule() {
    let policy = compile(CUSTOMERS);
    let url = |path: &str| format!("https://crm.acme.internal{path}");
    for path in [
        "/v1//customers/8821",
        "/v1/./customers/8821",
        "/v1/a/../customers/8821",
        "/v1/%63ustomers/8821",
        "/v1/customers/%38821",
        "/v1/customers/8821/",
        "/v1/customers/8821;x=y",
        "/v1/%252e/customers/8821",
    ] {
        assert_eq!(verdict(&policy, "DELETE", &url(path), ""), Verdict::Hold, "{path}");
    }
    let plain = url("/v1/customers/8821");
    assert_eq!(verdict(&policy, "delete", &plain, ""), Verdict::Hold);
    assert_eq!(verdict(&policy, "POST", &format!("{plain}?_method=DELETE"), ""), Verdict::Hold);
    let overridden = [("x-http-method-override", "DELETE")];
    let judged = judge_as(&policy, "bot", "POST", &plain, &overridden, BodyView::Whole(b""));
    assert_eq!(judged.verdict, Verdict::Hold);
}

#[test]
fn what_permits_must_match_every_spelling() {
    let policy = compile(
        r#"
rules:
  - { id: writes, verdict: deny, why: no, match: { method: [PUT] } }
exceptions:
  - { of: writes, why: disposable, match: { path: "/sandbox/{rest..}" } }
"#,
    );
    assert_eq!(verdict(&policy, "PUT", "https://a.example/sandbox/x", ""), Verdict::Allow);
    for path in ["/sandbox/../production/x", "/sandbox/%2e%2e/production", "/sandbox/..%2fproduction"] {
        assert_eq!(verdict(&policy, "PUT", &format!("https://a.example{path}"), ""), Verdict::Deny, "{path}");
    }
}

#[test]
fn an_exception_is_of_its_rule_only_and_ends_with_its_day() {
    let with = |until: &str| {
        compile(&format!(
            r#"
rules:
  - {{ id: delete, verdict: hold, why: x, match: {{ method: [DELETE] }} }}
  - {{ id: other, verdict: deny, why: x, match: {{ method: [DELETE], path: "/locked" }} }}
exceptions:
  - {{ of: delete, why: x, match: {{ host: a.example }}, until: {until} }}
"#
        ))
    };
    let today = with("2026-11-24");
    assert_eq!(verdict(&today, "DELETE", "https://a.example/x", ""), Verdict::Allow);
    assert_eq!(verdict(&today, "DELETE", "https://b.example/x", ""), Verdict::Hold);
    assert_eq!(verdict(&today, "DELETE", "https://a.example/locked", ""), Verdict::Deny);
    assert_eq!(verdict(&with("2026-11-23"), "DELETE", "https://a.example/x", ""), Verdict::Hold);
    assert_eq!(verdict(&with("2026-11-24T11:59:59Z"), "DELETE", "https://a.example/x", ""), Verdict::Hold);
}

#[test]
fn a_condition_that_cannot_be_evaluated_counts_against_the_request() {
    let rule = |verdict: &str, key: &str| {
        compile(&format!(
            "rules:\n  - {{ id: r, verdict: {verdict}, why: x, match: {{ method: [POST] }}, {key} }}\n\
             defaults: {{ unmatched: deny }}\n"
        ))
    };
    let judged = |policy: &Policy, body: &str| verdict(policy, "POST", "https://a.example/x", body);
    let hold = rule("hold", "when: request.json.cascade == true");
    assert_eq!(judged(&hold, r#"{"cascade":true}"#), Verdict::Hold);
    assert_eq!(judged(&hold, r#"{"cascade":false}"#), Verdict::Deny, "the default");
    assert_eq!(judged(&hold, "{}"), Verdict::Hold, "the field is missing");
    assert_eq!(judged(&hold, r#"{"cascade":false,"cascade":true}"#), Verdict::Hold, "servers differ");
    let has = rule("hold", "when: has(request.json.cascade) && request.json.cascade");
    assert_eq!(judged(&has, "{}"), Verdict::Deny);
    assert_eq!(judged(&has, "not json"), Verdict::Hold, "has() of nothing cannot be evaluated");
    let unless = rule("hold", "unless: request.json.dry_run == true");
    assert_eq!(judged(&unless, r#"{"dry_run":true}"#), Verdict::Deny, "the default");
    assert_eq!(judged(&unless, "{}"), Verdict::Hold);
    let allow = rule("allow", "when: request.json.safe == true");
    assert_eq!(judged(&allow, r#"{"safe":true}"#), Verdict::Allow);
    assert_eq!(judged(&allow, "{}"), Verdict::Deny);
}

#[test]
fn conditions_see_the_request_the_action_and_who_asks() {
    let holds = |condition: &str| {
        let condition = condition.replace('\'', "''");
        let text = format!(
            "rules:\n  - {{ id: r, verdict: deny, why: x, match: {{ method: [POST] }}, when: '{condition}' }}\n"
        );
        let body = r#"{"items":[{"id":7},{"id":8}],"n":3,"name":"x"}"#;
        verdict(&compile(&text), "POST", "https://crm.acme.internal:8443/v1/items/9?force=1&q=a+b", body)
            == Verdict::Deny
    };
    for condition in [
        "request.method == 'POST' && request.scheme == 'https' && request.host == 'crm.acme.internal'",
        "request.port == 8443 && request.path == '/v1/items/9' && request.segments[1] == 'items'",
        "request.query.force == '1' && request.query.q == 'a b'",
        "request.headers['content-type'].startsWith('application/json')",
        "request.json.n > 2 && request.json.n < 4",
        "request.json.items.exists(item, item.id == 8)",
        "request.json.items.size() == 2 && request.text.contains('items') && request.size > 10",
        "request.text.matches('(?i)\"NAME\"')",
        "action.effect == 'write' && action.family == 'http'",
        "agent == 'bot' && caller.uid == 1001 && caller.exe.endsWith('python3')",
        "destination.port == 443 && destination.ip == '192.0.2.7'",
    ] {
        assert!(holds(condition), "{condition}");
    }
    for condition in ["request.json.n > 3", "request.query.force == '2'", "agent == 'other'"] {
        assert!(!holds(condition), "{condition}");
    }
}

#[test]
fn a_query_that_gives_a_name_twice_cannot_be_evaluated() {
    let policy = compile(
        "rules:\n  - { id: r, verdict: hold, why: x, match: { method: [GET] }, \
         when: \"has(request.query.force) && request.query.force == 'true'\" }\n",
    );
    assert_eq!(verdict(&policy, "GET", "https://a.example/?force=true", ""), Verdict::Hold);
    assert_eq!(verdict(&policy, "GET", "https://a.example/?force=false", ""), Verdict::Allow);
    assert_eq!(verdict(&policy, "GET", "https://a.example/?force=false&force=true", ""), Verdict::Hold);
}

#[test]
fn a_body_that_cannot_be_decoded_follows_its_default_where_a_rule_needs_it() {
    let with = |uninspectable: &str| {
        compile(&format!(
            "defaults: {{ uninspectable: {uninspectable} }}\n\
             rules:\n  - {{ id: sql, verdict: hold, why: x, match: {{ method: [POST], body_regex: '(?i)drop\\s+table' }} }}\n"
        ))
    };
    let json = [("content-type", "application/json")];
    let judged = |policy: &Policy, headers: &[(&str, &str)], body: BodyView<'_>| {
        judge_as(policy, "bot", "POST", "https://a.example/x", headers, body).verdict
    };
    let deny = with("deny");
    assert_eq!(judged(&deny, &json, BodyView::Whole(b"{\"q\":\"select 1\"}")), Verdict::Allow);
    assert_eq!(judged(&deny, &json, BodyView::Whole(b"{\"q\":\"DROP  TABLE x\"}")), Verdict::Hold);
    assert_eq!(judged(&deny, &[], BodyView::Whole(b"\xff")), Verdict::Deny);
    assert_eq!(judged(&deny, &[("content-encoding", "gzip")], BodyView::Whole(b"x")), Verdict::Deny);
    assert_eq!(judged(&deny, &json, BodyView::Truncated(b"{")), Verdict::Deny);
    assert_eq!(judged(&with("hold"), &json, BodyView::Truncated(b"{")), Verdict::Hold);
    assert_eq!(
        judged(&with("allow"), &json, BodyView::Truncated(b"{")),
        Verdict::Hold,
        "the rule itself holds"
    );
    let other = judge_as(&deny, "bot", "PUT", "https://a.example/x", &[], BodyView::Whole(b"\xff"));
    assert_eq!(other.verdict, Verdict::Allow, "no rule needs it");
}

#[test]
fn a_body_is_needed_only_where_a_rule_that_may_match_looks_at_it() {
    let policy = compile(
        r#"
rules:
  - { id: sql, verdict: hold, why: x, match: { host: db.example, method: [POST], body_regex: drop } }
  - { id: spend, verdict: hold, why: x, match: { effect: [delete] } }
exceptions:
  - { of: sql, why: x, match: { path: /health } }
"#,
    );
    let needs = |method: &str, url: &str| {
        let head = MadeUp::new(agent("bot"), method, url, &[], vec![]).unwrap().head;
        policy.body_need(&agent("bot"), &head, now())
    };
    assert!(needs("POST", "https://db.example/x"));
    assert!(!needs("GET", "https://db.example/x") && !needs("POST", "https://other.example/x"));
    assert!(!needs("POST", "https://db.example/health"), "an exception covers it whatever the body says");
    assert!(needs("POST", "https://other.example/graphql"), "what it does is in the body");
    assert!(!needs("POST", "https://other.example/upload"));
}

#[test]
fn defaults_apply_where_no_rule_matches() {
    let policy = compile(
        "defaults: { unmatched: hold, unknown_host: deny }\nhosts: { known: [a.example] }\n\
         rules:\n  - { id: r, verdict: allow, why: x, match: { path: /ok } }\n",
    );
    assert_eq!(verdict(&policy, "GET", "https://a.example/", ""), Verdict::Hold);
    assert_eq!(verdict(&policy, "GET", "https://b.example/", ""), Verdict::Deny);
    assert_eq!(verdict(&policy, "GET", "https://b.example/ok", ""), Verdict::Allow);
    assert_eq!(verdict(&compile(""), "DELETE", "https://b.example/", ""), Verdict::Allow);
}

#[test]
fn observing_stops_nothing_and_says_what_would_have_happened() {
    let whole = compile(&format!("mode: observe\n{CUSTOMERS}"));
    let judged = judge(&whole, "DELETE", "https://crm.acme.internal/v1/customers/1", "");
    assert_eq!(judged.verdict, Verdict::Allow);
    assert_eq!((judged.observed[0].0.0.as_str(), judged.observed[0].1), ("delete", Verdict::Hold));
    let one = compile(
        r#"
rules:
  - { id: trial, verdict: deny, why: x, mode: observe, match: { method: [DELETE] } }
  - { id: real, verdict: hold, why: x, match: { path: /x } }
"#,
    );
    let judged = judge(&one, "DELETE", "https://a.example/x", "");
    assert_eq!((judged.verdict, judged.rule.unwrap().0.as_str()), (Verdict::Hold, "real"));
    assert_eq!(judged.observed[0].0.0, "trial");
}

#[test]
fn read_only_holds_everything_but_reads() {
    let policy = compile("mode: read-only");
    assert_eq!(verdict(&policy, "GET", "https://a.example/", ""), Verdict::Allow);
    assert_eq!(verdict(&policy, "POST", "https://a.example/", ""), Verdict::Hold);
    assert_eq!(verdict(&policy, "FROB", "https://a.example/", ""), Verdict::Hold);
    assert_eq!(verdict(&policy, "POST", "https://a.example/graphql", r#"{"query":"{ a }"}"#), Verdict::Allow);
    let deny =
        compile("mode: read-only\nrules: [{ id: r, verdict: deny, why: x, match: { method: [POST] } }]");
    assert_eq!(verdict(&deny, "POST", "https://a.example/", ""), Verdict::Deny);
}

#[test]
fn an_explanation_names_the_key_that_did_not_match() {
    let policy = compile(
        r#"
rules:
  - { id: a, verdict: hold, why: x, match: { method: [DELETE] } }
  - { id: b, verdict: hold, why: x, match: { method: [POST], path: /y } }
  - { id: c, verdict: hold, why: x, match: { method: [POST] }, when: request.json.x == 1 }
  - { id: d, verdict: allow, why: x, match: { method: [POST] }, when: request.json.x == 1 }
  - { id: e, verdict: hold, why: x, match: { method: [POST] } }
exceptions:
  - { of: e, why: x, match: { path: /x } }
"#,
    );
    let made = MadeUp::new(agent("bot"), "POST", "https://a.example/x", &[], b"{}".to_vec()).unwrap();
    let told = made.explain(&policy, now());
    let lines: Vec<(&str, Outcome, &str)> =
        told.rules.iter().map(|trace| (trace.rule.0.as_str(), trace.outcome, trace.key)).collect();
    assert_eq!(
        lines,
        [
            ("a", Outcome::DoesNotMatch, "method"),
            ("b", Outcome::DoesNotMatch, "path"),
            ("c", Outcome::CountsInDoubt, "when"),
            ("d", Outcome::DoesNotCountInDoubt, "when"),
            ("e", Outcome::Excepted, ""),
        ]
    );
    assert_eq!(told.judgement.rule.unwrap().0, "c");
}

fn rule(index: usize, verdict: &str, method: &str) -> String {
    format!("  - {{ id: r{index}, verdict: {verdict}, why: x, match: {{ method: [{method}] }} }}\n")
}

proptest! {
    #[test]
    fn the_strictest_verdict_wins_in_any_order(
        rules in proptest::collection::vec((0usize..3, 0usize..3), 0..8),
        seed in any::<u64>(),
    ) {
        let (verdicts, methods) = (["allow", "hold", "deny"], ["GET", "POST", "PUT"]);
        let texts: Vec<String> =
            rules.iter().enumerate().map(|(index, (verdict, method))| rule(index, verdicts[*verdict], methods[*method])).collect();
        let mut shuffled = texts.clone();
        shuffled.sort_by_key(|text| text.bytes().fold(seed, |sum, byte| sum.wrapping_mul(31).wrapping_add(u64::from(byte))));
        let policy = |texts: &[String]| compile(&format!("defaults: {{ unmatched: hold }}\nrules:\n{}", texts.concat()).replace("rules:\n\n", ""));
        let (one, other) = match texts.is_empty() {
            true => return Ok(()),
            false => (policy(&texts), policy(&shuffled)),
        };
        for (index, method) in methods.iter().enumerate() {
            let judged = judge(&one, method, "https://a.example/x", "");
            let again = judge(&other, method, "https://a.example/x", "");
            prop_assert_eq!((judged.verdict, &judged.rule), (again.verdict, &again.rule));
            let strictest = rules.iter().filter(|(_, of)| *of == index).map(|(verdict, _)| *verdict).max();
            prop_assert_eq!(judged.verdict as usize, strictest.unwrap_or(1));
        }
    }
}

/// A measurement, run by hand: `cargo test --release -- --ignored thousand`.
#[test]
#[ignore = "a measurement"]
fn a_thousand_rules_cost_little_more_than_ten() {
    let policy = |count: usize| {
        let rules: String = (0..count)
            .map(|n| format!("  - {{ id: r{n}, verdict: hold, why: x, match: {{ host: h{n}.example, method: [DELETE], path: \"/v1/{{id}}\" }} }}\n"))
            .collect();
        compile(&format!("rules:\n{rules}"))
    };
    for count in [10, 1000] {
        let policy = policy(count);
        let began = std::time::Instant::now();
        for _ in 0..10_000 {
            judge(&policy, "DELETE", "https://h7.example/v1/9", "");
        }
        println!("{count} rules: {:?} a judgement", began.elapsed() / 10_000);
    }
}
