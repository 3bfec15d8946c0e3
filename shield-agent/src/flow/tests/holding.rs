//! Held requests: stored, waited for, sent once when ordered, and answered truthfully.

use std::time::Duration;

use ulid::Ulid;

use super::world::{MAX_BODY, Origin, World, stored};
use crate::ipc::approver::{Ending, FromApprover, SendFailure, ToApprover};
use crate::names::HoldId;

fn hold(number: u128) -> HoldId {
    HoldId(Ulid(number))
}

#[tokio::test]
async fn an_approved_request_is_sent_once_over_a_connection_of_its_own_and_really_answered() {
    let origin = Origin::https().await;
    let world = World::start(&origin.root).await;
    let mut client = world.https(origin.address).await;
    // Opens a connection that is kept, and must not be used.
    assert_eq!(client.send("GET", &origin.host(), "/", "").await.status, 200);
    let kept = origin.received().await.connection;
    let host = origin.host();
    let asking = tokio::spawn(async move { client.send("DELETE", &host, "/v1/customers/8821", "{}").await });

    let (ask, request) = world.approver.take_hold(hold(1)).await;
    assert_eq!(request.digest, request.request.digest());
    assert!(origin.is_quiet().await, "nothing leaves before the order");
    let answer = world.approver.order(hold(1), &request).await.unwrap();
    assert_eq!((answer.status, &answer.body[..]), (200, &b"2 bytes"[..]));
    assert_eq!(answer.verified_name.as_deref(), Some("localhost"));
    world.approver.over(ask, hold(1), Ending::Done(answer)).await;

    let got = asking.await.unwrap();
    assert_eq!((got.status, got.text(), got.header("x-origin")), (200, "2 bytes", "yes"));
    let received = origin.received().await;
    assert_eq!((received.method.as_str(), &received.body[..]), ("DELETE", &b"{}"[..]));
    assert_ne!(received.connection, kept);
    assert!(origin.is_quiet().await);
}

#[tokio::test]
async fn an_order_whose_request_was_altered_is_not_sent() {
    let origin = Origin::https().await;
    let world = World::start(&origin.root).await;
    let mut client = world.https(origin.address).await;
    let host = origin.host();
    let _asking = tokio::spawn(async move { client.send("DELETE", &host, "/1", "").await });
    let (_, mut request) = world.approver.take_hold(hold(1)).await;
    request.request.head.target = "/2".into();
    let result = world.approver.order(hold(1), &request).await;
    assert!(matches!(result, Err(SendFailure::NotSent(why)) if why.contains("altered")));
    assert_eq!(origin.connections(), 0);
}

#[tokio::test]
async fn a_send_that_reached_nobody_says_so_and_one_that_may_have_says_that() {
    let origin = Origin::https().await;
    let world = World::start(&origin.root).await;
    let mut client = world.https(origin.address).await;
    let host = origin.host();
    let _asking = tokio::spawn(async move { client.send("DELETE", &host, "/1", "").await });
    let (_, mut request) = world.approver.take_hold(hold(1)).await;
    request.destination.port = 1;
    let result = world.approver.order(hold(1), &request).await;
    assert!(matches!(result, Err(SendFailure::NotSent(_))), "{result:?}");

    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    request.destination.port = listener.local_addr().unwrap().port();
    request.request.head.scheme = crate::flow::http::canonical::Scheme::Http;
    request.digest = request.request.digest();
    let deaf = tokio::spawn(async move {
        let (mut socket, _) = listener.accept().await.unwrap();
        tokio::io::AsyncReadExt::read(&mut socket, &mut [0; 1]).await.unwrap();
        listener
    });
    let result = world.approver.order(hold(2), &request).await;
    assert!(matches!(result, Err(SendFailure::Unknown(_))), "{result:?}");
    let listener = deaf.await.unwrap();
    let again = std::pin::pin!(listener.accept());
    assert!(futures_util::poll!(again).is_pending(), "it is never sent again");
}

