//! What rules are compared with: worked out once per request, and only when a rule asks.

use std::cell::{OnceCell, RefCell};
use std::collections::HashMap;

use super::body::{Decoded, pairs};
use super::condition::Taken;
use super::json::ForCel;
use super::path;
use super::verdict::{BodyView, Subject};
use crate::flow::http::canonical::RequestHead;
use crate::flow::inspect;
use crate::names::AgentName;
use serde_json::{Map, Value, json};

/// Header and query names by which a request asks a server to read another method into it.
const METHOD_OVERRIDES: [&str; 3] = ["x-http-method-override", "x-http-method", "x-method-override"];

/// Facts that the head alone gives.
#[derive(Debug)]
pub(super) struct HeadFacts<'a> {
    pub(super) agent: &'a AgentName,
    pub(super) head: &'a RequestHead,
    /// The method, and every other that a server may read instead.
    pub(super) methods: Vec<String>,
    /// The path, and every other reading of it.
    pub(super) paths: Vec<String>,
}

impl<'a> HeadFacts<'a> {
    pub(super) fn new(agent: &'a AgentName, head: &'a RequestHead) -> Self {
        let mut methods = vec![head.method.clone()];
        let headers = METHOD_OVERRIDES.iter().flat_map(|name| head.header_values(name));
        methods.extend(headers.map(|value| String::from_utf8_lossy(value).trim().to_owned()));
        if !head.query().is_empty() {
            let pairs = url::form_urlencoded::parse(head.query().as_bytes());
            methods.extend(pairs.filter(|(name, _)| name == "_method").map(|(_, value)| value.into_owned()));
        }
        Self { agent, head, methods, paths: path::forms(head.path()) }
    }
}

/// What a condition can speak of, and the fields of each; `agent` is a word and has none.
pub(super) const VARIABLES: [(&str, &[&str]); 5] = [
    ("request", &REQUEST),
    (
        "action",
        &[
            "amount",
            "count",
            "currency",
            "effect",
            "environment",
            "family",
            "operation",
            "resource",
            "reversible",
        ],
    ),
    ("agent", &[]),
    ("caller", &["cmdline", "comm", "exe", "uid"]),
    ("destination", &["ip", "port", "verified_name"]),
];

const REQUEST: [&str; 12] = [
    "form", "headers", "host", "json", "method", "path", "port", "query", "scheme", "segments", "size",
    "text",
];

/// The fields of a variable; `None` when there is no such variable.
pub(super) fn fields_of(variable: &str) -> Option<&'static [&'static str]> {
    VARIABLES.into_iter().find(|(name, _)| *name == variable).map(|(_, fields)| fields)
}

/// A field that a condition asked for, as CEL has it; `None` when it has no value.
type Field = ((&'static str, &'static str), Option<cel::Value>);

/// Everything about a request.
#[derive(Debug)]
pub(super) struct Facts<'a> {
    pub(super) head: HeadFacts<'a>,
    pub(super) subject: &'a Subject<'a>,
    body: OnceCell<Decoded<'a>>,
    uncertain: OnceCell<bool>,
    /// Few, so that looking through all of them is quickest.
    fields: RefCell<Vec<Field>>,
}

impl<'a> Facts<'a> {
    pub(super) fn new(subject: &'a Subject<'a>) -> Self {
        let head = HeadFacts::new(subject.agent, subject.head);
        let (body, uncertain, fields) = (OnceCell::new(), OnceCell::new(), RefCell::default());
        Self { head, subject, body, uncertain, fields }
    }

    pub(super) fn body(&self) -> &Decoded<'a> {
        self.body.get_or_init(|| Decoded::new(self.subject.head, self.subject.body))
    }

    /// Whether the action may mean something else than it says, because its body could not be looked at.
    pub(super) fn action_is_uncertain(&self) -> bool {
        *self.uncertain.get_or_init(|| {
            inspect::needs_body(self.subject.head)
                && (!matches!(self.subject.body, BodyView::Whole(_)) || self.body().uninspectable)
        })
    }

    /// A variable as far as a condition takes it. Fields without a value are missing rather than null, so that a
    /// condition on them cannot be evaluated.
    pub(super) fn variable(&self, taken: &Taken) -> Option<cel::Value> {
        if taken.variable == "agent" {
            return cel::to_value(self.subject.agent.as_str()).ok();
        }
        let value = |field: &&'static str| Some((*field, self.field(taken.variable, field)?));
        let fields: HashMap<&str, cel::Value> = taken.fields.iter().filter_map(value).collect();
        Some(cel::Value::Map(fields.into()))
    }

    fn field(&self, variable: &'static str, field: &'static str) -> Option<cel::Value> {
        let mut known = self.fields.borrow_mut();
        if let Some((_, value)) = known.iter().find(|(name, _)| *name == (variable, field)) {
            return value.clone();
        }
        let json = match variable {
            "request" => self.request(field),
            "action" => self.action(field),
            "caller" => self.caller(field),
            _ => self.destination(field),
        };
        let value = if json.is_null() { None } else { cel::to_value(ForCel(&json)).ok() };
        known.push(((variable, field), value.clone()));
        value
    }

    fn request(&self, field: &str) -> Value {
        let head = self.subject.head;
        match field {
            "method" => json!(head.method),
            "scheme" => json!(head.scheme),
            "host" => json!(head.host),
            "port" => json!(head.port),
            "path" => json!(head.path()),
            "segments" => head.path().split('/').filter(|segment| !segment.is_empty()).collect(),
            "headers" => headers(head),
            "query" => json!(pairs(head.query())),
            "size" => json!(self.body().size),
            "text" => json!(self.body().text),
            "json" => self.body().json.clone().unwrap_or_default(),
            "form" => json!(self.body().form),
            _ => Value::Null,
        }
    }

    fn action(&self, field: &str) -> Value {
        let action = self.subject.action;
        match field {
            "effect" => json!(action.effect),
            "resource" => json!(action.resource),
            "environment" => json!(action.environment),
            "reversible" => json!(action.reversible),
            "count" => json!(action.count),
            "amount" => json!(action.amount),
            "currency" => json!(action.currency),
            "family" => json!(action.family),
            "operation" => json!(action.operation),
            _ => Value::Null,
        }
    }

    fn caller(&self, field: &str) -> Value {
        let caller = self.subject.caller;
        match field {
            "exe" => json!(caller.exe),
            "comm" => json!(caller.comm),
            "uid" => json!(caller.uid),
            "cmdline" => json!(caller.cmdline),
            _ => Value::Null,
        }
    }

    fn destination(&self, field: &str) -> Value {
        let destination = self.subject.destination;
        match field {
            "ip" => json!(destination.ip),
            "port" => json!(destination.port),
            "verified_name" => json!(destination.verified_name),
            _ => Value::Null,
        }
    }
}

/// Header fields by name; values of one that stands more than once are joined.
fn headers(head: &RequestHead) -> Value {
    let mut headers: Map<String, Value> = Map::new();
    for header in &head.headers {
        let value = String::from_utf8_lossy(&header.value);
        match headers.get_mut(&header.name) {
            Some(Value::String(joined)) => joined.push_str(&format!(", {value}")),
            _ => drop(headers.insert(header.name.clone(), Value::String(value.into_owned()))),
        }
    }
    Value::Object(headers)
}
