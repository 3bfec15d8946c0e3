//! Our answers in the form a client reads: JSON most parsers find the message in, problem+json, a small page, or gRPC.
//!
//! The dialects of single products come with the action catalogue.

use ::http::{HeaderMap, HeaderValue, Response, StatusCode, header};
use bytes::Bytes;
use serde::Serialize;

use super::answers::{Again, OurAnswer};
use crate::flow::http::canonical::RequestHead;

/// How a client wants to be told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dialect {
    /// `application/json`.
    Json,
    /// `application/problem+json` (RFC 9457), because the client names it.
    Problem,
    /// A small page.
    Html,
    /// gRPC: everything in header fields.
    Grpc,
}

impl Dialect {
    /// The dialect of a request, by what it sends and accepts.
    pub fn of(head: &RequestHead) -> Self {
        let starts = |name, prefix: &[u8]| head.header_values(name).any(|value| value.starts_with(prefix));
        let accepts = |word: &[u8]| {
            head.header_values("accept").any(|value| value.windows(word.len()).any(|part| part == word))
        };
        if starts("content-type", b"application/grpc") {
            Self::Grpc
        } else if accepts(b"application/problem+json") {
            Self::Problem
        } else if accepts(b"text/html") {
            Self::Html
        } else {
            Self::Json
        }
    }
}

/// What the JSON forms hold: the members of RFC 9457, and the places clients look for a message.
#[derive(Serialize)]
struct Problem<'a> {
    r#type: &'static str,
    title: &'static str,
    status: u16,
    detail: &'a str,
    message: &'a str,
    error: Nested<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    hold: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    decision: Option<&'static str>,
}

#[derive(Serialize)]
struct Nested<'a> {
    message: &'a str,
    r#type: &'static str,
    code: &'static str,
}

/// Puts an answer into a dialect.
pub fn render(answer: &OurAnswer, dialect: Dialect) -> Response<Bytes> {
    let (status, media_type, body) = match dialect {
        Dialect::Json => (answer.status, "application/json", json(answer)),
        Dialect::Problem => (answer.status, "application/problem+json", json(answer)),
        Dialect::Html => (answer.status, "text/html; charset=utf-8", page(answer)),
        Dialect::Grpc => (StatusCode::OK, "application/grpc", String::new()),
    };
    let mut response = Response::new(Bytes::from(body));
    *response.status_mut() = status;
    let fields = response.headers_mut();
    fields.insert(header::CONTENT_TYPE, HeaderValue::from_static(media_type));
    fields.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    fields.extend(answer.fields());
    if dialect == Dialect::Grpc {
        grpc_status(answer, fields);
    }
    response
}

/// The bytes of an answer to a client whose request could not be read; the connection is closed after it.
pub fn raw(answer: &OurAnswer) -> Vec<u8> {
    let response = render(answer, Dialect::Json);
    let mut bytes = format!("HTTP/1.1 {}\r\n", response.status()).into_bytes();
    for (name, value) in response.headers() {
        bytes.extend_from_slice(name.as_str().as_bytes());
        bytes.extend_from_slice(b": ");
        bytes.extend_from_slice(value.as_bytes());
        bytes.extend_from_slice(b"\r\n");
    }
    let end = format!("connection: close\r\ncontent-length: {}\r\n\r\n", response.body().len());
    bytes.extend_from_slice(end.as_bytes());
    bytes.extend_from_slice(response.body());
    bytes
}

fn json(answer: &OurAnswer) -> String {
    let problem = Problem {
        r#type: "about:blank",
        title: answer.status.canonical_reason().unwrap_or("Refused"),
        status: answer.status.as_u16(),
        detail: &answer.sentence,
        message: &answer.sentence,
        error: Nested { message: &answer.sentence, r#type: "agent_shield", code: answer.code },
        hold: answer.hold.map(|hold| hold.to_string()),
        decision: answer.decision.then_some(answer.code),
    };
    serde_json::to_string(&problem).expect("text and numbers")
}

fn page(answer: &OurAnswer) -> String {
    let title = answer.status.canonical_reason().unwrap_or("Refused");
    let sentence = escape(&answer.sentence);
    format!(
        "<!doctype html><meta charset=utf-8><title>{title}</title>\
         <body style=\"font:1rem/1.5 system-ui;max-width:40rem;margin:4rem auto;padding:0 1rem\">\
         <h1>{title}</h1><p>{sentence}</p>\n"
    )
}

fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            other => escaped.push(other),
        }
    }
    escaped
}

fn grpc_status(answer: &OurAnswer, fields: &mut HeaderMap) {
    const INVALID_ARGUMENT: u16 = 3;
    const NOT_FOUND: u16 = 5;
    const PERMISSION_DENIED: u16 = 7;
    const RESOURCE_EXHAUSTED: u16 = 8;
    const UNAVAILABLE: u16 = 14;
    const UNKNOWN: u16 = 2;
    let code = match (answer.status, answer.again) {
        (StatusCode::PAYLOAD_TOO_LARGE, _) => RESOURCE_EXHAUSTED,
        (StatusCode::NOT_FOUND, _) => NOT_FOUND,
        (_, Again::After(_)) => UNAVAILABLE,
        (StatusCode::FORBIDDEN, _) => PERMISSION_DENIED,
        (status, _) if status.is_server_error() => UNKNOWN,
        _ => INVALID_ARGUMENT,
    };
    fields.insert("grpc-status", code.into());
    let message = HeaderValue::try_from(percent_encode(&answer.sentence)).expect("percent-encoded is ASCII");
    fields.insert("grpc-message", message);
}

