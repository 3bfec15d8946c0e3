//! WebSockets: a handshake that is judged, and after a valid `101` the same bytes on both sides.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::world::{World, certificate_for};
use crate::flow::policy::verdict::Verdict;
use crate::ipc::approver::{Ending, SendFailure};
use crate::names::HoldId;

/// The key of RFC 6455's example, and its answer.
const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";
const AGREED: &str = "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\
    Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\nSec-WebSocket-Protocol: chat\r\n\r\n";

/// A server whose every byte the test writes and reads.
struct Server(TcpListener);

impl Server {
    async fn start() -> (Self, World) {
        let world = World::start(&certificate_for("localhost", |_| {}).0).await;
        (Self(TcpListener::bind("127.0.0.1:0").await.unwrap()), world)
    }

    fn handshake(&self, path: &str) -> String {
        format!(
            "GET {path} HTTP/1.1\r\nHost: localhost:{}\r\nConnection: keep-alive, Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {KEY}\r\n\r\n",
            self.0.local_addr().unwrap().port()
        )
    }

    /// A client that sent a handshake for `path`, followed by `more`.
    async fn client(&self, world: &World, path: &str, more: &str) -> TcpStream {
        let mut client = world.connect(self.0.local_addr().unwrap()).await;
        client.write_all(format!("{}{more}", self.handshake(path)).as_bytes()).await.unwrap();
        client
    }

    /// The next connection, and the head it sent.
    async fn accept(&self) -> (TcpStream, String) {
        let (mut stream, _) = self.0.accept().await.unwrap();
        let head = head(&mut stream).await;
        (stream, head)
    }

    async fn is_quiet(&self) -> bool {
        futures_util::poll!(std::pin::pin!(self.0.accept())).is_pending()
    }
}

/// Reads exactly to the end of a head.
async fn head(stream: &mut TcpStream) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.unwrap());
    }
    String::from_utf8(head).unwrap()
}

async fn rest(stream: &mut TcpStream) -> String {
    let mut rest = String::new();
    stream.read_to_string(&mut rest).await.unwrap();
    rest
}

#[tokio::test]
async fn an_allowed_websocket_carries_the_same_bytes_both_ways_and_is_recorded() {
    let (server, world) = Server::start().await;
    let mut client = server.client(&world, "/chat", "").await;
    let (mut origin, asked) = server.accept().await;
    // As the client spelled them.
    for field in ["Connection: Upgrade", "Upgrade: websocket", &format!("Sec-WebSocket-Key: {KEY}")] {
        assert!(asked.contains(&format!("{field}\r\n")), "{asked}");
    }
    // The first frame in the same packet as the agreement.
    origin.write_all(format!("{AGREED}\x00\x01from the origin").as_bytes()).await.unwrap();
    let told = head(&mut client).await;
    assert!(told.starts_with("HTTP/1.1 101 ") && told.contains("sec-websocket-protocol: chat"), "{told}");
    let mut frame = [0; 17];
    client.read_exact(&mut frame).await.unwrap();
    assert_eq!(&frame, b"\x00\x01from the origin");
    client.write_all(b"\xffanswer\x00").await.unwrap();
    client.shutdown().await.unwrap();
    let mut heard = Vec::new();
    origin.read_to_end(&mut heard).await.unwrap();
    assert_eq!(heard, b"\xffanswer\x00");
    // One direction is over, the other goes on.
    origin.write_all(b"last words").await.unwrap();
    drop(origin);
    assert_eq!(rest(&mut client).await, "last words");
    let record = world.approver.record().await;
    assert_eq!(record.judgement.verdict, Verdict::Allow);
    let outcome = world.approver.outcome().await;
    assert_eq!((outcome.exchange, outcome.status, outcome.error), (record.exchange, Some(101), None));
    assert_eq!((outcome.sent, outcome.received), (8, 27));
}

