//! A body as policy may look at it: decoded strictly or not at all.

use std::collections::BTreeMap;

use serde_json::Value;

use super::json;
use super::verdict::BodyView;
use crate::flow::http::canonical::RequestHead;

/// The media type without parameters, in lower case; empty when there is none or more than one.
fn media_type(head: &RequestHead) -> String {
    let mut values = head.header_values("content-type");
    let (Some(value), None) = (values.next(), values.next()) else { return String::new() };
    let text = String::from_utf8_lossy(value);
    text.split(';').next().unwrap_or_default().trim().to_ascii_lowercase()
}

fn is_json(media_type: &str) -> bool {
    media_type == "application/json"
        || media_type.ends_with("+json")
        || media_type.starts_with("application/x-amz-json")
}

/// Whether the body is sent as it is, without compression.
fn is_plain(head: &RequestHead) -> bool {
    head.header_values("content-encoding").all(|value| value.eq_ignore_ascii_case(b"identity"))
}

/// Whether a body can be decoded strictly: no compression, text that is UTF-8, JSON without repeated keys.
pub fn inspectable(head: &RequestHead, body: &[u8]) -> bool {
    Decoded::new(head, BodyView::Whole(body)).text.is_some()
}

/// What is known of a body.
#[derive(Debug, Default)]
pub(super) struct Decoded<'a> {
    /// Bytes, when all of them are known.
    pub(super) size: Option<usize>,
    /// The text; `None` when it is not known or cannot be decoded strictly.
    pub(super) text: Option<&'a str>,
    /// The JSON value, when it is one.
    pub(super) json: Option<Value>,
    /// The fields of a form, each given once.
    pub(super) form: Option<BTreeMap<String, String>>,
    /// Whether there is a body that was read and cannot be decoded, or is too long to be read.
    pub(super) uninspectable: bool,
}

impl<'a> Decoded<'a> {
    pub(super) fn new(head: &RequestHead, view: BodyView<'a>) -> Self {
        let bytes = match view {
            BodyView::NotRead => return Self::default(),
            BodyView::Truncated(_) => return Self { uninspectable: true, ..Self::default() },
            BodyView::Whole(bytes) => bytes,
        };
        let size = Some(bytes.len());
        let undecodable = Self { size, uninspectable: true, ..Self::default() };
        let Ok(text) = std::str::from_utf8(bytes) else { return undecodable };
        if !is_plain(head) && !bytes.is_empty() {
            return undecodable;
        }
        let media_type = media_type(head);
        // Many servers read a body as JSON whatever its type says.
        let json = if text.trim_start().starts_with(['{', '[', '"']) || is_json(&media_type) {
            json::strict(text)
        } else {
            None
        };
        if is_json(&media_type) && json.is_none() && !text.trim().is_empty() {
            return undecodable;
        }
        let form = (media_type == "application/x-www-form-urlencoded").then(|| pairs(text)).flatten();
        Self { size, text: Some(text), json, form, uninspectable: false }
    }
}

/// Names and values; `None` when a name is given twice, because servers differ in which one they take.
pub(super) fn pairs(text: &str) -> Option<BTreeMap<String, String>> {
    let mut pairs = BTreeMap::new();
    for (name, value) in url::form_urlencoded::parse(text.as_bytes()) {
        if pairs.insert(name.into_owned(), value.into_owned()).is_some() {
            return None;
        }
    }
    Some(pairs)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flow::http::canonical::{Header, Scheme};

    fn head(headers: &[(&str, &str)]) -> RequestHead {
        let header =
            |(name, value): &(&str, &str)| Header { name: (*name).into(), value: value.as_bytes().to_vec() };
        RequestHead {
            scheme: Scheme::Https,
            host: "a.example".into(),
            port: 443,
            method: "POST".into(),
            target: "/".into(),
            headers: headers.iter().map(header).collect(),
        }
    }

    #[test]
    fn what_cannot_be_decoded_strictly_is_said_to_be_uninspectable() {
        let json = [("content-type", "application/json; charset=utf-8")];
        for (headers, body, good) in [
            (&json[..], &br#"{"a":1}"#[..], true),
            (&json, b"", true),
            (&json, br#"{"a":1,"a":2}"#, false),
            (&json, b"{\"a\":", false),
            (&[], b"\xff\xfe", false),
            (&[("content-encoding", "gzip")], b"text", false),
            (&[("content-encoding", "identity")], b"text", true),
            (&[("content-type", "application/vnd.api+json")], b"[1,]", false),
            (&[("content-type", "text/plain")], b"{not json", true),
        ] {
            assert_eq!(inspectable(&head(headers), body), good, "{headers:?} {body:?}");
        }
    }

    #[test]
    fn a_form_with_a_name_twice_has_no_fields() {
        let form = head(&[("content-type", "application/x-www-form-urlencoded")]);
        let fields = |text: &'static str| Decoded::new(&form, BodyView::Whole(text.as_bytes())).form;
        assert_eq!(fields("a=1&b=x+y").unwrap()["b"], "x y");
        assert!(fields("a=1&a=2").is_none());
    }
}