/// The encoding of `grpc-message`.
fn percent_encode(text: &str) -> String {
    use std::fmt::Write as _;
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b' '..=b'~' if byte != b'%' => encoded.push(char::from(byte)),
            // Writing to a String cannot fail.
            _ => drop(write!(encoded, "%{byte:02X}")),
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flow::http::canonical::{Header, Scheme};
    use crate::flow::http::unclear::Unclear;
    use crate::ipc::approver::Ending;
    use crate::names::HoldId;

    fn hold() -> HoldId {
        HoldId(ulid::Ulid::from_parts(1, 1))
    }

    fn dialect(fields: &[(&str, &str)]) -> Dialect {
        let headers =
            fields.iter().map(|(name, value)| Header { name: (*name).into(), value: (*value).into() });
        Dialect::of(&RequestHead {
            scheme: Scheme::Https,
            host: "a".into(),
            port: 443,
            method: "GET".into(),
            target: "/".into(),
            headers: headers.collect(),
        })
    }

    #[test]
    fn a_client_is_answered_in_what_it_reads() {
        assert_eq!(dialect(&[]), Dialect::Json);
        assert_eq!(dialect(&[("accept", "*/*")]), Dialect::Json);
        assert_eq!(dialect(&[("accept", "application/problem+json, */*")]), Dialect::Problem);
        assert_eq!(dialect(&[("accept", "text/html,application/xhtml+xml")]), Dialect::Html);
        assert_eq!(dialect(&[("content-type", "application/grpc+proto")]), Dialect::Grpc);
    }

    #[test]
    fn a_pending_answer_names_the_hold_and_what_to_do() {
        let response = render(&OurAnswer::pending(hold(), None, false), Dialect::Json);
        assert_eq!(response.status(), 503);
        let field =
            |name| response.headers().get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
        assert_eq!(field("retry-after").as_deref(), Some("1"));
        assert_eq!(field("shield-decision").as_deref(), Some("pending"));
        assert_eq!(field("shield-hold"), Some(hold().to_string()));
        let link = format!("<http://shield.internal/holds/{}>; rel=\"status\"", hold());
        assert_eq!(field("link"), Some(link));
        let body: serde_json::Value = serde_json::from_slice(response.body()).unwrap();
        assert_eq!(body["message"], body["error"]["message"]);
        assert!(body["detail"].as_str().unwrap().contains("NOT been executed"));
    }

    #[test]
    fn a_client_that_asked_not_to_wait_gets_202_and_where_to_look() {
        let response = render(&OurAnswer::pending(hold(), Some(403), true), Dialect::Json);
        assert_eq!(response.status(), 202);
        assert_eq!(response.headers()["preference-applied"], "respond-async");
        assert_eq!(response.headers()["location"], format!("http://shield.internal/holds/{}", hold()));
    }

    #[test]
    fn a_denial_carries_the_reviewers_words_and_stops_retries() {
        let ending = Ending::Denied { by: "alice".into(), reason: "use <staging>".into() };
        let answer = OurAnswer::ended(hold(), ending).unwrap_err();
        let response = render(&answer, Dialect::Html);
        assert_eq!(
            (response.status().as_u16(), &response.headers()["x-should-retry"]),
            (403, &"false".parse().unwrap())
        );
        let page = std::str::from_utf8(response.body()).unwrap();
        assert!(page.contains("Denied by alice: &quot;use &lt;staging&gt;&quot;"), "{page}");
    }

    #[test]
    fn grpc_clients_get_their_status_in_fields() {
        let answer =
            OurAnswer::ended(hold(), Ending::Denied { by: "Ö".into(), reason: String::new() }).unwrap_err();
        let response = render(&answer, Dialect::Grpc);
        assert_eq!(
            (response.status().as_u16(), &response.headers()["grpc-status"]),
            (200, &"7".parse().unwrap())
        );
        assert!(response.headers()["grpc-message"].to_str().unwrap().starts_with("Denied by %C3%96."));
        let pending = render(&OurAnswer::pending(hold(), None, false), Dialect::Grpc);
        assert_eq!(pending.headers()["grpc-status"], "14");
    }

    #[test]
    fn a_request_that_cannot_be_read_is_answered_in_bytes() {
        let answer = OurAnswer::unclear(&Unclear::Ambiguous("Host is missing"));
        let text = String::from_utf8(raw(&answer)).unwrap();
        assert!(text.starts_with("HTTP/1.1 400 Bad Request\r\n"));
        assert!(text.contains("connection: close\r\n") && text.contains("Host is missing"));
    }
}