#[tokio::test]
async fn a_large_message_passes_whole_however_slowly_it_is_read() {
    let (server, world) = Server::start().await;
    let mut client = server.client(&world, "/chat", "").await;
    let (mut origin, _) = server.accept().await;
    origin.write_all(AGREED.as_bytes()).await.unwrap();
    head(&mut client).await;
    let large: Vec<u8> = (0..4_000_000_u32).map(|number| number.to_le_bytes()[0]).collect();
    let (sent, (mut reader, mut writer)) = (large.clone(), client.into_split());
    let sending = tokio::spawn(async move { writer.write_all(&sent).await.map(|()| writer) });
    let mut echoed = Vec::new();
    let echo = async {
        let (mut from, mut to) = origin.split();
        tokio::io::copy(&mut from, &mut to).await.unwrap();
        to.shutdown().await.unwrap();
    };
    let read = async {
        reader.read_to_end(&mut echoed).await.unwrap();
    };
    let closing = async { drop(sending.await.unwrap().unwrap()) };
    tokio::join!(echo, read, closing);
    assert!(echoed == large);
}

#[tokio::test]
async fn not_a_byte_behind_the_handshake_leaves_before_the_other_side_agreed() {
    let (server, world) = Server::start().await;
    let mut client = server.client(&world, "/chat", "GET /smuggled HTTP/1.1\r\n\r\n").await;
    let (mut origin, _) = server.accept().await;
    origin.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nno").await.unwrap();
    let told = rest(&mut client).await;
    assert!(told.starts_with("HTTP/1.1 200 ") && told.ends_with("no"), "{told}");
    assert!(told.contains("connection: close"), "{told}");
    drop(client);
    assert_eq!(rest(&mut origin).await, "", "nothing followed the handshake");
    assert!(server.is_quiet().await);
}

#[tokio::test]
async fn an_agreement_that_does_not_answer_the_key_is_none() {
    let wrong = [
        AGREED.replace("s3pPLMBi", "s3pPLMBj"),
        AGREED.replace("Upgrade: websocket", "Upgrade: other"),
        AGREED.replace("Connection: upgrade", "Connection: close"),
    ];
    for agreement in wrong {
        let (server, world) = Server::start().await;
        let mut client = server.client(&world, "/chat", "early").await;
        let (mut origin, _) = server.accept().await;
        origin.write_all(agreement.as_bytes()).await.unwrap();
        let told = rest(&mut client).await;
        assert!(told.starts_with("HTTP/1.1 502 ") && told.contains("handshake wrongly"), "{told}");
        assert_eq!(rest(&mut origin).await, "", "{agreement}");
    }
}

#[tokio::test]
async fn a_denied_websocket_is_never_dialled() {
    let (server, world) = Server::start().await;
    let mut client = server.client(&world, "/denied", "early").await;
    assert!(rest(&mut client).await.starts_with("HTTP/1.1 403 "));
    assert!(server.is_quiet().await);
    assert_eq!(world.approver.record().await.judgement.verdict, Verdict::Deny);
}

#[tokio::test]
async fn a_held_websocket_opens_for_the_program_that_waits() {
    let (server, world) = Server::start().await;
    let mut client = server.client(&world, "/held", "").await;
    let hold = HoldId(ulid::Ulid(7));
    let (ask, request) = world.approver.take_hold(hold).await;
    assert!(server.is_quiet().await, "nothing was dialled before the decision");
    let agreeing = async {
        let (mut origin, _) = server.accept().await;
        origin.write_all(AGREED.as_bytes()).await.unwrap();
        origin
    };
    let (sent, mut origin) = tokio::join!(world.approver.order(hold, &request), agreeing);
    world.approver.over(ask, hold, Ending::Done(sent.unwrap())).await;
    assert!(head(&mut client).await.starts_with("HTTP/1.1 101 "));
    client.write_all(b"hello").await.unwrap();
    client.shutdown().await.unwrap();
    assert_eq!(rest(&mut origin).await, "hello");
    drop(origin);
    assert_eq!(rest(&mut client).await, "");
    assert_eq!(world.approver.outcome().await.sent, 5);
}

#[tokio::test]
async fn an_approved_websocket_nobody_waits_for_is_not_opened() {
    let (server, world) = Server::start().await;
    let client = server.client(&world, "/held", "").await;
    let hold = HoldId(ulid::Ulid(8));
    let (_, request) = world.approver.take_hold(hold).await;
    drop(client);
    assert!(matches!(world.approver.hear().await, crate::ipc::approver::ToApprover::StoppedWaiting { .. }));
    let sent = world.approver.order(hold, &request).await;
    assert!(matches!(sent, Err(SendFailure::NotSent(why)) if why.contains("did not wait")));
    assert!(server.is_quiet().await);
}
