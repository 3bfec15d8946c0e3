//! Files that are no policy, and what is said of them.

use proptest::prelude::*;

use super::super::Policy;

fn mistakes(text: &str) -> Vec<String> {
    let Err(mistakes) = Policy::compile(&[("p.yaml".into(), text.into())]) else { return vec![] };
    mistakes.0.iter().map(ToString::to_string).collect()
}

#[test]
fn every_mistake_is_told_with_file_line_and_column() {
    let text = "version: 2
mode: fast
rules:
  - id: a
    verdct: hold
    why: x
    match:
      host: [a.*.b, 'https://x']
      path: v1
      path_regex: '('
      effect: [deleet]
      metod: [GET]
    when: request.method =
  - id: a
    verdict: allow
    why: x
    match: { method: ['G T'] }
    hold: { wait: 3 weeks, reviewers: 2, require: passkey }
  - id: 'no spaces'
    verdict: hold
    why: x
exceptions:
  - { of: aa, why: x, match: { path: / }, until: tomorrow }
tests:
  - { name: t, request: { url: /x }, expect: { verdict: maybe } }
";
    let found = mistakes(text);
    let told: Vec<&str> = found.iter().map(|line| line.strip_prefix("p.yaml:").unwrap()).collect();
    let expected = [
        ("1:10", "version 1"),
        ("2:7", "expected one of gate, observe, read-only"),
        ("4:5", "`verdict` is missing"),
        ("5:5", "unknown key `verdct`: did you mean `verdict`?"),
        ("8:14", "may only stand first"),
        ("8:21", "not a host name"),
        ("9:13", "a path begins with `/`"),
        ("10:19", "not a regular expression"),
        ("11:16", "expected one of read, write, delete"),
        ("12:7", "did you mean `method`?"),
        ("13:11", "not a CEL condition"),
        ("14:9", "already at p.yaml:4:9"),
        ("17:23", "is not a method"),
        ("18:11", "belongs to rules with `verdict: hold`"),
        ("18:19", "expected a duration"),
        ("18:39", "more than one reviewer"),
        ("18:51", "only `session`"),
        ("19:5", "`match` is missing"),
        ("19:9", "letters, digits"),
        ("23:50", "expected a day"),
        ("25:32", "absolute http or https URL"),
        ("25:57", "expected one of allow, hold, deny"),
        ("23:11", "there is no rule `aa`: did you mean `a`?"),
    ];
    for (line, (place, words)) in told.iter().zip(expected) {
        assert!(
            line.starts_with(&format!("{place}: ")) && line.contains(words),
            "{line} is not {place} {words}"
        );
    }
    assert_eq!(told.len(), expected.len(), "{told:#?}");
}

#[test]
fn files_add_up_and_must_not_contradict_each_other() {
    let file = |name: &str, text: &str| (name.to_owned(), format!("version: 1\n{text}"));
    let rule =
        |id: &str| format!("rules:\n  - {{ id: {id}, verdict: deny, why: x, match: {{ path: /{id} }} }}\n");
    let both = Policy::compile(&[file("a", &rule("one")), file("b", &rule("two"))]).unwrap();
    assert_eq!(both.rule_count(), 2);
    let Err(same) = Policy::compile(&[file("a", &rule("one")), file("b", &rule("one"))]) else { panic!() };
    assert!(same.to_string().starts_with("b:3:11: rule `one` is already at a:3:11"), "{same}");
    let Err(modes) = Policy::compile(&[file("a", "mode: gate"), file("b", "mode: observe")]) else {
        panic!()
    };
    assert!(modes.to_string().contains("b:2:7: another file gives another mode"), "{modes}");
}

#[test]
fn the_documented_policy_passes_its_own_tests() {
    let documented = include_str!("../../../../../docs/reference/policy.md");
    let example = documented.split("```").nth(1).and_then(|block| block.strip_prefix("yaml")).unwrap();
    let policy = Policy::compile(&[("policy.md".into(), example.into())]).unwrap();
    assert!(!policy.tests.is_empty());
    for test in &policy.tests {
        test.run(&policy, jiff::Timestamp::UNIX_EPOCH).unwrap();
    }
}

proptest! {
    #[test]
    fn no_text_makes_the_compiler_panic(text in "(rules|match|tests|when|id|verdict|[-:{}\\[\\]'\" \n]|[a-z/*(]){0,40}") {
        let _ = Policy::compile(&[("p.yaml".into(), text)]);
    }
}
