//! Requests with more than one reading, as raw bytes: answered 400, and not a byte reaches the origin.

use ::http::{HeaderMap, HeaderName, HeaderValue, Request};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};

use super::world::{Origin, World, raw};

/// What a payload is answered with.
const BAD: &str = "HTTP/1.1 400 ";
const MISDIRECTED: &str = "HTTP/1.1 421 ";
const NOT_IMPLEMENTED: &str = "HTTP/1.1 501 ";

/// `HOST` stands for the authority of the origin.
const PAYLOADS: &[(&str, &str, &str)] = &[
    (
        "CL.TE",
        BAD,
        "POST / HTTP/1.1\r\nHost: HOST\r\nContent-Length: 6\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nG",
    ),
    (
        "TE.CL",
        BAD,
        "POST / HTTP/1.1\r\nHost: HOST\r\nTransfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n5c\r\n",
    ),
    (
        "two lengths, different",
        BAD,
        "POST / HTTP/1.1\r\nHost: HOST\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
    ),
    (
        "two lengths, the same",
        BAD,
        "POST / HTTP/1.1\r\nHost: HOST\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\na",
    ),
    ("a list of lengths", BAD, "POST / HTTP/1.1\r\nHost: HOST\r\nContent-Length: 1, 1\r\n\r\na"),
    ("a signed length", BAD, "POST / HTTP/1.1\r\nHost: HOST\r\nContent-Length: +1\r\n\r\na"),
    ("an empty length", BAD, "POST / HTTP/1.1\r\nHost: HOST\r\nContent-Length: \r\n\r\n"),
    ("a length that imitates", BAD, "POST / HTTP/1.1\r\nHost: HOST\r\nContent_Length: 1\r\n\r\na"),
    (
        "two codings",
        BAD,
        "POST / HTTP/1.1\r\nHost: HOST\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
    ),
    (
        "chunked twice",
        BAD,
        "POST / HTTP/1.1\r\nHost: HOST\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: x\r\n\r\n0\r\n\r\n",
    ),
    (
        "chunked with a prefix",
        BAD,
        "POST / HTTP/1.1\r\nHost: HOST\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
    ),
    (
        "coding in HTTP/1.0",
        BAD,
        "POST / HTTP/1.0\r\nHost: HOST\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    ),
    (
        "a trailer",
        BAD,
        "POST / HTTP/1.1\r\nHost: HOST\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nX: 1\r\n\r\n",
    ),
    (
        "a chunk extension",
        BAD,
        "POST / HTTP/1.1\r\nHost: HOST\r\nTransfer-Encoding: chunked\r\n\r\n1;a\r\nx\r\n0\r\n\r\n",
    ),
    (
        "a chunk longer than its size",
        BAD,
        "POST / HTTP/1.1\r\nHost: HOST\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nxy\r\n0\r\n\r\n",
    ),
    (
        "a chunk size with 0x",
        BAD,
        "POST / HTTP/1.1\r\nHost: HOST\r\nTransfer-Encoding: chunked\r\n\r\n0x1\r\nx\r\n0\r\n\r\n",
    ),
    ("bare line feeds", BAD, "GET / HTTP/1.1\nHost: HOST\n\n"),
    ("one bare line feed", BAD, "GET / HTTP/1.1\r\nHost: HOST\nX: y\r\n\r\n"),
    ("a bare carriage return", BAD, "GET / HTTP/1.1\r\nHost: HOST\r\nX: a\rb\r\n\r\n"),
    ("a NUL", BAD, "GET / HTTP/1.1\r\nHost: HOST\r\nX: a\0b\r\n\r\n"),
    ("a folded field", BAD, "GET / HTTP/1.1\r\nHost: HOST\r\nX: a\r\n b\r\n\r\n"),
    ("a space before the colon", BAD, "GET / HTTP/1.1\r\nHost: HOST\r\nX : a\r\n\r\n"),
    ("no Host", BAD, "GET / HTTP/1.1\r\n\r\n"),
    ("two Hosts", BAD, "GET / HTTP/1.1\r\nHost: HOST\r\nHost: HOST\r\n\r\n"),
    ("userinfo in Host", BAD, "GET / HTTP/1.1\r\nHost: me@HOST\r\n\r\n"),
    ("a number for a Host", BAD, "GET / HTTP/1.1\r\nHost: 2130706433\r\n\r\n"),
    ("a Host with a path", BAD, "GET / HTTP/1.1\r\nHost: HOST/x\r\n\r\n"),
    (
        "absolute form for another host",
        NOT_IMPLEMENTED,
        "GET http://other.example/ HTTP/1.1\r\nHost: HOST\r\n\r\n",
    ),
    ("absolute form with another scheme", BAD, "GET https://HOST/ HTTP/1.1\r\nHost: HOST\r\n\r\n"),
    ("userinfo in the target", BAD, "GET http://me@HOST/ HTTP/1.1\r\nHost: HOST\r\n\r\n"),
    ("another port", MISDIRECTED, "GET / HTTP/1.1\r\nHost: localhost:1\r\n\r\n"),
    ("a fragment", BAD, "GET /a#b HTTP/1.1\r\nHost: HOST\r\n\r\n"),
    ("a dot segment", BAD, "GET /a/%2e%2e/b HTTP/1.1\r\nHost: HOST\r\n\r\n"),
    ("a dot segment behind an encoded slash", BAD, "GET /a/..%2fb HTTP/1.1\r\nHost: HOST\r\n\r\n"),
    ("a slash in two bytes", BAD, "GET /a%c0%afb HTTP/1.1\r\nHost: HOST\r\n\r\n"),
    ("a percent sign alone", BAD, "GET /100% HTTP/1.1\r\nHost: HOST\r\n\r\n"),
    ("a method in small letters", BAD, "delete / HTTP/1.1\r\nHost: HOST\r\n\r\n"),
    (
        "two expectations",
        NOT_IMPLEMENTED,
        "GET / HTTP/1.1\r\nHost: HOST\r\nExpect: 100-continue\r\nExpect: x\r\n\r\n",
    ),
    ("a raw angle bracket", BAD, "GET /a<b HTTP/1.1\r\nHost: HOST\r\n\r\n"),
    ("a raw quote in the query", BAD, "GET /a?b=\"c\" HTTP/1.1\r\nHost: HOST\r\n\r\n"),
    ("a raw space", BAD, "GET /a b HTTP/1.1\r\nHost: HOST\r\n\r\n"),
    ("a raw byte in the target", BAD, "GET /\u{e9} HTTP/1.1\r\nHost: HOST\r\n\r\n"),
    ("two spaces", BAD, "GET  / HTTP/1.1\r\nHost: HOST\r\n\r\n"),
    ("an unknown version", BAD, "GET / HTTP/3.0\r\nHost: HOST\r\n\r\n"),
    ("a star that is not OPTIONS", BAD, "GET * HTTP/1.1\r\nHost: HOST\r\n\r\n"),
    (
        "a second request that is bad",
        BAD,
        "GET / HTTP/1.1\r\nHost: HOST\r\n\r\nGET / HTTP/1.1\r\nHost: HOST\r\nX : y\r\n\r\n",
    ),
    ("CONNECT", NOT_IMPLEMENTED, "CONNECT HOST HTTP/1.1\r\nHost: HOST\r\n\r\n"),
    (
        "half a WebSocket handshake",
        BAD,
        "GET / HTTP/1.1\r\nHost: HOST\r\nConnection: close, Upgrade\r\nUpgrade: websocket\r\n\r\n",
    ),
    (
        "an unmet expectation",
        NOT_IMPLEMENTED,
        "GET / HTTP/1.1\r\nHost: HOST\r\nConnection: close\r\nExpect: magic\r\n\r\n",
    ),
    (
        "another protocol",
        NOT_IMPLEMENTED,
        "GET / HTTP/1.1\r\nHost: HOST\r\nConnection: Upgrade, close\r\nUpgrade: tls/1.0\r\n\r\n",
    ),
    (
        "an upgrade with a body",
        NOT_IMPLEMENTED,
        "GET / HTTP/1.1\r\nHost: HOST\r\nUpgrade: websocket\r\nContent-Length: 1\r\n\r\nx",
    ),
    (
        "a request to a proxy",
        NOT_IMPLEMENTED,
        "GET http://other.example/ HTTP/1.1\r\nHost: other.example\r\n\r\n",
    ),
];

#[tokio::test]
async fn an_ambiguous_request_is_refused_and_not_a_byte_reaches_the_origin() {
    let origin = Origin::http().await;
    let world = World::start(&origin.root).await;
    for (what, expected, payload) in PAYLOADS {
        let mut payload = payload.replace("HOST", &origin.host());
        // Requests HTTP itself finds in order would keep the connection; these tests read to its end.
        let separate =
            payload.find("\r\n\r\n").filter(|_| payload.contains("\r\nHost") && !payload.contains("close"));
        if let Some(end) = separate {
            payload.insert_str(end, "\r\nConnection: close");
        }
        let answer = raw(world.connect(origin.address).await, payload.as_bytes()).await;
        let answer = answer.unwrap_or_else(|error| panic!("{what}: {error}"));
        assert!(answer.starts_with(expected), "{what}: {answer:?}");
        assert!(answer.contains("NOT been executed"), "{what}: {answer:?}");
        assert_eq!(answer.matches(expected).count(), 1, "{what}: {answer:?}");
        assert_eq!(world.approver.record().await.request, None, "{what} is recorded");
        assert_eq!(origin.connections(), 0, "{what} reached the origin");
    }
}

#[tokio::test]
async fn a_body_that_goes_bad_under_way_never_becomes_a_whole_request() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let origin = Origin::http().await;
    let world = World::start(&origin.root).await;
    let mut stream = world.connect(origin.address).await;
    let head = format!("POST / HTTP/1.1\r\nHost: {}\r\nTransfer-Encoding: chunked\r\n\r\n", origin.host());
    stream.write_all(format!("{head}3\r\nabc\r\n").as_bytes()).await.unwrap();
    // The head is on its way when its record is.
    world.approver.record().await;
    stream.write_all(b"3\r\nabcd\r\n0\r\n\r\n").await.unwrap();
    let mut answer = String::new();
    let _ = stream.read_to_string(&mut answer).await;
    assert!(world.approver.outcome().await.error.is_some());
    assert!(origin.is_quiet().await, "the origin never saw the end of the request");
}

