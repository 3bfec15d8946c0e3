//! The canonical head of a parsed request: names agree, nothing hop-by-hop, nothing two programs read differently.
//!
//! Both HTTP versions end here, so a request means the same whichever way it came. It never looks at a body.

use ::http::request::Parts;
use ::http::{HeaderMap, HeaderName, HeaderValue, Method, Uri, Version, header};

use super::canonical::{Header, RequestHead, Scheme};
use super::head::{imitates_framing, is_offer, is_token_char};
use super::host::{self, Authority};
use super::unclear::Unclear;

/// What requests come over, known before any of them is read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Channel {
    /// `https` when the flow is TLS.
    pub scheme: Scheme,
    /// The canonical name of the TLS session; `None` for plain HTTP.
    pub name: Option<String>,
    /// The port the program connected to.
    pub port: u16,
    /// Most fields in a head.
    pub most_fields: usize,
}

/// Fields that belong to one connection and are never passed on, beside those `Connection` lists.
const HOP_BY_HOP: [&str; 9] = [
    "connection",
    "http2-settings",
    "keep-alive",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// Fields that are written anew from the canonical request or answered here.
const REWRITTEN: [&str; 3] = ["content-length", "expect", "host"];

/// What a program is told that takes the gate for an HTTP proxy.
pub const CONNECT_HINT: &str = "CONNECT does not pass: no HTTP proxy is needed or used here. Unset HTTPS_PROXY, HTTP_PROXY \
     and ALL_PROXY and connect to the destination itself";
const PROXY_HINT: &str = "it is written for an HTTP proxy, and none is needed or used here. Unset HTTP_PROXY and ALL_PROXY \
     and connect to the destination itself";

/// The canonical head, or why there is none.
pub fn canonical_head(parts: &Parts, channel: &Channel) -> Result<RequestHead, Unclear> {
    let websocket = offers_websocket(parts)?;
    check_meaning(parts, channel.most_fields)?;
    let authority = agreed_authority(parts, channel)?;
    Ok(RequestHead {
        scheme: channel.scheme,
        host: authority.host,
        port: channel.port,
        method: parts.method.as_str().to_owned(),
        target: target(&parts.method, &parts.uri)?,
        headers: end_to_end(&parts.headers, websocket)?,
    })
}

/// Refuses what servers read differently in a head that is well formed. HTTP/1 was looked at byte by byte before; HTTP/2
/// was not.
fn check_meaning(parts: &Parts, most_fields: usize) -> Result<(), Unclear> {
    // Some servers write a method in capitals before they look at it.
    if parts.method.as_str().bytes().any(|c| c.is_ascii_lowercase()) {
        return Err(Unclear::Ambiguous("the method is not in capital letters"));
    }
    if parts.headers.get_all(header::CONTENT_LENGTH).iter().nth(1).is_some() {
        return Err(Unclear::Ambiguous("Content-Length is given more than once"));
    }
    // HTTP/2 cuts cookies into pieces: they are one field again when they are sent.
    let cookies = parts.headers.get_all(header::COOKIE).iter().count();
    if parts.headers.len() - cookies.saturating_sub(1) > most_fields {
        return Err(Unclear::TooMany(most_fields));
    }
    if parts.headers.keys().any(|name| imitates_framing(name.as_str().as_bytes())) {
        return Err(Unclear::Ambiguous("a field name imitates a framing field"));
    }
    let met = |value: &HeaderValue| value.as_bytes().eq_ignore_ascii_case(b"100-continue");
    if !parts.headers.get_all(header::EXPECT).iter().all(met) {
        return Err(Unclear::Unsupported("an expectation other than 100-continue cannot be met"));
    }
    Ok(())
}

/// Whether a request offers to go on in another protocol, so that nothing may follow it until it is answered.
pub fn offers_upgrade(parts: &Parts) -> bool {
    parts.headers.get_all(header::UPGRADE).iter().any(|value| is_offer(value.as_bytes()))
}

/// Whether a request opens a WebSocket (RFC 6455); other ways out of HTTP do not pass.
fn offers_websocket(parts: &Parts) -> Result<bool, Unclear> {
    if parts.method == Method::CONNECT {
        return Err(Unclear::Unsupported(CONNECT_HINT));
    }
    if !offers_upgrade(parts) {
        return Ok(false);
    }
    let one = |name: HeaderName| {
        let mut values = parts.headers.get_all(name).iter();
        values.next().filter(|_| values.next().is_none()).map(HeaderValue::as_bytes)
    };
    let wanted = one(header::UPGRADE).is_some_and(|value| value.eq_ignore_ascii_case(b"websocket"));
    if !wanted || parts.version != Version::HTTP_11 {
        return Err(Unclear::Unsupported("only WebSocket over HTTP/1.1 can take over a connection"));
    }
    let clear = parts.method == Method::GET
        && connection_options(&parts.headers).contains(&header::UPGRADE)
        && one(header::SEC_WEBSOCKET_VERSION) == Some(b"13")
        && one(header::SEC_WEBSOCKET_KEY).is_some();
    if clear { Ok(true) } else { Err(Unclear::Ambiguous("the WebSocket handshake is incomplete")) }
}

/// The one authority of the request: `Host`, the target's authority, the TLS name and the port must agree.
fn agreed_authority(parts: &Parts, channel: &Channel) -> Result<Authority, Unclear> {
    let mut hosts = parts.headers.get_all(header::HOST).iter();
    let host = hosts.next().map(|value| host::authority(value.as_bytes())).transpose()?;
    if hosts.next().is_some() {
        return Err(Unclear::Ambiguous("Host is given more than once"));
    }
    let target =
        parts.uri.authority().map(|authority| host::authority(authority.as_str().as_bytes())).transpose()?;
    // In HTTP/1 only requests to proxies are written out in full, and a port left out is then the scheme's own.
    let default_port = |authority: &Authority| authority.port.unwrap_or(channel.scheme.default_port());
    if parts.version < Version::HTTP_2
        && target.as_ref().is_some_and(|target| default_port(target) != channel.port)
    {
        return Err(Unclear::Unsupported(PROXY_HINT));
    }
    if parts.uri.scheme_str().is_some_and(|scheme| scheme != channel.scheme.as_str()) {
        return Err(Unclear::Ambiguous("the scheme of the target is not that of the connection"));
    }
    let authority = match (host, target) {
        (Some(host), Some(target)) if !same(&host, &target, channel) => {
            return Err(Unclear::Ambiguous("Host and the authority of the target differ"));
        }
        (_, Some(authority)) | (Some(authority), None) => authority,
        (None, None) => return Err(Unclear::Ambiguous("Host is missing")),
    };
    let name = channel.name.as_deref().unwrap_or(&authority.host);
    let expected = Authority { host: name.to_owned(), port: Some(channel.port) };
    match same(&authority, &expected, channel) {
        true => Ok(authority),
        false => Err(Unclear::Misdirected { asked: shown(&authority), opened: shown(&expected) }),
    }
}

/// A port that is left out is the one the connection was opened to.
fn same(one: &Authority, other: &Authority, channel: &Channel) -> bool {
    one.host == other.host && one.port.unwrap_or(channel.port) == other.port.unwrap_or(channel.port)
}

fn shown(authority: &Authority) -> String {
    match authority.port {
        Some(port) => format!("{}:{port}", authority.host),
        None => authority.host.clone(),
    }
}

fn target(method: &Method, uri: &Uri) -> Result<String, Unclear> {
    // Written as an authority alone, or in HTTP/2 not at all: a path is never made up.
    let target = uri.path_and_query().filter(|_| !uri.path().is_empty()).map_or("", |target| target.as_str());
    if target == "*" && method == Method::OPTIONS {
        return Ok(target.to_owned());
    }
    if !target.starts_with('/') {
        return Err(Unclear::Ambiguous("the target is not a path"));
    }
    if !target.bytes().all(|c| c.is_ascii_graphic()) {
        return Err(Unclear::Ambiguous("the target holds a byte that must be percent-encoded"));
    }
    check_path(target.split_once('?').map_or(target, |(path, _)| path))?;
    Ok(target.to_owned())
}

/// Refuses paths that servers resolve differently before they route them.
fn check_path(path: &str) -> Result<(), Unclear> {
    let lower = path.to_ascii_lowercase();
    let decoded = lower.replace("%2e", ".").replace("%2f", "/");
    if decoded.split(['/', ';']).any(|segment| segment == "." || segment == "..") {
        return Err(Unclear::Ambiguous("the path holds a dot segment"));
    }
    if lower.contains('\\') || lower.contains("%5c") {
        return Err(Unclear::Ambiguous("the path holds a backslash"));
    }
    for (at, _) in lower.match_indices('%') {
        check_escape(&lower.as_bytes()[at + 1..])?;
    }
    Ok(())
}

/// Refuses escapes that servers decode differently; `after` is what follows the percent sign, in small letters.
fn check_escape(after: &[u8]) -> Result<(), Unclear> {
    match after {
        [b'0' | b'1', ..] | [b'7', b'f', ..] => {
            Err(Unclear::Ambiguous("the path holds an encoded control byte"))
        }
        // ASCII in more bytes than it needs: `%c0%af` is a slash to those who decode it.
        [b'c', b'0' | b'1', b'%', b'8'..=b'9' | b'a' | b'b', ..]
        | [b'e', b'0', b'%', b'8' | b'9', ..]
        | [b'f', b'0', b'%', b'8', ..] => {
            Err(Unclear::Ambiguous("the path holds a letter in too many bytes"))
        }
        [one, two, ..] if one.is_ascii_hexdigit() && two.is_ascii_hexdigit() => Ok(()),
        _ => Err(Unclear::Ambiguous("the path holds a percent sign that encodes nothing")),
    }
}

/// End-to-end fields in order, as they will be sent; cookie crumbs of HTTP/2 are put together again. Of the fields of a
/// connection, only the wish for a WebSocket belongs to the request.
fn end_to_end(fields: &HeaderMap, websocket: bool) -> Result<Vec<Header>, Unclear> {
    let listed = connection_options(fields);
    let mut headers: Vec<Header> = Vec::with_capacity(fields.len());
    for (name, value) in fields {
        let name = name.as_str();
        if REWRITTEN.contains(&name) || is_hop_by_hop(name) || listed.iter().any(|option| option == name) {
            continue;
        }
        // What reads HTTP/2 for us takes quotation marks in names.
        if !name.bytes().all(is_token_char) {
            return Err(Unclear::Ambiguous("a field name is not a token"));
        }
        if value.as_bytes().iter().any(|&c| (c < b' ' && c != b'\t') || c == 0x7f) {
            return Err(Unclear::Ambiguous("a field holds a control byte"));
        }
        let value = value.as_bytes().trim_ascii();
        let cookie =
            if name == "cookie" { headers.iter_mut().find(|header| header.name == name) } else { None };
        match cookie {
            // A crumb that says nothing leaves nothing, and no white space at the end.
            Some(_) if value.is_empty() => {}
            Some(cookie) if cookie.value.is_empty() => cookie.value = value.to_vec(),
            Some(cookie) => cookie.value.extend(b"; ".iter().chain(value)),
            None => headers.push(Header { name: name.to_owned(), value: value.to_vec() }),
        }
    }
    if websocket {
        headers.push(Header { name: "upgrade".to_owned(), value: b"websocket".to_vec() });
    }
    Ok(headers)
}

/// Whether a field belongs to one connection.
pub fn is_hop_by_hop(name: &str) -> bool {
    HOP_BY_HOP.contains(&name)
}

/// Lower-case names that `Connection` lists: they belong to this connection too.
pub fn connection_options(fields: &HeaderMap) -> Vec<HeaderName> {
    let values = fields.get_all(header::CONNECTION).iter();
    let names = values.flat_map(|value| value.as_bytes().split(|&c| c == b','));
    names.filter_map(|name| HeaderName::from_bytes(name.trim_ascii()).ok()).collect()
}

#[cfg(test)]
mod tests;
