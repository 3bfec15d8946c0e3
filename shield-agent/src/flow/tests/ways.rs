//! Names with several addresses, at one of which nobody is.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};

use super::world::{Origin, UNREAD, UNREAD_TOO, World, certificate_for, question, resolver};
use crate::flow::policy::verdict::Verdict;
use crate::ipc::approver::{Ending, SendFailure};
use crate::ipc::worker::WorkerConfig;
use crate::names::HoldId;

/// Where servers of these tests are, and where nobody is.
const THERE: Ipv4Addr = Ipv4Addr::LOCALHOST;
const NOWHERE: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);

/// A world whose agent was told both addresses of `localhost`.
async fn world(origin: &Origin, change: impl FnOnce(&mut WorkerConfig)) -> World {
    let resolver = resolver(&[NOWHERE, THERE]).await;
    let world = World::with(&origin.root, |config| {
        config.resolvers = vec![resolver];
        change(config);
    });
    let world = world.await;
    world.look_up(&question("localhost.")).await;
    world
}

fn nowhere(origin: &Origin) -> SocketAddr {
    (NOWHERE, origin.address.port()).into()
}

/// Where the next record says that something went.
async fn recorded(world: &World) -> (Verdict, IpAddr) {
    let record = world.approver.record().await;
    (record.judgement.verdict, record.destination.ip)
}

#[tokio::test]
async fn where_nobody_answers_the_name_has_another_address_and_all_of_it_is_recorded() {
    let origin = Origin::https().await;
    for (path, body) in [("/read", ""), ("/streams", "a body"), ("/sql", "select 1")] {
        let world = world(&origin, |_| {}).await;
        let got = world.https(nowhere(&origin)).await.send("POST", &origin.host(), path, body).await;
        assert_eq!(got.status, 200, "{}", got.text());
        assert_eq!(origin.received().await.body, body);
        assert!(origin.is_quiet().await, "it arrived twice");
        assert_eq!(recorded(&world).await, (Verdict::Allow, NOWHERE.into()));
        assert_eq!(recorded(&world).await, (Verdict::Allow, THERE.into()));
        let (first, second) = (world.approver.outcome().await, world.approver.outcome().await);
        let why = first.error.unwrap();
        assert!(why.contains("127.0.0.2") && why.contains("cannot be reached"), "{why}");
        assert_eq!((first.sent, second.sent, second.error), (0, body.len() as u64, None));
        // The next connection goes straight to where somebody is.
        let got = world.https(nowhere(&origin)).await.send("GET", &origin.host(), "/again", "").await;
        assert_eq!(got.status, 200, "{}", got.text());
        assert_eq!(recorded(&world).await, (Verdict::Allow, THERE.into()));
        assert!(origin.received().await.uri.ends_with("/again"));
    }
}

#[tokio::test]
async fn plain_http_finds_the_other_address_too() {
    let origin = Origin::http().await;
    let world = world(&origin, |_| {}).await;
    let got = world.http(nowhere(&origin)).await.send("GET", &origin.host(), "/", "").await;
    assert_eq!(got.status, 200, "{}", got.text());
}

#[tokio::test]
async fn an_address_that_accepts_nothing_is_not_waited_for_to_the_end() {
    let origin = Origin::https().await;
    let full = TcpSocket::new_v4().unwrap();
    full.bind(nowhere(&origin)).unwrap();
    let _full = full.listen(0).unwrap();
    let _waiting = tokio::spawn(TcpStream::connect(nowhere(&origin))).await.unwrap();
    let long = std::time::Duration::from_secs(3600);
    let world = world(&origin, |config| config.connect_timeout = long).await;
    let got = world.https(nowhere(&origin)).await.send("GET", &origin.host(), "/", "").await;
    assert_eq!(got.status, 200, "{}", got.text());
    let why = world.approver.outcome().await.error.unwrap();
    assert!(why.contains("did not accept a connection"), "{why}");
}

#[tokio::test]
async fn an_address_the_agent_never_heard_of_is_not_gone_to() {
    let origin = Origin::https().await;
    let world = World::start(&origin.root).await;
    let got = world.https(nowhere(&origin)).await.send("GET", &origin.host(), "/", "").await;
    assert_eq!((got.status, origin.connections()), (502, 0), "{}", got.text());
}

