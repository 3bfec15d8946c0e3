//! What rules are compared with: worked out once per request, and only when a rule asks.

use std::cell::OnceCell;

use super::body::{Decoded, pairs};
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

/// Everything about a request.
#[derive(Debug)]
pub(super) struct Facts<'a> {
    pub(super) head: HeadFacts<'a>,
    pub(super) subject: &'a Subject<'a>,
    body: OnceCell<Decoded<'a>>,
    variables: OnceCell<Vec<(&'static str, cel::Value)>>,
}

impl<'a> Facts<'a> {
    pub(super) fn new(subject: &'a Subject<'a>) -> Self {
        let head = HeadFacts::new(subject.agent, subject.head);
        Self { head, subject, body: OnceCell::new(), variables: OnceCell::new() }
    }

    pub(super) fn body(&self) -> &Decoded<'a> {
        self.body.get_or_init(|| Decoded::new(self.subject.head, self.subject.body))
    }

    /// Whether the action may mean something else than it says, because its body could not be looked at.
    pub(super) fn action_is_uncertain(&self) -> bool {
        inspect::needs_body(self.subject.head) && !matches!(self.subject.body, BodyView::Whole(_))
            || self.body().uninspectable && inspect::needs_body(self.subject.head)
    }

    /// CEL's variables.
    pub(super) fn variables(&self) -> &[(&'static str, cel::Value)] {
        self.variables.get_or_init(|| {
            let all = [
                ("request", self.request()),
                ("action", self.action()),
                ("agent", Value::String(self.subject.agent.to_string())),
                ("caller", self.caller()),
                ("destination", self.destination()),
            ];
            // What cannot be turned into a value is missing, and a condition on it cannot be evaluated.
            let value =
                |(name, json): (&'static str, Value)| Some((name, cel::to_value(ForCel(&json)).ok()?));
            all.into_iter().filter_map(value).collect()
        })
    }

    fn request(&self) -> Value {
        let (head, body) = (self.subject.head, self.body());
        let path = head.path();
        let segments: Vec<&str> = path.split('/').filter(|segment| !segment.is_empty()).collect();
        let mut headers: Map<String, Value> = Map::new();
        for header in &head.headers {
            let value = String::from_utf8_lossy(&header.value);
            match headers.get_mut(&header.name) {
                Some(Value::String(joined)) => joined.push_str(&format!(", {value}")),
                _ => drop(headers.insert(header.name.clone(), Value::String(value.into_owned()))),
            }
        }
        present(json!({
            "method": head.method, "scheme": head.scheme, "host": head.host, "port": head.port, "path": path,
            "segments": segments, "headers": headers, "query": pairs(head.query()),
            "size": body.size, "text": body.text, "json": body.json, "form": body.form,
        }))
    }

    fn action(&self) -> Value {
        let action = self.subject.action;
        present(json!({
            "effect": action.effect, "resource": action.resource, "environment": action.environment,
            "reversible": action.reversible, "count": action.count, "amount": action.amount,
            "currency": action.currency, "family": action.family, "operation": action.operation,
        }))
    }

    fn caller(&self) -> Value {
        let caller = self.subject.caller;
        json!({ "exe": caller.exe, "comm": caller.comm, "uid": caller.uid, "cmdline": caller.cmdline })
    }

    fn destination(&self) -> Value {
        let destination = self.subject.destination;
        present(json!({
            "ip": destination.ip, "port": destination.port, "verified_name": destination.verified_name,
        }))
    }
}

/// A map without the keys that have no value: they are missing rather than null, so that a condition on them cannot be
/// evaluated.
fn present(mut value: Value) -> Value {
    if let Value::Object(entries) = &mut value {
        entries.retain(|_, value| !value.is_null());
    }
    value
}
