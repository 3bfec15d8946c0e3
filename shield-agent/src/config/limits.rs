//! `limits:` — how much one agent, one connection and one request may ask for.

use super::names::number;
use super::read::positive;
use crate::flow::limits::Limits;
use crate::yaml::{Fields, Reader};

/// The section, with a default wherever it says nothing or something wrong.
pub(super) fn section(reader: &Reader, fields: &Fields<'_>) -> Limits {
    let mut limits = Limits::default();
    let Some(node) = fields.get("limits") else { return limits };
    let known = [
        "connections_per_agent",
        "requests_per_agent",
        "certificates_per_second",
        "handshake_within",
        "max_head",
        "max_fields",
        "head_within",
        "idle",
        "body_silence",
        "streams_per_connection",
    ];
    let section = reader.fields(node, &known);
    number(reader, &section, "connections_per_agent", &mut limits.connections, 1..=1_000_000);
    number(reader, &section, "requests_per_agent", &mut limits.requests, 1..=1_000_000);
    number(reader, &section, "certificates_per_second", &mut limits.certificates, 1..=100_000);
    positive(reader, &section, "handshake_within", &mut limits.handshake);
    let http = &mut limits.http;
    if let Some((node, size)) = section.get("max_head").and_then(|node| Some((node, reader.size(node)?))) {
        match usize::try_from(size) {
            Ok(size @ 4_096..=1_048_576) => http.head = size,
            _ => reader.mistake(node.place, "expected a size from 4KiB to 1MiB"),
        }
    }
    number(reader, &section, "max_fields", &mut http.fields, 10..=1_000);
    positive(reader, &section, "head_within", &mut http.head_within);
    positive(reader, &section, "idle", &mut http.idle);
    positive(reader, &section, "body_silence", &mut http.body_silence);
    number(reader, &section, "streams_per_connection", &mut http.streams, 1..=10_000);
    limits
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use crate::config::Config;
    use crate::flow::limits::Limits;

    #[test]
    fn what_is_said_counts_and_the_rest_keeps_its_default() {
        let text =
            "limits: { requests_per_agent: 8, max_head: 16KiB, idle: 5s, certificates_per_second: 500 }";
        let mut expected = Limits { requests: 8, certificates: 500, ..Limits::default() };
        (expected.http.head, expected.http.idle) = (16 << 10, Duration::from_secs(5));
        assert_eq!(Config::parse("f", text).unwrap().limits, expected);
    }

    #[test]
    fn limits_that_would_let_nothing_pass_are_mistakes() {
        let text = "limits: { connections_per_agent: 0, max_head: 1KiB, max_fields: 1, head_within: 0s }";
        let mistakes = Config::parse("f", text).unwrap_err();
        assert_eq!(mistakes.0.len(), 4, "{mistakes}");
    }
}
