//! A request taken apart once for all families.

use std::borrow::Cow;
use std::cell::OnceCell;

use serde_json::Value;

use super::action::{Action, Effect};
use super::{http, places};
use crate::flow::http::canonical::RequestHead;

/// Longest name of a resource.
const MAX_RESOURCE: usize = 120;

/// What families look at.
pub(super) struct Seen<'a> {
    pub(super) head: &'a RequestHead,
    /// The gravest method a server may read into the request, in upper case.
    pub(super) method: String,
    /// Non-empty segments of the path, percent-decoded.
    pub(super) segments: Vec<String>,
    /// The body as text, when it is known and UTF-8.
    pub(super) text: Option<&'a str>,
    json: OnceCell<Option<Value>>,
}

impl<'a> Seen<'a> {
    pub(super) fn new(head: &'a RequestHead, body: Option<&'a [u8]>) -> Self {
        let decoded = |segment: &str| decode(segment).into_owned();
        let path = head.path().replace('\\', "/");
        Self {
            head,
            method: http::method(head),
            segments: path.split('/').filter(|segment| !segment.is_empty()).map(decoded).collect(),
            text: body.and_then(|body| std::str::from_utf8(body).ok()),
            json: OnceCell::new(),
        }
    }

    pub(super) fn host(&self) -> &'a str {
        &self.head.host
    }

    /// Whether the host is this name or below it.
    pub(super) fn host_is(&self, name: &str) -> bool {
        let host = self.host();
        host == name || host.strip_suffix(name).is_some_and(|rest| rest.ends_with('.'))
    }

    /// A segment in lower case.
    pub(super) fn segment(&self, index: usize) -> Option<String> {
        self.segments.get(index).map(|segment| segment.to_ascii_lowercase())
    }

    /// The last segment in lower case; empty when there is none.
    pub(super) fn last(&self) -> String {
        self.segments.last().map(|segment| segment.to_ascii_lowercase()).unwrap_or_default()
    }

    /// Whether a segment is one of these words, in lower case.
    pub(super) fn has_segment(&self, words: &[&str]) -> bool {
        self.segments.iter().any(|segment| words.iter().any(|word| segment.eq_ignore_ascii_case(word)))
    }

    /// Whether the method changes something by HTTP's own rules.
    pub(super) fn writes(&self) -> bool {
        !matches!(self.method.as_str(), "GET" | "HEAD" | "OPTIONS" | "TRACE")
    }

    /// The body as JSON.
    pub(super) fn json(&self) -> Option<&Value> {
        self.json.get_or_init(|| self.text.and_then(|text| serde_json::from_str(text).ok())).as_ref()
    }

    /// A field of the query.
    pub(super) fn query(&self, name: &str) -> Option<String> {
        field(self.head.query(), name)
    }

    /// A field of a form body.
    pub(super) fn form(&self, name: &str) -> Option<String> {
        field(self.text?, name)
    }

    /// A header as text.
    pub(super) fn header(&self, name: &str) -> Option<Cow<'a, str>> {
        let head: &'a RequestHead = self.head;
        let mut found = head.headers.iter().filter(|header| header.name == name);
        found.next().map(|header| String::from_utf8_lossy(&header.value))
    }

    /// An action of a family; what it is done to comes from the path unless the family knows better.
    pub(super) fn action(&self, family: &str, effect: Effect, operation: String) -> Action {
        let resource = http::resource(&self.segments);
        let summary = http::summary(effect, &operation, resource.as_deref(), self.host());
        Action {
            effect,
            family: family.to_owned(),
            operation,
            resource: resource.map(|resource| cut(&resource)),
            environment: places::environment(self.host(), &self.segments),
            reversible: reversible(effect),
            count: None,
            amount: None,
            currency: None,
            summary,
        }
    }
}

/// Whether an effect can be undone; `None` when it depends.
fn reversible(effect: Effect) -> Option<bool> {
    match effect {
        Effect::Read => Some(true),
        Effect::Delete | Effect::Spend | Effect::Message => Some(false),
        _ => None,
    }
}

/// The beginning of a name, by characters.
pub(super) fn cut(text: &str) -> String {
    match text.char_indices().nth(MAX_RESOURCE) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

fn decode(segment: &str) -> Cow<'_, str> {
    if !segment.contains('%') {
        return Cow::Borrowed(segment);
    }
    // A plus stays a plus in a path.
    let kept = segment.replace('+', "%2B");
    let decoded =
        url::form_urlencoded::parse(kept.as_bytes()).next().map(|(name, value)| match value.is_empty() {
            true => name.into_owned(),
            false => format!("{name}={value}"),
        });
    Cow::Owned(decoded.unwrap_or_default())
}

fn field(text: &str, name: &str) -> Option<String> {
    url::form_urlencoded::parse(text.as_bytes())
        .find(|(key, _)| key == name)
        .map(|(_, value)| value.into_owned())
}
