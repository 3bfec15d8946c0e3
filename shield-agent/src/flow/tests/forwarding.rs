//! Allowed requests: forwarded as they are meant, answered as they were answered.

use ::http::Version;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use tokio::net::TcpListener;

use super::world::{Origin, World, at_home, certificate_for, raw};

#[tokio::test]
async fn an_allowed_request_reaches_the_origin_and_its_answer_the_agent() {
    let origin = Origin::https().await;
    let world = World::start(&origin.root).await;
    let mut client = world.https(origin.address).await;
    let fields = [("x-mine", "1"), ("connection", "x-hop"), ("x-hop", "2"), ("expect", "100-continue")];
    let got = client.send_with("POST", &origin.host(), "/a?b=c", &fields, "hello").await;
    assert_eq!((got.status, got.text(), got.header("x-origin")), (200, "5 bytes", "yes"));
    assert_eq!(got.header("keep-alive"), "", "a field of the upstream connection stays there");
    assert_eq!(got.header("alt-svc"), "", "no other way to the service is told");
    assert!(got.headers.keys().all(|name| !name.as_str().starts_with("shield")));

    let received = origin.received().await;
    assert_eq!((received.method.as_str(), &received.body[..]), ("POST", &b"hello"[..]));
    assert_eq!(
        received.version,
        Version::HTTP_2,
        "whatever the agent speaks, the better protocol is used upstream"
    );
    assert!(received.uri.ends_with("/a?b=c"));
    let names: Vec<_> = received.headers.keys().map(|name| name.as_str()).collect();
    assert_eq!(names, ["x-mine", "content-length"]);

    let record = world.approver.record().await;
    assert_eq!(record.request.unwrap().url, format!("https://{}/a?b=c", origin.host()));
    assert_eq!((record.agent.as_str(), record.caller.uid), ("bot", 1001));
    let outcome = world.approver.outcome().await;
    assert_eq!((outcome.exchange, outcome.status), (record.exchange, Some(200)));
    assert_eq!((outcome.sent, outcome.received, outcome.error), (5, 7, None));
}

#[tokio::test]
async fn both_versions_of_http_work_on_both_sides() {
    for protocols in [&[&b"h2"[..]][..], &[b"http/1.1"]] {
        let origin = Origin::https_with(protocols).await;
        let world = World::start(&origin.root).await;
        for mut client in [world.https(origin.address).await, world.h2(origin.address).await] {
            for body in ["", "body"] {
                let got = client.send("PUT", &origin.host(), "/x", body).await;
                assert_eq!((got.status, got.text()), (200, format!("{} bytes", body.len()).as_str()));
                let received = origin.received().await;
                assert_eq!(received.body, body);
                assert_eq!(received.headers["content-length"], body.len().to_string());
                assert_eq!(received.version == Version::HTTP_2, protocols[0] == b"h2");
            }
        }
        assert_eq!(origin.connections(), 1, "the connection is kept and shared");
    }
}

#[tokio::test]
async fn a_body_of_unknown_length_is_sent_whatever_the_method() {
    let origin = Origin::http().await;
    let world = World::start(&origin.root).await;
    for method in ["GET", "HEAD", "OPTIONS", "POST"] {
        let request = format!(
            "{method} / HTTP/1.1\r\nHost: {}\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
            origin.host()
        );
        raw(world.connect(origin.address).await, request.as_bytes()).await.unwrap();
        assert_eq!(origin.received().await.body, "abc", "{method}");
        assert_eq!(world.approver.outcome().await.sent, 3, "{method}");
    }
}

#[tokio::test]
async fn an_answer_that_was_read_to_its_length_was_read_whole() {
    let origin = Origin::https().await;
    let world = World::start(&origin.root).await;
    for _ in 0..20 {
        let request = format!("GET / HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n", origin.host());
        let mut stream = world.tls(origin.address, "localhost", &[b"http/1.1"]).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        assert!(answer.ends_with("0 bytes"), "{answer}");
        assert_eq!(world.approver.outcome().await.error, None);
    }
}

