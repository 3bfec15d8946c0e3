//! Nothing leaves unrecorded.

use super::world::{Origin, World};
use crate::flow::policy::verdict::Verdict;
use crate::ipc::approver::{FromApprover, RECORD_WINDOW};

#[tokio::test]
async fn a_denial_is_told_only_when_its_record_is_durable() {
    let origin = Origin::https().await;
    let world = World::start(&origin.root).await;
    let mut client = world.https(origin.address).await;
    world.approver.acknowledge(false);
    assert_eq!(client.send("GET", &origin.host(), "/", "").await.status, 200);
    world.approver.record().await;
    world.approver.outcome().await;
    let host = origin.host();
    let asking = tokio::spawn(async move { client.send("POST", &host, "/denied", "").await });
    assert_eq!(world.approver.record().await.judgement.verdict, Verdict::Deny);
    tokio::task::yield_now().await;
    assert!(!asking.is_finished());
    world.approver.say(FromApprover::Recorded { upto: 3 }).await;
    let got = asking.await.unwrap();
    assert_eq!((got.status, got.header("shield-decision")), (403, "denied"));
    assert!(got.text().contains("rule plain: because"), "{}", got.text());
    origin.received().await;
    assert!(origin.is_quiet().await);
}

#[tokio::test]
async fn a_journal_that_stopped_stops_traffic_until_it_writes_again() {
    let origin = Origin::https().await;
    let world = World::start(&origin.root).await;
    let mut client = world.h2(origin.address).await;
    world.approver.acknowledge(false);
    assert_eq!(client.send("GET", &origin.host(), "/", "").await.status, 200);
    world.approver.outcome().await;
    world.approver.say(FromApprover::Stopped { reason: "the disk is full".into() }).await;
    // The channel is in order: when the agent is refused, the word has arrived.
    let refused = loop {
        let got = client.send("GET", &origin.host(), "/", "").await;
        if got.status != 200 {
            break got;
        }
    };
    assert_eq!(refused.status, 503);
    assert!(refused.text().contains("the disk is full"), "{}", refused.text());
    world.approver.say(FromApprover::Recorded { upto: 2 }).await;
    while client.send("GET", &origin.host(), "/", "").await.status != 200 {}
}

#[tokio::test]
async fn a_dead_approver_stops_everything() {
    let origin = Origin::https().await;
    let world = World::start(&origin.root).await;
    let mut client = world.https(origin.address).await;
    assert_eq!(client.send("GET", &origin.host(), "/", "").await.status, 200);
    world.approver.die().await;
    while client.send("GET", &origin.host(), "/", "").await.status != 503 {}
    for (method, target) in [("GET", "/"), ("DELETE", "/1"), ("POST", "/denied")] {
        let got = client.send(method, &origin.host(), target, "").await;
        assert_eq!(got.status, 503, "{method} {target}");
        assert!(got.text().contains("NOT been executed"));
    }
}

#[tokio::test]
async fn a_full_window_of_records_makes_traffic_wait() {
    let origin = Origin::https().await;
    let world = World::start(&origin.root).await;
    let mut client = world.h2(origin.address).await;
    world.approver.acknowledge(false);
    // Each exchange makes two records.
    for _ in 0..RECORD_WINDOW / 2 {
        assert_eq!(client.send("GET", &origin.host(), "/", "").await.status, 200);
        origin.received().await;
        world.approver.outcome().await;
    }
    let host = origin.host();
    let waiting = tokio::spawn(async move { client.send("GET", &host, "/", "").await });
    // What needs no record passes meanwhile, several times over.
    let mut other = world.http("198.18.0.1:80".parse().unwrap()).await;
    for _ in 0..20 {
        assert_eq!(other.send("GET", "shield.internal", "/", "").await.status, 200);
    }
    assert!(origin.is_quiet().await && !waiting.is_finished());
    world.approver.say(FromApprover::Recorded { upto: RECORD_WINDOW }).await;
    assert_eq!(waiting.await.unwrap().status, 200);
}

#[tokio::test]
async fn an_agent_that_hangs_up_leaves_an_outcome_all_the_same() {
    let origin = Origin::https().await;
    let world = World::start(&origin.root).await;
    // Accepts, reads and never answers.
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut client = world.http(silent.local_addr().unwrap()).await;
    let asking = tokio::spawn(async move { client.send("GET", "localhost", "/", "").await });
    let (_socket, _) = silent.accept().await.unwrap();
    asking.abort();
    let outcome = world.approver.outcome().await;
    assert_eq!(outcome.status, None);
    assert!(outcome.error.unwrap().contains("hung up"));
}
