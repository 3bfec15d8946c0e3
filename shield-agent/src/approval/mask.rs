//! Secrets replaced by `••••`, for everything a person or the journal sees.
//!
//! By place (a field that carries credentials), by name (`password`, `api_key` …) and by shape (a token that looks
//! like one). Text is changed in place and never re-written: what is not masked is shown exactly as it was sent. Masking
//! decides nothing and what is sent upstream never passes here.

mod json;
mod names;
mod shapes;

use std::borrow::Cow;

pub use self::names::{also_mask, is_secret_name};
pub use self::shapes::text;
use crate::flow::http::canonical::{RequestHead, lossy};

/// What stands for a secret.
pub const MASK: &str = "••••";

/// Words before a credential that say what kind it is.
const SCHEMES: [&str; 13] = [
    "apikey",
    "aws4-hmac-sha256",
    "basic",
    "bearer",
    "bot",
    "digest",
    "dpop",
    "hmac",
    "key",
    "negotiate",
    "ntlm",
    "sharedkey",
    "token",
];

/// Shortest value that is looked for elsewhere: shorter ones would be found in ordinary words.
const TELLING: usize = 8;

/// The value of a header field. `name` is lower case.
pub fn header(name: &str, value: &[u8]) -> String {
    let value = lossy(value);
    match name {
        "authorization" | "proxy-authorization" => credential(&value),
        "cookie" | "set-cookie" => cookies(&value),
        _ if is_secret_name(name) => credential(&value),
        _ => url(&value),
    }
}

/// A URL, or any text that may be one: secrets in its query and its user part.
pub fn url(url: &str) -> String {
    let masked = match url.split_once('?') {
        Some((before, query)) => {
            let (query, fragment) = query.split_once('#').map_or((query, None), |(q, f)| (q, Some(f)));
            let fragment = fragment.map_or(String::new(), |fragment| format!("#{}", form(fragment)));
            format!("{before}?{}{fragment}", form(query))
        }
        None => url.to_owned(),
    };
    text(&masked)
}

/// Pairs as in a query or a form.
pub fn form(pairs: &str) -> String {
    let mask = |pair: &str| match pair.split_once('=') {
        Some((name, value)) if !value.is_empty() && is_secret_name(&decoded(name)) => {
            format!("{name}={MASK}")
        }
        _ => pair.to_owned(),
    };
    pairs.split('&').map(mask).collect::<Vec<_>>().join("&")
}

/// The text of a body, whole or its beginning.
pub fn body(media_type: &str, body: &str) -> String {
    let kind = media_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    let start = body.trim_start().chars().next();
    let by_name = if kind == "application/x-www-form-urlencoded" {
        form(body)
    } else if kind.ends_with("json") || matches!(start, Some('{' | '[')) {
        json::mask(body)
    } else {
        body.to_owned()
    };
    text(&by_name)
}

/// The arguments of a command.
pub fn arguments(arguments: &[String]) -> Vec<String> {
    let mut secret_follows = false;
    let mask = |argument: &String| {
        let masked = match std::mem::take(&mut secret_follows) {
            true => MASK.to_owned(),
            false => url(argument),
        };
        let option = argument.strip_prefix('-').filter(|option| !option.contains(['=', ' ']));
        secret_follows = option
            .is_some_and(|option| is_secret_name(option) || matches!(argument.as_str(), "-u" | "--user"));
        masked
    };
    arguments.iter().map(mask).collect()
}

/// The secrets of one request, to be found wherever they are repeated.
#[derive(Clone, Default)]
pub struct Secrets(Vec<String>);

impl Secrets {
    /// What the fields and the query of a request say by name.
    pub fn of(head: &RequestHead) -> Self {
        let mut found = Vec::new();
        for field in &head.headers {
            let value = lossy(&field.value);
            match field.name.as_str() {
                "cookie" => found.extend(
                    value.split(';').filter_map(|pair| Some(pair.split_once('=')?.1.trim().to_owned())),
                ),
                name if is_secret_name(name) => found.push(without_scheme(&value).1.to_owned()),
                _ => {}
            }
        }
        let secret = |pair: &str| {
            let (name, value) = pair.split_once('=')?;
            is_secret_name(&decoded(name)).then(|| [value.to_owned(), decoded(value).into_owned()])
        };
        found.extend(head.query().split('&').filter_map(secret).flatten());
        found.retain(|value| value.len() >= TELLING);
        // A secret that begins another must not leave the other's end behind.
        found.sort_by_key(|value| std::cmp::Reverse(value.len()));
        found.dedup();
        Self(found)
    }

    /// The text without them, and without what looks like a secret.
    pub fn scrub(&self, text: &str) -> String {
        let known = self.0.iter().fold(Cow::Borrowed(text), |text, secret| match text.contains(secret) {
            true => Cow::Owned(text.replace(secret, MASK)),
            false => text,
        });
        url(&known)
    }

    /// The text without them; by name it was masked before.
    pub fn hide(&self, text: String) -> String {
        self.0.iter().fold(text, |text, secret| match text.contains(secret) {
            true => text.replace(secret, MASK),
            false => text,
        })
    }
}

fn credential(value: &str) -> String {
    match without_scheme(value) {
        (Some(scheme), _) => format!("{scheme} {MASK}"),
        (None, _) => MASK.to_owned(),
    }
}

/// Known words before the first space stay; an unknown one may be part of the secret.
fn without_scheme(value: &str) -> (Option<&str>, &str) {
    match value.split_once(' ') {
        Some((scheme, rest)) if SCHEMES.contains(&scheme.to_ascii_lowercase().as_str()) => {
            (Some(scheme), rest)
        }
        _ => (None, value),
    }
}

fn cookies(value: &str) -> String {
    let mask = |pair: &str| match pair.split_once('=') {
        Some((name, _)) => format!("{}={MASK}", name.trim()),
        None => MASK.to_owned(),
    };
    value.split(';').map(mask).collect::<Vec<_>>().join("; ")
}

fn decoded(text: &str) -> Cow<'_, str> {
    url::form_urlencoded::parse(text.as_bytes()).next().map_or(Cow::Borrowed(""), |(name, _)| name)
}

#[cfg(test)]
mod tests;
