//! Connections nobody can look into: the same bytes where a rule says so, and nothing at all elsewhere.

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::world::{Origin, UNREAD, World, certificate_for};
use crate::flow::policy::verdict::Verdict;
use crate::ipc::approver::FromApprover;
use crate::ipc::fds;
use crate::ipc::worker::ToWorker;

async fn server() -> (TcpListener, SocketAddr, World) {
    let listener = TcpListener::bind((UNREAD, 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address, World::start(&certificate_for("localhost", |_| {}).0).await)
}

#[tokio::test]
async fn what_a_rule_lets_pass_unread_passes_untouched_and_is_recorded() {
    let openings: [&[u8]; 3] =
        [b"SSH-2.0-OpenSSH_9.2\r\n", b"*1\r\n$4\r\nPING\r\n", b"\0\0\0\x08\x04\xd2\x16\x2f"];
    for opening in openings {
        let (listener, address, world) = server().await;
        let mut client = world.connect(address).await;
        client.write_all(opening).await.unwrap();
        client.shutdown().await.unwrap();
        let (mut origin, _) = listener.accept().await.unwrap();
        let mut heard = Vec::new();
        origin.read_to_end(&mut heard).await.unwrap();
        assert_eq!(heard, opening);
        origin.write_all(b"answer").await.unwrap();
        drop(origin);
        let mut told = String::new();
        client.read_to_string(&mut told).await.unwrap();
        assert_eq!(told, "answer");
        let record = world.approver.record().await;
        assert_eq!((record.judgement.verdict, record.request), (Verdict::Allow, None));
        assert!(record.judgement.why.contains("uninspectable"), "{}", record.judgement.why);
        let outcome = world.approver.outcome().await;
        assert_eq!((outcome.sent, outcome.received, outcome.error), (opening.len() as u64, 6, None));
    }
}

#[tokio::test]
async fn much_that_passes_both_ways_at_once_arrives_as_it_was_sent() {
    const MUCH: usize = 3 << 20;
    let upwards: Vec<u8> = (0..MUCH).map(|at| (at * 7 % 251) as u8).collect();
    let downwards: Vec<u8> = upwards.iter().rev().copied().collect();
    let (listener, address, world) = server().await;
    let mut client = world.connect(address).await;
    client.write_all(b"\0").await.unwrap();
    let (mut origin, _) = listener.accept().await.unwrap();
    origin.read_exact(&mut [0]).await.unwrap();
    let ((mut client_reads, mut client_writes), (mut origin_reads, mut origin_writes)) =
        (client.split(), origin.split());
    let says = async |to: &mut tokio::net::tcp::WriteHalf<'_>, what: &[u8]| {
        to.write_all(what).await.unwrap();
        to.shutdown().await.unwrap();
    };
    let hears = async |from: &mut tokio::net::tcp::ReadHalf<'_>| {
        let mut heard = Vec::new();
        from.read_to_end(&mut heard).await.unwrap();
        heard
    };
    let (_, _, told, heard) = tokio::join!(
        says(&mut client_writes, &upwards),
        says(&mut origin_writes, &downwards),
        hears(&mut client_reads),
        hears(&mut origin_reads)
    );
    assert!(heard == upwards && told == downwards, "it arrived otherwise");
    let outcome = world.approver.outcome().await;
    assert_eq!((outcome.sent, outcome.received), (MUCH as u64 + 1, MUCH as u64));
}

#[tokio::test]
async fn a_server_that_speaks_first_is_heard() {
    let (listener, address, world) = server().await;
    let mut client = world.connect(address).await;
    let (mut origin, _) = listener.accept().await.unwrap();
    origin.write_all(b"220 ready\r\n").await.unwrap();
    let mut greeting = [0; 11];
    client.read_exact(&mut greeting).await.unwrap();
    assert_eq!(&greeting, b"220 ready\r\n");
}

