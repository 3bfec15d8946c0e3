//! JSON with the values of secret members masked, otherwise byte for byte as it was.
//!
//! Not a parser: text that is not JSON, or breaks off, is followed as far as it goes. Nothing is re-ordered, merged or
//! dropped, so a member that occurs twice is shown twice.

use std::sync::LazyLock;

use regex::Regex;

use super::{MASK, is_secret_name};

/// A Kubernetes Secret keeps its values under names of their own.
static KUBERNETES_SECRET: LazyLock<Regex> =
    LazyLock::new(|| Regex::new(r#""kind"\s*:\s*"Secret""#).expect("a valid expression"));

/// Masks the values of secret members, at any depth below them.
pub(super) fn mask(text: &str) -> String {
    let kubernetes_secret = KUBERNETES_SECRET.is_match(text);
    let mut walk =
        Walk { kubernetes_secret, levels: vec![Level::default()], masked: String::with_capacity(text.len()) };
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        let length = match c {
            '"' => string_length(rest),
            '-' | '0'..='9' => rest
                .find(|c: char| !matches!(c, '-' | '+' | '.' | '0'..='9' | 'a'..='z' | 'A'..='Z'))
                .unwrap_or(rest.len()),
            other => other.len_utf8(),
        };
        let (token, after) = rest.split_at(length);
        walk.take(c, token);
        rest = after;
    }
    walk.masked
}

#[derive(Clone, Copy, Default)]
struct Level {
    object: bool,
    /// Everything here is below a secret name.
    secret: bool,
    /// The next string is a member's name.
    at_name: bool,
    /// The next value has a secret name.
    secret_value: bool,
}

struct Walk {
    kubernetes_secret: bool,
    levels: Vec<Level>,
    masked: String,
}

impl Walk {
    fn take(&mut self, first: char, token: &str) {
        let level = self.levels.last().copied().unwrap_or_default();
        let deeper = self.levels.len() > 1;
        match first {
            '{' | '[' => {
                let object = first == '{';
                let secret = level.secret || level.secret_value;
                self.levels.push(Level { object, secret, at_name: object, secret_value: false });
            }
            // Text with too many of these is not JSON; its outermost level stays.
            '}' | ']' => drop(self.levels.pop_if(|_| deeper)),
            ',' => self.change(|level| (level.at_name, level.secret_value) = (level.object, false)),
            ':' => self.change(|level| level.at_name = false),
            '"' if level.at_name => {
                let secret = self.names_secret(token);
                self.change(|level| level.secret_value = secret);
            }
            '"' if level.secret || level.secret_value => return self.hide(token),
            '-' | '0'..='9' if level.secret || level.secret_value => return self.masked.push_str(MASK),
            _ => {}
        }
        self.masked.push_str(token);
    }

    fn change(&mut self, change: impl FnOnce(&mut Level)) {
        if let Some(level) = self.levels.last_mut() {
            change(level);
        }
    }

    fn names_secret(&self, token: &str) -> bool {
        // A name may be written with escapes.
        let name =
            serde_json::from_str::<String>(token).unwrap_or_else(|_| token.trim_matches('"').to_owned());
        is_secret_name(&name) || self.kubernetes_secret && matches!(name.as_str(), "data" | "stringData")
    }

    fn hide(&mut self, token: &str) {
        let inside = token.trim_matches('"');
        if inside.is_empty() {
            return self.masked.push_str(token);
        }
        let ends = token.len() > 1 && token.ends_with('"');
        self.masked.push('"');
        self.masked.push_str(MASK);
        self.masked.push_str(if ends { "\"" } else { "" });
    }
}

/// Length of the string `rest` begins with, quotes included; all of it when the text breaks off.
fn string_length(rest: &str) -> usize {
    let mut escaped = false;
    for (at, byte) in rest.bytes().enumerate().skip(1) {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'"' => return at + 1,
            _ => {}
        }
    }
    rest.len()
}
