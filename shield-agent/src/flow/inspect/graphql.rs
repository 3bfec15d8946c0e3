//! GraphQL: a query reads, a mutation changes, and the names of its fields say how.

use serde_json::Value;

use super::action::{Action, Effect};
use super::request::{Seen, cut};

/// Beginnings of field names that remove something.
const REMOVES: [&str; 6] = ["delete", "remove", "destroy", "purge", "drop", "archive"];

pub(super) fn see(seen: &Seen<'_>) -> Option<Action> {
    if !is_endpoint(seen) {
        return None;
    }
    let documents = documents(seen);
    if documents.is_empty() {
        return seen.writes().then(|| seen.action("graphql", Effect::Unknown, "document".into()));
    }
    let read: Vec<(Effect, String)> = documents.iter().map(|document| meaning(document)).collect();
    let (effect, operation) = read.into_iter().max_by_key(|(effect, _)| super::gravity(*effect))?;
    let mut action = seen.action("graphql", effect, operation.clone());
    action.resource = None;
    action.summary = format!("{operation} at {}", seen.host());
    Some(action)
}

pub(super) fn needs_body(seen: &Seen<'_>) -> bool {
    is_endpoint(seen) && seen.writes()
}

fn is_endpoint(seen: &Seen<'_>) -> bool {
    matches!(seen.last().as_str(), "graphql" | "gql")
}

fn documents(seen: &Seen<'_>) -> Vec<String> {
    let of = |value: &Value| value["query"].as_str().map(str::to_owned);
    let mut documents: Vec<String> = match seen.json() {
        Some(Value::Array(batch)) => batch.iter().filter_map(of).collect(),
        Some(value) => of(value).into_iter().collect(),
        None => vec![],
    };
    documents.extend(seen.query("query"));
    if seen.header("content-type").is_some_and(|kind| kind.starts_with("application/graphql")) {
        documents.extend(seen.text.map(str::to_owned));
    }
    documents
}

/// The gravest operation of a document; what cannot be read is unknown.
fn meaning(document: &str) -> (Effect, String) {
    let tokens = tokens(document);
    let mut depth = 0usize;
    let mut kind = "query";
    let mut gravest = (Effect::Read, "query".to_owned());
    let mut begun = false;
    let mut arguments = 0usize;
    for (index, token) in tokens.iter().enumerate() {
        match token.as_str() {
            "(" => arguments += 1,
            ")" => arguments = arguments.saturating_sub(1),
            _ if arguments > 0 => {}
            "{" => depth += 1,
            "}" => depth = depth.saturating_sub(1),
            "query" | "mutation" | "subscription" | "fragment" if depth == 0 => kind = token,
            _ if depth == 1 && kind == "mutation" => {
                // `alias: field`: the field is what happens.
                if tokens.get(index + 1).is_some_and(|next| next == ":") || token == ":" {
                    continue;
                }
                let lower = token.to_lowercase();
                let removes = REMOVES.iter().any(|word| lower.starts_with(word));
                let effect = if removes { Effect::Delete } else { Effect::Write };
                if super::gravity(effect) > super::gravity(gravest.0) {
                    gravest = (effect, format!("mutation {}", cut(token)));
                }
            }
            _ => {}
        }
        begun |= depth > 0;
    }
    if !begun || depth > 0 {
        return (Effect::Unknown, "document that cannot be read".into());
    }
    // A fragment on the mutation type hides its fields.
    let hides = document.contains("mutation") && gravest.0 == Effect::Read;
    if hides { (Effect::Unknown, "mutation".into()) } else { gravest }
}

/// Names and punctuation, without comments, texts and directives' sigils.
fn tokens(document: &str) -> Vec<String> {
    let mut tokens = Vec::new();
    let mut letters = document.chars().peekable();
    while let Some(letter) = letters.next() {
        match letter {
            '#' => while letters.next_if(|next| *next != '\n').is_some() {},
            '"' => skip_text(&mut letters),
            '{' | '}' | '(' | ')' | ':' => tokens.push(letter.to_string()),
            letter if letter.is_alphanumeric() || letter == '_' => {
                let mut name = letter.to_string();
                while let Some(next) = letters.next_if(|next| next.is_alphanumeric() || *next == '_') {
                    name.push(next);
                }
                tokens.push(name);
            }
            _ => {}
        }
    }
    tokens
}

fn skip_text(letters: &mut std::iter::Peekable<std::str::Chars<'_>>) {
    while let Some(letter) = letters.next() {
        match letter {
            '\\' => drop(letters.next()),
            '"' => return,
            _ => {}
        }
    }
}
