//! Tests written inside policy files: what running them tells.

use super::super::Policy;
use super::{CUSTOMERS, compile, now};

#[test]
fn inline_tests_fail_when_the_policy_does_something_else() {
    let policy = compile(&format!(
        "{CUSTOMERS}tests:\n\
         \x20 - {{ name: good, request: {{ method: DELETE, url: 'https://crm.acme.internal/v1/customers/1' }}, expect: {{ verdict: hold, rule: delete }} }}\n\
         \x20 - {{ name: bad, request: {{ url: 'https://crm.acme.internal/v1/customers/1' }}, expect: {{ verdict: hold }} }}\n"
    ));
    let results: Vec<bool> = policy.tests.iter().map(|test| test.run(&policy, now()).is_ok()).collect();
    assert_eq!(results, [true, false]);
}

#[test]
fn the_policies_we_ship_pass_their_own_tests() {
    for (name, text, least) in [
        ("starter", include_str!("../../../../../policies/starter.yaml"), 25),
        ("deployment", include_str!("../../../../../tests/src/deployment/policy.yaml"), 2),
    ] {
        let policy =
            Policy::compile(&[(name.to_owned(), text.to_owned())]).unwrap_or_else(|error| panic!("{error}"));
        assert!(policy.tests.len() >= least, "{name} has {} tests", policy.tests.len());
        for test in &policy.tests {
            if let Err(judgement) = test.run(&policy, now()) {
                panic!(
                    "{name}:{}: {}: {:?} by {:?}",
                    test.line, test.name, judgement.verdict, judgement.rule
                );
            }
        }
    }
}
