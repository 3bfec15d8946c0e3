//! The canonical head of a parsed request: names agree, nothing hop-by-hop, nothing two programs read differently.
//!
//! Both HTTP versions end here, so a request means the same whichever way it came. It never looks at a body.

use ::http::request::Parts;
use ::http::{HeaderMap, HeaderName, HeaderValue, Method, Uri, Version, header};

use super::canonical::{Header, RequestHead, Scheme};
use super::head::is_offer;
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
    if parts
        .headers
        .get(header::EXPECT)
        .is_some_and(|value| !value.as_bytes().eq_ignore_ascii_case(b"100-continue"))
    {
        return Err(Unclear::Unsupported("an expectation other than 100-continue cannot be met"));
    }
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
    let target = uri.path_and_query().map_or("/", |target| target.as_str());
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
    let decoded_dots = path.to_ascii_lowercase().replace("%2e", ".");
    if decoded_dots.split(['/', ';']).any(|segment| segment == "." || segment == "..") {
        return Err(Unclear::Ambiguous("the path holds a dot segment"));
    }
    if path.contains('\\') || decoded_dots.contains("%5c") {
        return Err(Unclear::Ambiguous("the path holds a backslash"));
    }
    let control = |pair: &[u8]| pair[0] == b'%' && (matches!(pair[1], b'0' | b'1') || &pair[1..] == b"7f");
    if decoded_dots.as_bytes().windows(3).any(control) {
        return Err(Unclear::Ambiguous("the path holds an encoded control byte"));
    }
    Ok(())
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
        if value.as_bytes().iter().any(|&c| (c < b' ' && c != b'\t') || c == 0x7f) {
            return Err(Unclear::Ambiguous("a field holds a control byte"));
        }
        let cookie =
            if name == "cookie" { headers.iter_mut().find(|header| header.name == name) } else { None };
        match cookie {
            Some(cookie) => cookie.value.extend(b"; ".iter().chain(value.as_bytes())),
            None => {
                headers.push(Header { name: name.to_owned(), value: value.as_bytes().trim_ascii().to_vec() })
            }
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
mod tests {
    use ::http::Request;

    use super::*;

    fn https() -> Channel {
        Channel { scheme: Scheme::Https, name: Some("api.example.com".into()), port: 443 }
    }

    fn head(uri: &str, fields: &[(&str, &str)]) -> Result<RequestHead, Unclear> {
        let mut request = Request::get(uri);
        for (name, value) in fields {
            request = request.header(*name, *value);
        }
        canonical_head(&request.body(()).unwrap().into_parts().0, &https())
    }

    const HOST: (&str, &str) = ("host", "API.example.com");

    #[test]
    fn connection_fields_stay_behind_and_the_rest_keeps_its_order() {
        let fields = [
            HOST,
            ("x-b", "1"),
            ("connection", "close, X-Private"),
            ("x-private", "secret"),
            ("te", "trailers"),
            ("expect", "100-continue"),
            ("cookie", "a=1"),
            ("x-a", "2"),
            ("x-b", "3"),
            ("cookie", "b=2"),
        ];
        let head = head("/x?y=1", &fields).unwrap();
        let sent: Vec<_> = head.headers.iter().map(|h| (h.name.as_str(), h.value.as_slice())).collect();
        assert_eq!(sent, [("x-b", &b"1"[..]), ("x-b", b"3"), ("cookie", b"a=1; b=2"), ("x-a", b"2")]);
        assert_eq!(head.url(), "https://api.example.com/x?y=1");
    }

    #[test]
    fn every_name_of_a_request_must_agree() {
        assert!(head("https://api.example.com/x", &[]).is_ok(), "an :authority is enough");
        assert!(head("https://api.example.com:443/x", &[HOST]).is_ok());
        let misdirected = |result| matches!(result, Err(Unclear::Misdirected { .. }));
        assert!(misdirected(head("/x", &[("host", "other.example.com")])));
        assert!(misdirected(head("https://other.example.com/x", &[])));
        assert!(misdirected(head("/x", &[("host", "api.example.com:8443")])));
        let ambiguous = |result| matches!(result, Err(Unclear::Ambiguous(_)));
        assert!(ambiguous(head("https://api.example.com/x", &[("host", "other.example.com")])));
        assert!(ambiguous(head("http://api.example.com/x", &[HOST])));
        assert!(ambiguous(head("/x", &[HOST, HOST])));
        assert!(ambiguous(head("/x", &[])));
        assert!(matches!(head("/x", &[("host", "me@api.example.com")]), Err(Unclear::Host(_))));
        assert!(matches!(head("https://me@api.example.com/x", &[HOST]), Err(Unclear::Host(_))));
    }

    #[test]
    fn a_path_servers_resolve_differently_is_refused() {
        let paths = [
            "/a/../b",
            "/a/./b",
            "/..",
            "/a/%2e%2E/b",
            "/a/.%2e/b",
            "/a;x/..;y/b",
            "/a\\b",
            "/a%5cb",
            "/a%00",
            "/a%0d%0ab",
        ];
        for path in paths {
            assert!(matches!(head(path, &[HOST]), Err(Unclear::Ambiguous(_))), "{path}");
        }
        for path in ["/a..b/c.", "/@scope%2fname", "/a//b", "/a?x=../y%00", "/.well-known/x", "/a;v=1/b"] {
            assert_eq!(head(path, &[HOST]).unwrap().target, path);
        }
    }

    #[test]
    fn only_a_complete_websocket_handshake_may_leave_http_and_an_offer_of_h2c_is_ignored() {
        let handshake = [
            HOST,
            ("connection", "keep-alive, Upgrade"),
            ("upgrade", "WebSocket"),
            ("sec-websocket-version", "13"),
            ("sec-websocket-key", "AAAAAAAAAAAAAAAAAAAAAA=="),
        ];
        let opened = head("/", &handshake).unwrap();
        assert!(opened.opens_websocket());
        assert_eq!(opened.header_values("upgrade").collect::<Vec<_>>(), [b"websocket"]);
        for without in 1..handshake.len() {
            let mut handshake = handshake.to_vec();
            let left_out = handshake.remove(without).0;
            let result = head("/", &handshake);
            match left_out {
                "upgrade" => assert!(!result.unwrap().opens_websocket()),
                _ => assert!(matches!(result, Err(Unclear::Ambiguous(_))), "{left_out}"),
            }
        }
        assert!(matches!(head("/", &[HOST, ("upgrade", "tls/1.0")]), Err(Unclear::Unsupported(_))));
        assert!(matches!(head("/", &[HOST, ("upgrade", "h2c, websocket")]), Err(Unclear::Unsupported(_))));
        assert!(matches!(head("/", &[HOST, ("expect", "magic")]), Err(Unclear::Unsupported(_))));
        let java =
            [HOST, ("connection", "Upgrade, HTTP2-Settings"), ("upgrade", "h2c"), ("http2-settings", "AAE")];
        assert_eq!(head("/", &java).unwrap().headers, []);
    }
}