#[tokio::test]
async fn a_program_that_waits_and_then_speaks_http_is_read() {
    let (listener, address, world) = server().await;
    let mut client = world.connect(address).await;
    // It was silent for so long that its server was asked for a greeting.
    let (mut origin, _) = listener.accept().await.unwrap();
    let request = format!("GET /denied HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    client.write_all(request.as_bytes()).await.unwrap();
    let heard = origin.read(&mut [0]).await;
    assert!(matches!(heard, Ok(0) | Err(_)), "{heard:?}");
    let mut told = String::new();
    client.read_to_string(&mut told).await.unwrap();
    assert!(told.starts_with("HTTP/1.1 403 "), "{told}");
    assert_eq!(world.approver.record().await.request, None);
    let outcome = world.approver.outcome().await;
    assert!(outcome.sent == 0 && outcome.error.is_some(), "{outcome:?}");
    assert!(world.approver.record().await.request.is_some());
}

#[tokio::test]
async fn the_end_of_the_gate_ends_what_passes_unread() {
    let (listener, address, world) = server().await;
    let mut client = world.connect(address).await;
    client.write_all(b"\0hello").await.unwrap();
    let (mut origin, _) = listener.accept().await.unwrap();
    origin.read_exact(&mut [0; 6]).await.unwrap();
    let detach = ToWorker::RemoveGate { agent: "bot".parse().unwrap() };
    fds::send(&world.supervisor, &detach, &[]).await.unwrap();
    assert!(matches!(origin.read(&mut [0]).await, Ok(0) | Err(_)));
    assert!(matches!(client.read(&mut [0]).await, Ok(0) | Err(_)));
    let outcome = world.approver.outcome().await;
    assert_eq!((outcome.sent, outcome.error.as_deref()), (6, Some("the gate was closed")));
}

#[tokio::test]
async fn nothing_passes_unread_while_it_cannot_be_recorded() {
    let (listener, address, world) = server().await;
    world.approver.acknowledge(false);
    world.approver.say(FromApprover::Stopped { reason: "the disk is full".into() }).await;
    // The worker hears of it in a moment; until then connections pass.
    loop {
        let mut client = world.connect(address).await;
        client.write_all(b"\0hello").await.unwrap();
        let mut byte = [0];
        tokio::select! {
            accepted = listener.accept() => drop(accepted.unwrap()),
            ended = client.read(&mut byte) => {
                assert!(matches!(ended, Ok(0) | Err(_)));
                break;
            }
        }
    }
    assert!(futures_util::poll!(std::pin::pin!(listener.accept())).is_pending());
}

#[tokio::test]
async fn nothing_passes_unread_to_ourselves() {
    let listener = TcpListener::bind((UNREAD, 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    let root = certificate_for("localhost", |_| {}).0;
    let world = World::with(&root, |config| config.own_addresses = vec![address]).await;
    let mut client = world.connect(address).await;
    let _ = client.write_all(b"\0hello").await;
    let mut byte = [0];
    tokio::select! {
        ended = client.read(&mut byte) => assert!(matches!(ended, Ok(0) | Err(_)), "{ended:?}"),
        reached = listener.accept() => panic!("it was reached: {reached:?}"),
    }
}

#[tokio::test]
async fn what_can_be_read_is_read_where_a_rule_lets_unread_connections_pass() {
    let (listener, address, world) = server().await;
    let mut client = world.connect(address).await;
    let request = format!("GET /denied HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    client.write_all(request.as_bytes()).await.unwrap();
    let mut told = String::new();
    client.read_to_string(&mut told).await.unwrap();
    assert!(told.starts_with("HTTP/1.1 403 "), "{told}");
    assert!(futures_util::poll!(std::pin::pin!(listener.accept())).is_pending());
}

#[tokio::test]
async fn a_connection_that_spoke_http_does_not_pass_unread_afterwards() {
    let (listener, address, world) = server().await;
    let mut client = world.connect(address).await;
    let request = format!("GET /denied HTTP/1.1\r\nHost: {address}\r\n\r\nSSH-2.0-x\r\n\r\n");
    client.write_all(request.as_bytes()).await.unwrap();
    let mut told = String::new();
    client.read_to_string(&mut told).await.unwrap();
    assert!(told.starts_with("HTTP/1.1 400 "), "{told}");
    assert!(futures_util::poll!(std::pin::pin!(listener.accept())).is_pending());
}

#[tokio::test]
async fn a_tls_session_kept_shut_reaches_its_server_as_the_program_made_it() {
    let (root, chain, key) = certificate_for("pinned.example", |_| {});
    let origin = Origin::certified_at(UNREAD, root.clone(), chain, key).await;
    let world = World::start(&certificate_for("localhost", |_| {}).0).await;
    // The program trusts its server's certificate alone, not ours.
    let stream = world.tls_trusting(&root, origin.address, "pinned.example").await;
    assert!(stream.is_ok(), "{stream:?}");
    assert_eq!(world.approver.record().await.judgement.verdict, Verdict::Allow);
}

#[tokio::test]
async fn the_name_of_a_session_kept_shut_opens_no_other_address() {
    let (root, chain, key) = certificate_for("pinned.example", |_| {});
    let origin = Origin::certified(root.clone(), chain, key).await;
    let world = World::start(&certificate_for("localhost", |_| {}).0).await;
    let stream = world.tls_trusting(&root, origin.address, "pinned.example").await;
    assert!(stream.is_err());
    assert_eq!(world.approver.record().await.judgement.verdict, Verdict::Deny);
    assert_eq!(origin.connections(), 0);
}