#[tokio::test]
async fn an_answer_too_long_to_keep_is_reported_with_its_real_status() {
    let origin = Origin::https().await;
    let world = World::start(&origin.root).await;
    let mut client = world.https(origin.address).await;
    let host = origin.host();
    let _asking = tokio::spawn(async move { client.send("DELETE", &host, "/big?9000000", "").await });
    let (_, request) = world.approver.take_hold(hold(1)).await;
    let answer = world.approver.order(hold(1), &request).await.unwrap();
    assert_eq!(answer.status, 200);
    assert!(String::from_utf8_lossy(&answer.body).contains("WAS executed"));
    assert!(answer.headers.iter().any(|header| header.name == "x-origin"));
    assert!(answer.headers.iter().all(|header| header.name != "alt-svc"));
    assert!(answer.headers.iter().all(|header| header.name != "content-length"));
}

#[tokio::test]
async fn a_denial_while_waiting_carries_the_reviewers_words() {
    let origin = Origin::https().await;
    let world = World::start(&origin.root).await;
    let mut client = world.h2(origin.address).await;
    let host = origin.host();
    let asking = tokio::spawn(async move { client.send("DELETE", &host, "/1", "").await });
    let (ask, _) = world.approver.take_hold(hold(1)).await;
    let denied = Ending::Denied { by: "alice".into(), reason: "use staging".into() };
    world.approver.over(ask, hold(1), denied).await;
    let got = asking.await.unwrap();
    assert_eq!((got.status, got.header("shield-decision")), (403, "denied"));
    assert!(got.text().contains("Denied by alice"), "{}", got.text());
    assert_eq!(origin.connections(), 0);
}

#[tokio::test]
async fn an_undecided_hold_is_pending_and_asking_again_collects_its_answer() {
    let origin = Origin::https().await;
    let world = World::with(&origin.root, |config| config.hold_wait = Duration::ZERO).await;
    let mut client = world.https(origin.address).await;
    let host = origin.host();
    let asking = tokio::spawn(async move {
        let pending = client.send("DELETE", &host, "/1", "").await;
        (pending, client.send("DELETE", &host, "/1", "").await)
    });
    let (ask, first) = world.approver.take_hold(hold(7)).await;
    assert!(
        matches!(world.approver.hear().await, ToApprover::StoppedWaiting { ask: stopped } if stopped == ask)
    );
    let ToApprover::Hold { ask, request: second } = world.approver.hear().await else { panic!("not a hold") };
    assert_eq!(first.digest, second.digest, "a repeated request is recognised");
    world.approver.over(ask, hold(7), Ending::Done(stored(201, "made"))).await;
    let (pending, collected) = asking.await.unwrap();
    assert_eq!((pending.status, pending.header("retry-after")), (503, "1"));
    assert_eq!(pending.header("shield-hold"), hold(7).to_string());
    assert_eq!((collected.status, collected.text(), collected.header("x-kept")), (201, "made", "yes"));
}

#[tokio::test]
async fn a_client_that_prefers_not_to_wait_is_told_where_to_look() {
    let origin = Origin::https().await;
    let world = World::start(&origin.root).await;
    let mut client = world.https(origin.address).await;
    let host = origin.host();
    let asking = tokio::spawn(async move {
        client.send_with("DELETE", &host, "/1", &[("prefer", "respond-async")], "").await
    });
    world.approver.take_hold(hold(1)).await;
    let got = asking.await.unwrap();
    assert_eq!((got.status, got.header("preference-applied")), (202, "respond-async"));
    assert_eq!(got.header("location"), format!("http://shield.internal/holds/{}", hold(1)));
}

#[tokio::test]
async fn an_agent_that_hangs_up_is_no_longer_waiting() {
    let origin = Origin::https().await;
    let world = World::start(&origin.root).await;
    let mut client = world.https(origin.address).await;
    let host = origin.host();
    let asking = tokio::spawn(async move { client.send("DELETE", &host, "/1", "").await });
    let (ask, _) = world.approver.take_hold(hold(1)).await;
    asking.abort();
    assert!(
        matches!(world.approver.hear().await, ToApprover::StoppedWaiting { ask: stopped } if stopped == ask)
    );
}