#[tokio::test]
async fn the_other_address_is_not_gone_to_when_it_is_ours() {
    let origin = Origin::https().await;
    let world = world(&origin, |config| config.own_addresses = vec![origin.address]).await;
    let got = world.https(nowhere(&origin)).await.send("GET", &origin.host(), "/", "").await;
    assert_eq!((got.status, origin.connections()), (502, 0), "{}", got.text());
}

#[tokio::test]
async fn the_other_address_is_judged_like_the_first() {
    let origin = Origin::https().await;
    let world = world(&origin, |_| {}).await;
    let mut client = world.https(nowhere(&origin)).await;
    let (host, path) = (origin.host(), format!("/only-at/{NOWHERE}"));
    let got = client.send("GET", &host, &path, "").await;
    assert_eq!((got.status, origin.connections()), (403, 0), "{}", got.text());
    assert_eq!(recorded(&world).await, (Verdict::Allow, NOWHERE.into()));
    assert_eq!(recorded(&world).await, (Verdict::Deny, THERE.into()));
}

#[tokio::test]
async fn what_was_approved_for_an_address_goes_to_no_other_and_may_be_asked_for_again() {
    let origin = Origin::https().await;
    let world = world(&origin, |_| {}).await;
    let mut client = world.https(nowhere(&origin)).await;
    let (host, hold) = (origin.host(), HoldId(ulid::Ulid::new()));
    let deciding = async {
        let (ask, request) = world.approver.take_hold(hold).await;
        assert_eq!(request.destination.ip, NOWHERE);
        let sent = world.approver.order(hold, &request).await;
        assert!(
            matches!(&sent, Err(SendFailure::NotSent(why)) if why.contains("cannot be reached")),
            "{sent:?}"
        );
        world.approver.over(ask, hold, Ending::Expired).await;
    };
    tokio::join!(client.send("DELETE", &host, "/", ""), deciding);
    assert_eq!(origin.connections(), 0);
    let again = async {
        let (ask, request) = world.approver.take_hold(hold).await;
        assert_eq!(request.destination.ip, THERE);
        world.approver.over(ask, hold, Ending::Expired).await;
    };
    tokio::join!(client.send("DELETE", &host, "/", ""), again);
}

#[tokio::test]
async fn a_websocket_finds_the_other_address_too() {
    let server = TcpListener::bind((THERE, 0)).await.unwrap();
    let port = server.local_addr().unwrap().port();
    let origin = Origin::http().await;
    let world = world(&origin, |_| {}).await;
    let mut client = world.connect((NOWHERE, port).into()).await;
    let handshake = format!(
        "GET /chat HTTP/1.1\r\nHost: localhost:{port}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    );
    client.write_all(handshake.as_bytes()).await.unwrap();
    let mut told = [0; 12];
    tokio::select! {
        reached = server.accept() => reached.unwrap().0.read_exact(&mut told).await.unwrap(),
        answered = client.read_exact(&mut told) => answered.unwrap(),
    };
    assert_eq!(std::str::from_utf8(&told).unwrap(), "GET /chat HT");
}

#[tokio::test]
async fn a_connection_nobody_reads_finds_the_other_address_where_a_rule_lets_it_pass() {
    let root = certificate_for("localhost", |_| {}).0;
    for (addresses, led) in [([UNREAD, UNREAD_TOO], true), ([UNREAD, THERE.into()], false)] {
        let [IpAddr::V4(first), IpAddr::V4(second)] = addresses else { unreachable!() };
        let server = TcpListener::bind((second, 0)).await.unwrap();
        let port = server.local_addr().unwrap().port();
        let resolver = resolver(&[first, second]).await;
        let world = World::with(&root, |config| config.resolvers = vec![resolver]).await;
        world.look_up(&question("db.example.")).await;
        let mut client = world.connect((first, port).into()).await;
        client.write_all(b"\0hello").await.unwrap();
        let mut byte = [0];
        tokio::select! {
            _ = server.accept() => assert!(led, "it was led to an address no rule is about"),
            ended = client.read(&mut byte) => assert!(!led, "it ended: {ended:?}"),
        }
        assert_eq!(recorded(&world).await, (Verdict::Allow, first.into()));
        let verdict = if led { Verdict::Allow } else { Verdict::Deny };
        assert_eq!(recorded(&world).await, (verdict, second.into()));
    }
}