#[tokio::test]
async fn plain_http_goes_to_the_original_address_when_its_host_is_there() {
    let origin = Origin::http().await;
    let hosts = vec![at_home("somewhere.example")];
    let world = World::with(&origin.root, |config| config.upstream_hosts = hosts).await;
    let literal = origin.address.ip().to_string();
    for (host, status) in
        [("somewhere.example", 200), ("elsewhere.example", 421), (&literal, 200), ("192.0.2.7", 421)]
    {
        let got = world.http(origin.address).await.send("GET", host, "/", "").await;
        assert_eq!(got.status, status, "{host}: {}", got.text());
        if status == 421 {
            let said = String::from_utf8_lossy(&got.body).into_owned();
            assert!(said.contains(&format!("nothing says that {host} is at 127.0.0.1")), "{said}");
            continue;
        }
        let received = origin.received().await;
        assert_eq!(received.headers["host"], format!("{host}:{}", origin.address.port()));
    }
}

#[tokio::test]
async fn http_2_in_the_clear_stays_what_it_is_and_grpc_is_never_anything_else() {
    let origin = Origin::http().await;
    let world = World::start(&origin.root).await;
    let (mut h2, mut h1) = (world.h2_in_the_clear(origin.address).await, world.http(origin.address).await);
    let grpc = [("content-type", "application/grpc+proto")];
    for (over_h2, fields, version) in
        [(true, &[][..], Version::HTTP_2), (false, &[], Version::HTTP_11), (false, &grpc, Version::HTTP_2)]
    {
        let client = if over_h2 { &mut h2 } else { &mut h1 };
        let got = client.send_with("POST", &origin.host(), "/", fields, "body").await;
        assert_eq!(got.status, 200);
        let received = origin.received().await;
        assert_eq!((received.version, &received.body[..]), (version, &b"body"[..]));
        assert_eq!(received.headers.contains_key("te"), !fields.is_empty());
    }
    let refused = h2.send("GET", "elsewhere.example", "/", "").await;
    assert_eq!(refused.status, 421);
}

#[tokio::test]
async fn a_server_that_takes_one_request_at_a_time_is_sent_one_at_a_time() {
    let origin = Origin::http().await;
    let world = World::start(&origin.root).await;
    let many = (0..20).map(|_| async {
        let mut client = world.h2_in_the_clear(origin.address).await;
        client.send("GET", &origin.host(), "/", "").await.status
    });
    assert_eq!(futures_util::future::join_all(many).await, [200; 20]);
}

#[tokio::test]
async fn names_of_fields_keep_their_spelling_both_ways() {
    let origin = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = origin.local_addr().unwrap();
    let (_, root, _) = certificate_for("localhost", |_| {});
    let world = World::start(&root[0]).await;
    let served = tokio::spawn(async move {
        let (mut stream, _) = origin.accept().await.unwrap();
        let mut request = Vec::new();
        while !request.ends_with(b"\r\n\r\nbody") {
            assert_ne!(stream.read_buf(&mut request).await.unwrap(), 0);
        }
        let answer =
            b"HTTP/1.1 200 Sure\r\nSOAPAction: a\r\nx-Odd: 1\r\nX-oDD: 2\r\nContent-Length: 0\r\n\r\n";
        stream.write_all(answer).await.unwrap();
        String::from_utf8(request).unwrap()
    });
    let request = format!(
        "POST / HTTP/1.1\r\nHost: {address}\r\nSOAPAction: b\r\nx-Odd: 1\r\nX-oDD: 2\r\nConnection: close\r\n\
         Content-Length: 4\r\n\r\nbody"
    );
    let answer = raw(world.connect(address).await, request.as_bytes()).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 Sure\r\nSOAPAction: a\r\nx-Odd: 1\r\nX-oDD: 2\r\n"), "{answer}");
    let received = served.await.unwrap();
    let fields = format!("POST / HTTP/1.1\r\nHost: {address}\r\nSOAPAction: b\r\nx-Odd: 1\r\nX-oDD: 2\r\n");
    assert!(received.starts_with(&fields), "{received}");
}

