//! AWS: the action is in the query, in a form, in `X-Amz-Target`, or (for S3 and Lambda) in method and path.

use super::action::{Action, Effect};
use super::http;
use super::request::{Seen, cut};

const READS: [&str; 12] = [
    "Describe", "Get", "List", "Head", "BatchGet", "Query", "Scan", "Search", "Select", "Lookup", "Estimate",
    "Decode",
];
const DELETES: [&str; 8] =
    ["Delete", "Terminate", "Deregister", "Purge", "Destroy", "BatchDelete", "Remove", "Release"];

/// Services whose every change is a change of access.
const ACCESS: [&str; 5] = ["iam", "sso", "sso-admin", "identitystore", "organizations"];

pub(super) fn see(seen: &Seen<'_>) -> Option<Action> {
    if !seen.host_is("amazonaws.com") && !seen.host_is("amazonaws.com.cn") {
        return None;
    }
    if is_s3(seen.host()) {
        return Some(s3(seen));
    }
    let service = service(seen.host());
    if seen.last() == "invocations" || seen.last() == "invoke-async" {
        return Some(seen.action("aws", Effect::Execute, format!("{service} Invoke")));
    }
    let Some(name) = action_name(seen) else {
        // REST services say it with method and path; a form whose body is unknown can be anything.
        let effect = if needs_body(seen) { Effect::Unknown } else { http::by_method(&seen.method) };
        return Some(seen.action(
            "aws",
            effect,
            format!("{service} {}", http::operation(&seen.method, &seen.segments)),
        ));
    };
    let operation = cut(&format!("{service} {name}"));
    let mut action = seen.action("aws", effect(service, &name), operation.clone());
    action.resource = None;
    action.summary = format!("{operation} at {}", seen.host());
    Some(action)
}

pub(super) fn needs_body(seen: &Seen<'_>) -> bool {
    seen.host_is("amazonaws.com")
        && seen.method == "POST"
        && !is_s3(seen.host())
        && seen.segments.is_empty()
        && seen.header("x-amz-target").is_none()
        && seen.query("Action").is_none()
}

fn action_name(seen: &Seen<'_>) -> Option<String> {
    let target = seen.header("x-amz-target");
    let target = target.and_then(|target| Some(target.rsplit_once('.')?.1.to_owned()));
    // Several ways to say it at once: the first that the service would read cannot be known, so the gravest counts.
    let named = [target, seen.query("Action"), seen.form("Action")];
    named.into_iter().flatten().max_by_key(|name| super::gravity(effect("", name)))
}

fn effect(service: &str, name: &str) -> Effect {
    let begins = |words: &[&str]| words.iter().any(|word| name.starts_with(word));
    if name.starts_with("Send") || name == "Publish" || name == "PublishBatch" {
        return if service == "sqs" { Effect::Write } else { Effect::Message };
    }
    if begins(&READS) || name.starts_with("AssumeRole") {
        Effect::Read
    } else if begins(&DELETES) {
        Effect::Delete
    } else if ACCESS.contains(&service)
        || name.ends_with("Permission")
        || name.contains("Policy")
        || name.contains("AccessKey")
    {
        Effect::Grant
    } else if name.starts_with("Execute") || name.starts_with("Invoke") || name == "SendCommand" {
        Effect::Execute
    } else {
        Effect::Write
    }
}

fn service(host: &str) -> &str {
    host.split('.').next().unwrap_or_default()
}

fn is_s3(host: &str) -> bool {
    host.split('.').any(|label| label == "s3" || label.starts_with("s3-"))
}

fn s3(seen: &Seen<'_>) -> Action {
    let asks = |name: &str| seen.head.query().split('&').any(|pair| pair.split('=').next() == Some(name));
    let (effect, name) = match seen.method.as_str() {
        "DELETE" => (Effect::Delete, "Delete"),
        "POST" if asks("delete") => (Effect::Delete, "DeleteObjects"),
        "PUT" if asks("policy") || asks("acl") || asks("publicAccessBlock") => (Effect::Grant, "PutPolicy"),
        "PUT" if asks("lifecycle") => (Effect::Delete, "PutLifecycle"),
        "POST" if asks("select") => (Effect::Read, "Select"),
        other => (http::by_method(other), other),
    };
    let mut action = seen.action("aws", effect, format!("s3 {name}"));
    action.resource = Some(cut(&format!("{}/{}", seen.host(), seen.segments.join("/"))));
    if name == "DeleteObjects" {
        action.count = seen.text.map(|text| text.matches("<Key>").count() as u64);
    }
    action
}
