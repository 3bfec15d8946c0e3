//! A policy of a hundred rules: some about every request, half about the host that is asked, half about others.

use std::fmt::Write as _;

const BEGINNING: &str = r#"version: 1
defaults: { unmatched: allow, unknown_host: allow, opaque: deny, uninspectable: hold }
rules:
  - { id: delete, verdict: hold, why: deletes cannot be undone, match: { method: [DELETE, PURGE] } }
  - { id: removes, verdict: hold, why: it removes something, match: { effect: [delete], method: [GET, POST, PUT] } }
  - { id: production, verdict: hold, why: it runs in production, match: { effect: [execute], environment: [production] } }
  - { id: money, verdict: hold, why: money moves, match: { effect: [spend] } }
  - id: sql
    verdict: hold
    why: the statement removes data
    match: { method: [POST, PUT], body_regex: ['(?i)\b(drop\s+(table|schema)|truncate\s+table|delete\s+from)\b'], path: "/sql/{rest..}" }
  - id: odd-port
    verdict: hold
    why: writes go to the usual port
    match: { host: ["*.acme.internal"] }
    when: 'action.effect != "read" && request.port == 8443'
"#;

/// The policy's text.
pub(super) fn hundred_rules() -> String {
    let mut text = BEGINNING.to_owned();
    for number in 0..44 {
        // Writing to a String cannot fail.
        let _ = writeln!(
            text,
            "  - {{ id: acme-{number}, verdict: hold, why: people change these, match: {{ host: [\"*.acme.internal\"], \
             method: [POST, PUT, PATCH], path: \"/v1/things-{number}/{{id}}\" }} }}"
        );
    }
    for number in 0..50 {
        let _ = writeln!(
            text,
            "  - {{ id: vendor-{number}, verdict: deny, why: not used here, match: {{ host: \
             [\"*.vendor-{number}.example\"] }} }}"
        );
    }
    text
}
