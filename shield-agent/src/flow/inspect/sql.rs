//! SQL over HTTP: the gravest word in the statement counts, wherever it stands.

use super::action::{Action, Effect};
use super::request::{Seen, cut};

/// Hosts whose API takes statements.
const HOSTS: [&str; 3] = ["bigquery.googleapis.com", "snowflakecomputing.com", "clickhouse.cloud"];

/// Last segments of paths that take statements, on any host.
const LAST: [&str; 9] =
    ["sql", "query", "queries", "statements", "statement", "_sql", "query-request", "execute", "executesql"];

/// Fields a statement stands in.
const FIELDS: [&str; 6] = ["query", "sql", "statement", "sqltext", "querystring", "q"];

const WORDS: [(&str, Effect); 24] = [
    ("drop", Effect::Delete),
    ("truncate", Effect::Delete),
    ("delete", Effect::Delete),
    ("purge", Effect::Delete),
    ("grant", Effect::Grant),
    ("revoke", Effect::Grant),
    ("call", Effect::Execute),
    ("exec", Effect::Execute),
    ("execute", Effect::Execute),
    ("do", Effect::Execute),
    ("alter", Effect::Write),
    ("create", Effect::Write),
    ("insert", Effect::Write),
    ("update", Effect::Write),
    ("merge", Effect::Write),
    ("replace", Effect::Write),
    ("copy", Effect::Write),
    ("load", Effect::Write),
    ("rename", Effect::Write),
    ("select", Effect::Read),
    ("show", Effect::Read),
    ("explain", Effect::Read),
    ("describe", Effect::Read),
    ("values", Effect::Read),
];

pub(super) fn see(seen: &Seen<'_>) -> Option<Action> {
    if !takes_statements(seen) {
        return None;
    }
    let statement = statement(seen)?;
    let words = words(&statement);
    let known = |word: &String| WORDS.iter().find(|(known, _)| known == word);
    let gravest = words.iter().filter_map(known).max_by_key(|(_, effect)| super::gravity(*effect));
    let Some((word, effect)) = gravest else {
        return seen.writes().then(|| seen.action("sql", Effect::Unknown, "statement".into()));
    };
    let mut action = seen.action("sql", *effect, word.to_ascii_uppercase());
    let shown = cut(statement.split_whitespace().collect::<Vec<_>>().join(" ").as_str());
    action.summary = format!("{shown} at {}", seen.host());
    action.resource = after(&words, word);
    if *effect == Effect::Write {
        action.reversible = None;
    }
    Some(action)
}

pub(super) fn needs_body(seen: &Seen<'_>) -> bool {
    takes_statements(seen) && seen.writes() && seen.method != "DELETE"
}

fn takes_statements(seen: &Seen<'_>) -> bool {
    HOSTS.iter().any(|host| seen.host_is(host))
        || LAST.contains(&seen.last().as_str())
        || seen.head.port == 8123
}

/// The statement, wherever it stands: JSON, form, query or the body itself, several joined.
fn statement(seen: &Seen<'_>) -> Option<String> {
    let mut found: Vec<String> = FIELDS.iter().filter_map(|name| seen.query(name)).collect();
    match seen.json() {
        Some(json) => collect(json, 0, &mut found),
        None => found.extend(seen.text.filter(|text| !text.is_empty()).map(|text| {
            let form = FIELDS.iter().find_map(|name| text.contains('=').then(|| seen.form(name))?);
            form.unwrap_or_else(|| text.to_owned())
        })),
    }
    (!found.is_empty()).then(|| found.join("; "))
}

fn collect(json: &serde_json::Value, depth: usize, found: &mut Vec<String>) {
    match json {
        serde_json::Value::Object(entries) if depth < 8 => {
            for (name, value) in entries {
                match value.as_str() {
                    Some(text) if FIELDS.contains(&name.to_ascii_lowercase().as_str()) => {
                        found.push(text.to_owned())
                    }
                    _ => collect(value, depth + 1, found),
                }
            }
        }
        serde_json::Value::Array(items) if depth < 8 => {
            items.iter().for_each(|item| collect(item, depth + 1, found))
        }
        _ => {}
    }
}

/// Words outside of texts and comments, in lower case. MySQL runs what stands in `/*! … */`.
fn words(statement: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word = String::new();
    let mut letters = statement.chars().peekable();
    let mut quote: Option<char> = None;
    while let Some(letter) = letters.next() {
        if let Some(end) = quote {
            if letter == end {
                quote = None;
            }
            continue;
        }
        if letter.is_alphanumeric() || letter == '_' || letter == '.' {
            word.extend(letter.to_lowercase());
            continue;
        }
        if !word.is_empty() {
            words.push(std::mem::take(&mut word));
        }
        match (letter, letters.peek()) {
            ('\'', _) => quote = Some('\''),
            ('-', Some('-')) => while letters.next_if(|next| *next != '\n').is_some() {},
            ('/', Some('*')) => {
                letters.next();
                if letters.peek() != Some(&'!') {
                    skip_comment(&mut letters);
                }
            }
            _ => {}
        }
    }
    if quote.is_some() {
        // An open text: what seemed to be inside may be outside to the server.
        words.extend(statement.split(|letter: char| !letter.is_alphanumeric()).map(str::to_lowercase));
    }
    words.push(word);
    words
}

fn skip_comment(letters: &mut std::iter::Peekable<std::str::Chars<'_>>) {
    let mut before = ' ';
    for letter in letters.by_ref() {
        if before == '*' && letter == '/' {
            return;
        }
        before = letter;
    }
}

/// What a word is about: `customers` for `drop table if exists customers`.
fn after(words: &[String], word: &str) -> Option<String> {
    const SMALL: [&str; 12] =
        ["table", "from", "if", "exists", "into", "database", "schema", "view", "index", "only", "not", "or"];
    let at = words.iter().position(|given| given == word)?;
    let name = words[at + 1..].iter().find(|given| !SMALL.contains(&given.as_str()) && !given.is_empty())?;
    Some(cut(name))
}
