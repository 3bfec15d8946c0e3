//! Any HTTP API: the method says what happens, the path says to what.

use super::action::{Action, Effect};
use super::request::{Seen, cut};
use crate::flow::http::canonical::RequestHead;

/// Fields by which a request asks a server to read another method into it.
const OVERRIDES: [&str; 3] = ["x-http-method-override", "x-http-method", "x-method-override"];

/// Last segments of requests that only read, although their method could change something.
const READS: [&str; 5] = ["git-upload-pack", "_search", "_msearch", "_count", "_mget"];

/// Last segments of requests that remove something, whatever their method.
const DELETES: [&str; 5] = ["_delete_by_query", "bulk-delete", "bulk_delete", "batchdelete", "delete-all"];

pub(super) fn see(seen: &Seen<'_>) -> Action {
    let last = seen.last();
    let effect = if seen.head.opens_websocket() {
        // What is said over it nobody judges.
        Effect::Connect
    } else if READS.contains(&last.as_str()) {
        Effect::Read
    } else if DELETES.contains(&last.as_str()) && seen.writes() {
        Effect::Delete
    } else {
        by_method(&seen.method)
    };
    seen.action("http", effect, operation(&seen.method, &seen.segments))
}

/// The gravest of the methods a server may read into a request, in upper case.
pub(super) fn method(head: &RequestHead) -> String {
    let fields = OVERRIDES.iter().flat_map(|name| head.header_values(name));
    let mut methods: Vec<String> =
        fields.map(|value| String::from_utf8_lossy(value).trim().to_owned()).collect();
    if head.query().contains("_method") {
        let pairs = url::form_urlencoded::parse(head.query().as_bytes());
        methods.extend(pairs.filter(|(name, _)| name == "_method").map(|(_, value)| value.into_owned()));
    }
    methods.push(head.method.clone());
    let grave = |method: &String| super::gravity(by_method(method));
    methods.into_iter().map(|method| method.to_ascii_uppercase()).max_by_key(grave).unwrap_or_default()
}

pub(super) fn by_method(method: &str) -> Effect {
    match method {
        "GET" | "HEAD" | "OPTIONS" | "TRACE" | "PROPFIND" | "REPORT" | "SEARCH" | "QUERY" => Effect::Read,
        "POST" | "PUT" | "PATCH" | "MKCOL" | "COPY" | "MOVE" | "PROPPATCH" | "LOCK" | "UNLOCK" => {
            Effect::Write
        }
        "DELETE" | "PURGE" => Effect::Delete,
        _ => Effect::Unknown,
    }
}

/// `DELETE /v1/customers/{id}`
pub(super) fn operation(method: &str, segments: &[String]) -> String {
    let mut template = String::from(method);
    template.push_str(" /");
    for (index, segment) in segments.iter().enumerate() {
        if index > 0 {
            template.push('/');
        }
        template.push_str(if is_id(segments, index) { "{id}" } else { segment });
    }
    cut(&template)
}

/// `customer 8821` for `/v1/customers/8821`, `customers` for `/v1/customers`.
pub(super) fn resource(segments: &[String]) -> Option<String> {
    let last = segments.len().checked_sub(1)?;
    if !is_id(segments, last) {
        return (!is_version(&segments[last])).then(|| segments[last].clone());
    }
    let word = segments[..last].iter().rev().find(|segment| !is_version(segment));
    match word {
        Some(word) => Some(format!("{} {}", singular(word), segments[last])),
        None => Some(segments[last].clone()),
    }
}

/// One line for the reviewer.
pub(super) fn summary(effect: Effect, operation: &str, resource: Option<&str>, host: &str) -> String {
    let verb = match effect {
        Effect::Read => "Read",
        Effect::Write => "Change",
        Effect::Delete => "Delete",
        Effect::Execute => "Run",
        Effect::Spend => "Move money:",
        Effect::Message => "Send a message:",
        Effect::Grant => "Change access:",
        Effect::Deploy => "Deploy:",
        Effect::Connect => "Connect to",
        Effect::Unknown => "Unknown:",
    };
    let what = match (effect, resource) {
        (Effect::Read | Effect::Write | Effect::Delete | Effect::Execute, Some(resource)) => resource,
        _ => operation,
    };
    format!("{verb} {} at {host}", cut(what))
}

fn is_id(segments: &[String], index: usize) -> bool {
    let segment = &segments[index];
    if is_version(segment) {
        return false;
    }
    let digits = segment.bytes().filter(u8::is_ascii_digit).count();
    let all_digits = digits == segment.len();
    let token = digits > 0 && segment.len() >= 8;
    // The name after a collection, as in `/customers/acme`.
    let member =
        index + 1 == segments.len() && index > 0 && is_plural(&segments[index - 1]) && !is_plural(segment);
    all_digits || token || segment.contains('@') || member
}

fn is_version(segment: &str) -> bool {
    let number = segment.strip_prefix(['v', 'V']).unwrap_or_default();
    segment.eq_ignore_ascii_case("api") || number.starts_with(|letter: char| letter.is_ascii_digit())
}

fn is_plural(word: &str) -> bool {
    word.len() > 2
        && word.ends_with('s')
        && !word.ends_with("ss")
        && word.bytes().all(|byte| byte.is_ascii_alphabetic() || b"-_".contains(&byte))
}

fn singular(word: &str) -> String {
    match word.strip_suffix("ies") {
        Some(stem) => format!("{stem}y"),
        None if is_plural(word) => word[..word.len() - 1].to_owned(),
        None => word.to_owned(),
    }
}