#[tokio::test]
async fn trailers_of_an_http2_request_are_refused() {
    let origin = Origin::https().await;
    let world = World::start(&origin.root).await;
    let stream = world.tls(origin.address, "localhost", &[b"h2"]).await.unwrap();
    let (mut sender, connection) =
        http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    for path in ["/sql", "/streams"] {
        let trailers = std::future::ready(Some(Ok(HeaderMap::from_iter([(
            HeaderName::from_static("x"),
            HeaderValue::from(1),
        )]))));
        let body = Full::<bytes::Bytes>::from("select 1").with_trailers(trailers);
        let uri = format!("https://{}{path}", origin.host());
        let got = sender.send_request(Request::post(uri).body(body).unwrap()).await.unwrap();
        assert!(got.status() == 400 || got.status() == 502, "{path}: {}", got.status());
    }
    assert!(origin.is_quiet().await, "the origin never saw the end of the request");
}

#[tokio::test]
async fn an_http2_request_that_http_1_would_read_differently_is_refused() {
    let origin = Origin::https().await;
    let world = World::start(&origin.root).await;
    let mut client = world.h2(origin.address).await;
    let host = origin.host();
    let cases: [(&str, &[(&str, &str)]); 4] = [
        ("POST", &[("transfer_encoding", "chunked")]),
        ("POST", &[("content_length", "0")]),
        ("POST", &[("content-length", "4"), ("content-length", "4")]),
        ("delete", &[]),
    ];
    for (method, fields) in cases {
        let got = client.send_with(method, &host, "/", fields, "body").await;
        assert_eq!(got.status, 400, "{method} {fields:?}");
        assert_eq!(world.approver.record().await.request, None, "{method} {fields:?} is recorded");
    }
    assert_eq!(origin.connections(), 0);
}