#[tokio::test]
async fn a_body_decides_and_one_too_long_to_hold_is_refused() {
    let origin = Origin::https().await;
    let world = World::start(&origin.root).await;
    let mut client = world.https(origin.address).await;
    let got = client.send("POST", &origin.host(), "/sql", "select 1").await;
    assert_eq!((got.status, got.text()), (200, "8 bytes"));
    origin.received().await;

    let long = "x".repeat(MAX_BODY as usize + 1);
    for (method, target) in [("POST", "/sql"), ("DELETE", "/1")] {
        let got = world.https(origin.address).await.send(method, &origin.host(), target, &long).await;
        assert_eq!(got.status, 413, "{method} {target}");
    }
    let got = world.https(origin.address).await.send("POST", &origin.host(), "/other", &long).await;
    assert_eq!(got.status, 200, "a body no rule looks at passes at any length");
    assert_eq!(origin.received().await.body, long);
    assert!(origin.is_quiet().await);
}

#[tokio::test]
async fn a_hold_that_cannot_be_taken_is_refused_with_the_reason() {
    let origin = Origin::https().await;
    let world = World::start(&origin.root).await;
    let mut client = world.https(origin.address).await;
    let host = origin.host();
    let asking = tokio::spawn(async move { client.send("DELETE", &host, "/1", "").await });
    let ToApprover::Hold { ask, .. } = world.approver.hear().await else { panic!("not a hold") };
    world.approver.say(FromApprover::NotHeld { ask, reason: "50 are pending".into() }).await;
    let got = asking.await.unwrap();
    assert_eq!(got.status, 503);
    assert!(got.text().contains("50 are pending"));
}

#[tokio::test]
async fn an_agent_sees_and_withdraws_its_own_holds_and_decides_nothing() {
    use crate::approval::view::HoldState;
    use crate::ipc::approver::{OwnHold, RequestLine};
    let origin = Origin::https().await;
    let world = World::start(&origin.root).await;
    let mut client = world.http("198.18.0.1:80".parse().unwrap()).await;
    let own = |state| OwnHold {
        id: hold(1),
        state,
        request: RequestLine { method: "DELETE".into(), url: "https://a/1".into() },
        why: "because".into(),
        expires_at: jiff::Timestamp::MAX,
        reason: String::new(),
    };
    let asking = tokio::spawn(async move {
        let all = client.send("GET", "shield.internal", "/holds", "").await;
        let waited =
            client.send("GET", "shield.internal", &format!("/holds/{}/wait?timeout=0", hold(1)), "").await;
        let withdrawn = client.send("DELETE", "shield.internal", &format!("/holds/{}", hold(1)), "").await;
        let unknown = client.send("GET", "shield.internal", &format!("/holds/{}", hold(2)), "").await;
        let decided = client.send("POST", "shield.internal", &format!("/holds/{}", hold(1)), "approve").await;
        (all, waited, withdrawn, unknown, decided)
    });
    for (expected, answer) in
        [(None, vec![own(HoldState::Pending)]), (Some(hold(1)), vec![own(HoldState::Pending)])]
    {
        let ToApprover::Status { ask, agent, hold } = world.approver.hear().await else {
            panic!("not a status")
        };
        assert_eq!((agent.as_str(), hold), ("bot", expected));
        world.approver.say(FromApprover::Statuses { ask, holds: answer }).await;
    }
    let ToApprover::Withdraw { ask, .. } = world.approver.hear().await else { panic!("not a withdrawal") };
    world.approver.say(FromApprover::Statuses { ask, holds: vec![own(HoldState::Cancelled)] }).await;
    let ToApprover::Status { ask, .. } = world.approver.hear().await else { panic!("not a status") };
    world.approver.say(FromApprover::Statuses { ask, holds: vec![] }).await;
    let (all, waited, withdrawn, unknown, decided) = asking.await.unwrap();
    let json: serde_json::Value = serde_json::from_slice(&all.body).unwrap();
    assert_eq!(json["holds"][0]["state"], "pending");
    assert_eq!((waited.status, withdrawn.status), (200, 200));
    assert!(withdrawn.text().contains("\"cancelled\""));
    assert_eq!((unknown.status, decided.status), (404, 404));
}
