//! See the module above.

use ::http::Request;

use super::*;

fn https() -> Channel {
    Channel { scheme: Scheme::Https, name: Some("api.example.com".into()), port: 443, most_fields: 200 }
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
        "/a/..%2fb",
        "/a%2F%2e.%2fb",
        "/a%7F",
        "/100%",
        "/a%zzb",
        "/a%2",
        "/a%c0%afb",
        "/a%E0%80%AFb",
    ];
    for path in paths {
        assert!(matches!(head(path, &[HOST]), Err(Unclear::Ambiguous(_))), "{path}");
    }
    for path in [
        "/a..b/c.",
        "/caf%C3%A9%7e",
        "/%e2%82%ac",
        "/@scope%2fname",
        "/a//b",
        "/a?x=../y%00",
        "/.well-known/x",
        "/a;v=1/b",
    ] {
        assert_eq!(head(path, &[HOST]).unwrap().target, path);
    }
}

#[test]
fn a_well_formed_head_that_servers_read_differently_is_refused() {
    let ambiguous = |fields: &[(&str, &str)]| matches!(head("/x", fields), Err(Unclear::Ambiguous(_)));
    assert!(ambiguous(&[HOST, ("content-length", "1"), ("content-length", "1")]));
    assert!(ambiguous(&[HOST, ("transfer_encoding", "chunked")]));
    assert!(ambiguous(&[HOST, ("content_length", "1")]));
    let expecting = [HOST, ("expect", "100-continue"), ("expect", "x")];
    assert!(matches!(head("/x", &expecting), Err(Unclear::Unsupported(_))));
    for method in ["get", "Delete", "purgE"] {
        let request = Request::builder().method(method).uri("/x").header("host", HOST.1);
        let parts = request.body(()).unwrap().into_parts().0;
        assert!(matches!(canonical_head(&parts, &https()), Err(Unclear::Ambiguous(_))), "{method}");
    }
}

#[test]
fn an_empty_crumb_leaves_nothing_in_the_cookie() {
    let crumbs = ["", "a=1", "", " b=2 ", ""].map(|crumb| ("cookie", crumb));
    let head = head("/", &[&[HOST][..], &crumbs].concat()).unwrap();
    assert_eq!(head.header_values("cookie").collect::<Vec<_>>(), [b"a=1; b=2"]);
}

#[test]
fn a_field_whose_name_is_no_token_is_refused() {
    // As it comes out of HTTP/2; other ways of making one refuse it.
    let name = HeaderName::from_lowercase(b"x\"").unwrap();
    let request = Request::get("/").header(HOST.0, HOST.1).header(name, "1").body(()).unwrap();
    let result = canonical_head(&request.into_parts().0, &https());
    assert!(matches!(result, Err(Unclear::Ambiguous(_))));
}

#[test]
fn a_path_is_never_made_up() {
    for uri in ["api.example.com", "api.example.com:443"] {
        assert!(matches!(head(uri, &[HOST]), Err(Unclear::Ambiguous(_))), "{uri}");
    }
    // As HTTP/2 hands on a request without `:path` and `:authority`.
    let mut parts = Request::get("/").header("host", "api.example.com").body(()).unwrap().into_parts().0;
    (parts.uri, parts.version) = (Uri::from_parts(Default::default()).unwrap(), Version::HTTP_2);
    assert!(matches!(canonical_head(&parts, &https()), Err(Unclear::Ambiguous(_))));
    assert_eq!(head("https://api.example.com", &[HOST]).unwrap().target, "/", "a URL without a path has one");
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
