//! How connections begin: what is served, what is closed, and what is told apart.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::world::{Origin, World};
use crate::flow::policy::verdict::Verdict;
use crate::ipc::fds;
use crate::ipc::worker::{FromWorker, PolicyText, ToWorker};
use crate::names::HoldId;

#[tokio::test]
async fn a_connection_without_a_record_is_closed_at_once() {
    let origin = Origin::http().await;
    let world = World::start(&origin.root).await;
    let mut stranger = TcpStream::connect(world.gate).await.unwrap();
    let ended = stranger.read(&mut [0; 1]).await;
    assert!(matches!(ended, Ok(0) | Err(_)), "{ended:?}");
    assert_eq!(origin.connections(), 0);
}

#[tokio::test]
async fn the_launchers_probe_is_answered_with_the_agents_name() {
    let origin = Origin::http().await;
    let world = World::start(&origin.root).await;
    let mut probe = world.connect("192.0.2.1:1".parse().unwrap()).await;
    let mut line = String::new();
    probe.read_to_string(&mut line).await.unwrap();
    assert_eq!(line, "agent.shield bot\n");
}

#[tokio::test]
async fn nothing_is_forwarded_to_ourselves_or_to_a_metadata_service() {
    let origin = Origin::http().await;
    let own = origin.address;
    let world = World::with(&origin.root, |config| config.own_addresses = vec![own]).await;
    let places: [SocketAddr; 3] = [own, world.gate, "169.254.169.254:80".parse().unwrap()];
    for place in places {
        let mut stream = world.connect(place).await;
        let _ = stream.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
        let ended = stream.read(&mut [0; 1]).await;
        assert!(matches!(ended, Ok(0) | Err(_)), "{place}: {ended:?}");
    }
    assert_eq!(origin.connections(), 0);
}

#[tokio::test]
async fn what_is_neither_tls_nor_http_is_reset_and_recorded_as_denied() {
    let origin = Origin::http().await;
    let world = World::start(&origin.root).await;
    let openings: [&[u8]; 6] = [
        b"SSH-2.0-OpenSSH_9.2\r\n",
        b"*1\r\n$4\r\nPING\r\n",
        b"\0\0\0\x08\x04\xd2\x16\x2f",
        b"\x16\x03\x01\x00\x05hello",
        b"EHLO example.com\r\n",
        b"",
    ];
    for opening in openings {
        let mut stream = world.connect(origin.address).await;
        stream.write_all(opening).await.unwrap();
        let mut answer = Vec::new();
        let ended = stream.read_to_end(&mut answer).await;
        assert!(ended.is_err(), "{opening:?} was not reset: {ended:?} {answer:?}");
        let record = world.approver.record().await;
        assert_eq!((record.judgement.verdict, record.request), (Verdict::Deny, None));
    }
    assert_eq!(origin.connections(), 0);
}

#[tokio::test]
async fn a_handshake_names_one_host_and_its_requests_must_agree() {
    let origin = Origin::https().await;
    let world = World::start(&origin.root).await;
    for mut client in [world.https(origin.address).await, world.h2(origin.address).await] {
        for host in ["other.example", "localhost:1", "127.0.0.1"] {
            let got = client.send("GET", host, "/", "").await;
            assert_eq!(got.status, 421, "{host}");
            assert_eq!(client.send("HEAD", host, "/", "").await.status, 421, "{host}");
        }
        assert_eq!(client.send("GET", &origin.host().to_uppercase(), "/", "").await.status, 200);
    }
}

#[tokio::test]
async fn a_client_that_names_no_server_gets_a_leaf_for_the_address() {
    let origin = Origin::https().await;
    let world = World::start(&origin.root).await;
    let stream = world.tls(origin.address, "127.0.0.1", &[b"http/1.1"]).await;
    assert!(stream.is_ok(), "{stream:?}");
}

#[tokio::test]
async fn a_protocol_we_do_not_speak_inside_tls_is_refused_in_the_handshake() {
    let origin = Origin::https().await;
    let world = World::start(&origin.root).await;
    let refused = world.tls(origin.address, "localhost", &[b"imap"]).await.unwrap_err();
    assert!(refused.to_string().contains("NoApplicationProtocol"), "{refused}");
}

#[tokio::test]
async fn something_else_inside_tls_is_not_tunnelled() {
    let origin = Origin::https().await;
    let world = World::start(&origin.root).await;
    let mut stream = world.tls(origin.address, "localhost", &[]).await.unwrap();
    stream.write_all(b"SSH-2.0-hidden\r\n").await.unwrap();
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer).await;
    assert_eq!(answer, b"");
    assert_eq!(world.approver.record().await.judgement.verdict, Verdict::Deny);
    assert_eq!(origin.connections(), 0);
}

#[tokio::test]
async fn a_client_that_waits_for_a_greeting_inside_tls_is_refused_in_time() {
    let origin = Origin::https().await;
    let world = World::start(&origin.root).await;
    let mut stream = world.tls(origin.address, "localhost", &[]).await.unwrap();
    assert!(matches!(stream.read(&mut [0]).await, Ok(0) | Err(_)));
    assert_eq!(world.approver.record().await.judgement.verdict, Verdict::Deny);
    assert_eq!(origin.connections(), 0);
}

#[tokio::test]
async fn a_policy_that_does_not_compile_leaves_the_running_one_in_force() {
    let origin = Origin::https().await;
    let world = World::start(&origin.root).await;
    let bad = PolicyText { files: vec![("bad".into(), String::new())] };
    fds::send(&world.supervisor, &ToWorker::Policy(bad), &[]).await.unwrap();
    let (message, _) = fds::receive(&world.supervisor).await.unwrap();
    assert!(matches!(message, FromWorker::PolicyRefused { reason } if reason.contains("bad")));
    let got = world.https(origin.address).await.send("GET", &origin.host(), "/", "").await;
    assert_eq!(got.status, 200);
}

#[tokio::test]
async fn a_drain_tells_who_waits_where_it_stands_and_ends_the_worker() {
    let origin = Origin::https().await;
    let hour = Duration::from_secs(3600);
    let world = World::with(&origin.root, |config| config.hold_wait = hour).await;
    let mut idle = world.https(origin.address).await;
    assert_eq!(idle.send("GET", &origin.host(), "/", "").await.status, 200);
    let mut held = world.https(origin.address).await;
    let host = origin.host();
    let asking = tokio::spawn(async move { held.send("DELETE", &host, "/1", "").await });
    world.approver.take_hold(HoldId(ulid::Ulid(1))).await;
    fds::send(&world.supervisor, &ToWorker::Drain { within: hour }, &[]).await.unwrap();
    // Before, it asked who made its connections.
    let last = loop {
        match fds::receive(&world.supervisor).await.unwrap() {
            (FromWorker::WhichCaller { .. }, _) => {}
            (other, _) => break other,
        }
    };
    assert!(matches!(last, FromWorker::Drained));
    world.ended().await.unwrap();
    assert_eq!(asking.await.unwrap().header("shield-decision"), "pending");
}