#[tokio::test]
async fn a_pipeline_is_answered_in_order() {
    let origin = Origin::http().await;
    let world = World::start(&origin.root).await;
    let host = origin.host();
    let mut pipeline = String::new();
    for number in 0..20 {
        pipeline +=
            &format!("POST /{number} HTTP/1.1\r\nHost: {host}\r\nContent-Length: 2\r\n\r\n{number:02}");
    }
    pipeline += &format!("GET /last HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
    let answer = raw(world.connect(origin.address).await, pipeline.as_bytes()).await.unwrap();
    assert_eq!(answer.matches("HTTP/1.1 200 OK").count(), 21);
    for number in 0..20 {
        let received = origin.received().await;
        assert_eq!(
            (received.uri, &received.body[..]),
            (format!("/{number}"), format!("{number:02}").as_bytes())
        );
    }
}

#[tokio::test]
async fn no_request_is_refused_without_our_sentence_and_a_record() {
    let origin = Origin::http().await;
    let world = World::start(&origin.root).await;
    let get = |target: &str| format!("GET {target} HTTP/1.1\r\n");
    let targets = [
        "http://[::x/",
        "http://a:b:c/",
        "http://",
        "http:/x",
        "http://a%b/",
        "?x",
        "localhost",
        "[",
        "/a<b",
    ];
    let long = [get(&format!("/{}", "a".repeat(65_530))), get(&format!("/{}", "a".repeat(70_000)))];
    let many = get("/") + &"X: y\r\n".repeat(200);
    for beginning in targets.map(get).into_iter().chain(long).chain([many]) {
        let request = format!("{beginning}Host: {}\r\nConnection: close\r\n\r\n", origin.host());
        let answer = raw(world.connect(origin.address).await, request.as_bytes()).await.unwrap();
        let shown = &beginning[..beginning.len().min(40)];
        assert!(
            answer.starts_with("HTTP/1.1 4") && answer.contains("NOT been executed"),
            "{shown}: {answer}"
        );
        assert_eq!(world.approver.record().await.request, None, "{shown} is recorded");
    }
    assert_eq!(origin.connections(), 0);
}
