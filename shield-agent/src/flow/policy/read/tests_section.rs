//! `tests:` — what the authors of a policy expect of it.

use super::super::inline::InlineTest;
use super::VERDICTS;
use crate::flow::http::canonical::{Header, RequestHead, Scheme};
use crate::names::RuleId;
use crate::yaml::{Node, Reader, Value};

/// Reads one test; `None` when it has a mistake.
pub(super) fn read(reader: &Reader, file: &str, node: &Node) -> Option<InlineTest> {
    let fields = reader.fields(node, &["name", "agent", "request", "expect", "at"]);
    let name = fields.required(reader, "name").and_then(|node| reader.text(node));
    let request = fields.required(reader, "request").and_then(|node| request(reader, node));
    let agent = fields.get("agent").map(|node| reader.parsed(node, "an agent's name"));
    let at = fields.get("at").map(|node| reader.parsed(node, "a moment such as 2027-01-31T12:00:00Z"));
    let expect = fields.required(reader, "expect")?;
    let expect = reader.fields(expect, &["verdict", "rule"]);
    let verdict = expect.required(reader, "verdict").and_then(|node| reader.word(node, &VERDICTS));
    let rule = expect.get("rule").and_then(|node| reader.text(node)).map(|id| RuleId(id.to_owned()));
    let (head, body) = request?;
    Some(InlineTest {
        file: file.to_owned(),
        line: node.place.line,
        name: name?.to_owned(),
        agent: agent.unwrap_or_else(|| "test".parse().ok())?,
        at: at.map_or(Some(None), |at| at.map(Some))?,
        head,
        body,
        verdict: verdict?,
        rule,
    })
}

fn request(reader: &Reader, node: &Node) -> Option<(RequestHead, Vec<u8>)> {
    let fields = reader.fields(node, &["method", "url", "headers", "body"]);
    let method = fields.get("method").map_or(Some("GET"), |node| reader.text(node))?;
    let url = fields.required(reader, "url")?;
    let mut head = match head(method, reader.text(url)?) {
        Ok(head) => head,
        Err(message) => {
            reader.mistake(url.place, message);
            return None;
        }
    };
    if let Some(Node { value: Value::Map(entries), .. }) = fields.get("headers") {
        for (name, _, value) in entries {
            let value = reader.text(value)?.as_bytes().to_vec();
            head.headers.push(Header { name: name.to_ascii_lowercase(), value });
        }
    } else if let Some(node) = fields.get("headers") {
        reader.mistake(node.place, "expected a map of names and values");
    }
    let body = fields.get("body").map_or(Some(""), |node| reader.text(node))?;
    Some((head, body.as_bytes().to_vec()))
}

/// A request's head from a method and a URL as people write them; the error says what is wrong.
pub(in crate::flow::policy) fn head(method: &str, url: &str) -> Result<RequestHead, String> {
    let wanted = || format!("expected an absolute http or https URL, not `{url}`");
    let (scheme, rest) = url.split_once("://").ok_or_else(wanted)?;
    let scheme = match scheme {
        "http" => Scheme::Http,
        "https" => Scheme::Https,
        _ => return Err(wanted()),
    };
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let authority =
        crate::flow::http::host::authority(&rest.as_bytes()[..end]).map_err(|error| error.to_string())?;
    let target = rest[end..].split('#').next().unwrap_or_default();
    let target = if target.starts_with('/') { target.to_owned() } else { format!("/{target}") };
    Ok(RequestHead {
        scheme,
        port: authority.port.unwrap_or(scheme.default_port()),
        host: authority.host,
        method: method.to_owned(),
        target,
        headers: vec![],
    })
}
