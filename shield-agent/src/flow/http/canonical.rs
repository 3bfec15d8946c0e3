//! The canonical request: what is judged is what is shown is what is sent.
//!
//! Built once per exchange from the parsed message; an agent's bytes are never forwarded.

use std::fmt::Write as _;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::names::Digest;

/// `http` or `https`, by whether the flow was TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Scheme {
    /// Plain text.
    Http,
    /// Inside TLS.
    Https,
}

impl Scheme {
    /// Lower-case name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
        }
    }

    /// The port that is left out of a URL.
    pub fn default_port(self) -> u16 {
        match self {
            Self::Http => 80,
            Self::Https => 443,
        }
    }
}

/// One header field; the name is lower case, the value is exactly what will be sent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Header {
    /// Lower-case field name.
    pub name: String,
    /// Field value without surrounding white space.
    #[serde(with = "serde_bytes")]
    pub value: Vec<u8>,
}

/// Everything of a request but its body.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RequestHead {
    /// `http` or `https`.
    pub scheme: Scheme,
    /// Canonical host: lower case, no trailing dot, A-label or IP literal (IPv6 without brackets).
    pub host: String,
    /// Port of the authority.
    pub port: u16,
    /// Method, a token, as sent.
    pub method: String,
    /// Path and query exactly as they will be sent; starts with `/` (or is `*`).
    pub target: String,
    /// End-to-end header fields in order, without `host` and without anything hop-by-hop or about framing; last, `upgrade:
    /// websocket` when that is what it asks for.
    pub headers: Vec<Header>,
}

impl RequestHead {
    /// `host` or `host:port`, as an authority; the scheme's default port is left out.
    pub fn authority(&self) -> String {
        let host = if self.host.contains(':') { format!("[{}]", self.host) } else { self.host.clone() };
        if self.port == self.scheme.default_port() { host } else { format!("{host}:{}", self.port) }
    }

    /// The absolute URL.
    pub fn url(&self) -> String {
        format!("{}://{}{}", self.scheme.as_str(), self.authority(), self.target)
    }

    /// The path without its query.
    pub fn path(&self) -> &str {
        self.target.split_once('?').map_or(self.target.as_str(), |(path, _)| path)
    }

    /// The query without its `?`; empty when there is none.
    pub fn query(&self) -> &str {
        self.target.split_once('?').map_or("", |(_, query)| query)
    }

    /// Whether it asks to go on as a WebSocket: the only field of a connection that is part of a request.
    pub fn opens_websocket(&self) -> bool {
        self.headers.iter().any(|header| header.name == "upgrade")
    }

    /// All values of a field, by lower-case name.
    pub fn header_values<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a [u8]> {
        self.headers.iter().filter(move |header| header.name == name).map(|header| header.value.as_slice())
    }
}

/// A whole request, body included.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CanonicalRequest {
    /// Everything but the body.
    pub head: RequestHead,
    /// The body as it was sent by the agent, transfer coding removed.
    pub body: Bytes,
}

/// Header fields whose *values* change between retries of the same request. They are outside the digest and may be
/// refreshed by a retry before a held request is sent; the hold page names them.
pub const VOLATILE_HEADERS: &[&str] = &[
    "amz-sdk-invocation-id",
    "amz-sdk-request",
    "authorization",
    "b3",
    "baggage",
    "date",
    "prefer",
    "sec-websocket-key",
    "traceparent",
    "tracestate",
    "user-agent",
    "x-amz-date",
    "x-amz-security-token",
    "x-amzn-trace-id",
    "x-b3-sampled",
    "x-b3-spanid",
    "x-b3-traceid",
    "x-cloud-trace-context",
    "x-goog-api-client",
    "x-request-id",
    "x-stainless-retry-count",
];

/// Whether a field is outside the digest.
pub fn is_volatile(name: &str) -> bool {
    VOLATILE_HEADERS.binary_search(&name).is_ok()
}

/// Hashes length-prefixed parts, so that no two different requests hash the same bytes.
struct Parts(Sha256);

impl Parts {
    fn add(&mut self, part: &[u8]) {
        self.0.update((part.len() as u64).to_be_bytes());
        self.0.update(part);
    }
}

impl RequestHead {
    /// Digest of the head and of a body that hashes to `body`; `None` when the body streams and was not judged.
    ///
    /// Covers method, URL, every non-volatile field with its value, and the names of the volatile ones present.
    pub fn digest(&self, body: Option<Digest>) -> Digest {
        let mut parts = Parts(Sha256::new());
        parts.add(b"agent.shield request v1");
        for part in [&self.method, self.scheme.as_str(), &self.host, &self.target] {
            parts.add(part.as_bytes());
        }
        parts.add(&self.port.to_be_bytes());
        for header in &self.headers {
            parts.add(header.name.as_bytes());
            parts.add(if is_volatile(&header.name) { b"" } else { &header.value });
        }
        parts.add(body.as_ref().map_or(&[][..], |digest| &digest.0[..]));
        Digest(parts.0.finalize().into())
    }
}

impl CanonicalRequest {
    /// Digest of exactly what was judged and will be sent.
    pub fn digest(&self) -> Digest {
        self.head.digest(Some(Digest::of(&self.body)))
    }
}

/// Text of bytes for people: UTF-8 as it is, everything else as `\xNN`.
pub fn lossy(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        text.push_str(chunk.valid());
        for byte in chunk.invalid() {
            // Writing to a String cannot fail.
            let _ = write!(text, "\\x{byte:02x}");
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request() -> CanonicalRequest {
        CanonicalRequest {
            head: RequestHead {
                scheme: Scheme::Https,
                host: "crm.acme.internal".into(),
                port: 443,
                method: "DELETE".into(),
                target: "/v1/customers/8821?force=1".into(),
                headers: vec![
                    Header { name: "authorization".into(), value: b"Bearer a".to_vec() },
                    Header { name: "content-type".into(), value: b"application/json".to_vec() },
                ],
            },
            body: Bytes::from_static(b"{}"),
        }
    }

    #[test]
    fn the_volatile_list_is_sorted_so_that_binary_search_finds_every_name() {
        assert!(VOLATILE_HEADERS.is_sorted());
    }

    #[test]
    fn a_fresh_credential_keeps_the_digest_and_anything_else_changes_it() {
        let original = request().digest();
        let mut fresh = request();
        fresh.head.headers[0].value = b"Bearer b".to_vec();
        assert_eq!(fresh.digest(), original);

        let changes: [fn(&mut CanonicalRequest); 7] = [
            |r| r.head.method = "PUT".into(),
            |r| r.head.host = "crm.acme.example".into(),
            |r| r.head.port = 8443,
            |r| r.head.target = "/v1/customers/8822".into(),
            |r| r.head.headers[1].value = b"text/plain".to_vec(),
            |r| r.body = Bytes::from_static(b"{ }"),
            |r| drop(r.head.headers.remove(0)),
        ];
        for change in changes {
            let mut changed = request();
            change(&mut changed);
            assert_ne!(changed.digest(), original);
        }
    }

    #[test]
    fn a_url_leaves_out_the_default_port_and_brackets_ipv6() {
        let mut head = request().head;
        assert_eq!(head.url(), "https://crm.acme.internal/v1/customers/8821?force=1");
        (head.host, head.port) = ("::1".into(), 8443);
        assert_eq!(head.authority(), "[::1]:8443");
        assert_eq!((head.path(), head.query()), ("/v1/customers/8821", "force=1"));
    }
}
