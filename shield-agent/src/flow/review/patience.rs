//! How long a connection waits for a decision: what the rule or the configuration says, bent by what the client says
//! of itself.

use std::time::Duration;

use crate::flow::http::canonical::RequestHead;

/// Longest wait a client can ask for.
const LONGEST: Duration = Duration::from_secs(240);

/// Time left to deliver the answer before a client's own timeout.
const MARGIN: Duration = Duration::from_secs(5);

/// What a client asks of its answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Patience {
    /// How long to wait for a decision.
    pub wait: Duration,
    /// Whether it asked for an answer at once, to look later.
    pub asynchronous: bool,
}

/// Reads `Prefer` (RFC 7240) and the read timeout some SDKs announce. `usual` is the rule's or the configured wait.
pub fn patience(head: &RequestHead, usual: Duration) -> Patience {
    let preferences = head.header_values("prefer").flat_map(|value| value.split(|&c| c == b',' || c == b';'));
    let mut patience = Patience { wait: usual, asynchronous: false };
    for preference in preferences.map(<[u8]>::trim_ascii) {
        if preference.eq_ignore_ascii_case(b"respond-async") {
            patience.asynchronous = true;
        } else if let Some(seconds) = preference.strip_prefix(b"wait=").and_then(read_seconds) {
            patience.wait = seconds.min(LONGEST);
        }
    }
    if let Some(timeout) = head.header_values("x-stainless-read-timeout").find_map(read_seconds) {
        patience.wait = patience.wait.min(timeout.saturating_sub(MARGIN));
    }
    if patience.asynchronous {
        patience.wait = Duration::ZERO;
    }
    patience
}

fn read_seconds(text: &[u8]) -> Option<Duration> {
    let whole = text.split(|&c| c == b'.').next()?;
    std::str::from_utf8(whole).ok()?.parse().ok().map(Duration::from_secs)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flow::http::canonical::{Header, Scheme};

    fn waits(name: &str, value: &str) -> Patience {
        let head = RequestHead {
            scheme: Scheme::Https,
            host: "a".into(),
            port: 443,
            method: "DELETE".into(),
            target: "/".into(),
            headers: vec![Header { name: name.into(), value: value.into() }],
        };
        patience(&head, Duration::from_secs(50))
    }

    #[test]
    fn a_client_bends_the_wait_and_never_without_bound() {
        let cases = [
            ("accept", "*/*", 50, false),
            ("prefer", "wait=10", 10, false),
            ("prefer", "wait=100000", 240, false),
            ("prefer", "wait=-1", 50, false),
            ("prefer", "return=minimal, respond-async", 0, true),
            ("x-stainless-read-timeout", "600", 50, false),
            ("x-stainless-read-timeout", "30.0", 25, false),
            ("x-stainless-read-timeout", "2", 0, false),
        ];
        for (name, value, seconds, asynchronous) in cases {
            let expected = Patience { wait: Duration::from_secs(seconds), asynchronous };
            assert_eq!(waits(name, value), expected, "{name}: {value}");
        }
    }
}