#[tokio::test]
async fn a_body_is_sent_whatever_the_method() {
    let origin = Origin::http().await;
    let world = World::start(&origin.root).await;
    let framings =
        ["Content-Length: 4\r\n\r\nbody", "Transfer-Encoding: chunked\r\n\r\n4\r\nbody\r\n0\r\n\r\n"];
    for method in ["GET", "HEAD", "OPTIONS", "POST"] {
        for framing in framings {
            let head = format!("{method} / HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n", origin.host());
            let request = format!("{head}{framing}");
            let answer = raw(world.connect(origin.address).await, request.as_bytes()).await.unwrap();
            assert!(answer.starts_with("HTTP/1.1 200 "), "{request}: {answer}");
            assert_eq!(origin.received().await.body, "body", "{request}");
        }
    }
}

#[tokio::test]
async fn an_answer_without_a_body_keeps_its_length() {
    let origin = Origin::https().await;
    let world = World::start(&origin.root).await;
    for mut client in [world.https(origin.address).await, world.h2(origin.address).await] {
        let got = client.send("HEAD", &origin.host(), "/big?12", "").await;
        assert_eq!((got.status, got.header("content-length"), got.body.len()), (200, "12", 0));
        let got = client.send("HEAD", &origin.host(), "/denied", "").await;
        assert_eq!((got.status, got.header("content-length").is_empty(), got.body.len()), (403, false, 0));
    }
}

#[tokio::test]
async fn a_kept_connection_the_origin_closed_is_not_a_failure() {
    let origin = Origin::https_with(&[b"http/1.1"]).await;
    let world = World::start(&origin.root).await;
    let mut client = world.https(origin.address).await;
    for _ in 0..3 {
        assert_eq!(client.send("GET", &origin.host(), "/close", "").await.status, 200);
    }
    assert_eq!(origin.connections(), 3);
}

#[tokio::test]
async fn an_upstream_that_cannot_be_reached_is_said_to_be() {
    let origin = Origin::https().await;
    let world = World::start(&origin.root).await;
    let nobody = "127.0.0.1:1".parse().unwrap();
    let got = world.https(nobody).await.send("GET", "localhost:1", "/", "").await;
    assert_eq!(got.status, 502);
    assert!(got.text().contains("127.0.0.1:1 cannot be reached"), "{}", got.text());
}

#[tokio::test]
async fn what_came_of_an_answer_before_it_broke_off_arrives() {
    let server = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = server.local_addr().unwrap();
    let world = World::start(&certificate_for("localhost", |_| {}).0).await;
    let upgrade = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
                   Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
    for fields in ["", upgrade] {
        for (length, body, arrives) in [
            ("Content-Length: 12", "", ""),
            ("Content-Length: 12", "Unau", "Unau"),
            ("Transfer-Encoding: chunked", "4\r\nUnau\r\n", "Unau"),
        ] {
            let client = world.connect(address).await;
            let request = format!("GET / HTTP/1.1\r\nHost: localhost:{}\r\n{fields}\r\n", address.port());
            let answering = async {
                let mut origin = server.accept().await.unwrap().0;
                let mut asked = Vec::new();
                while !asked.ends_with(b"\r\n\r\n") {
                    asked.push(origin.read_u8().await.unwrap());
                }
                let answer = format!("HTTP/1.1 401 Unauthorized\r\n{length}\r\n\r\n{body}");
                origin.write_all(answer.as_bytes()).await.unwrap();
            };
            let (told, ()) = tokio::join!(raw(client, request.as_bytes()), answering);
            let told = told.unwrap();
            assert!(told.starts_with("HTTP/1.1 401 ") && told.contains(arrives), "{length} {body}: {told:?}");
            let broke = world.approver.outcome().await.error.unwrap();
            assert!(broke.contains("broke off"), "{broke}");
        }
    }
}
