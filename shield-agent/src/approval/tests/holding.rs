//! Taking requests in: one hold for one request, however often it is asked for.

use std::time::Duration;

use super::world::{World, answer, request, retried};
use crate::approval::held::SHOWN_BODY;
use crate::approval::view::{Decision, HoldState};
use crate::ipc::approver::{Ending, FromApprover, ToApprover};

#[tokio::test]
async fn a_held_request_is_shown_whole_and_without_its_secrets() {
    let dir = tempfile::tempdir().unwrap();
    let mut world = World::new(&dir).await;
    let hold = world.hold(&request("/v1/customers/8821?api_key=s3cret-token-3")).await;
    let view = world.engine.hold(&hold.to_string()).await.unwrap();
    assert_eq!(view.state, HoldState::Pending);
    assert_eq!(view.request.method, "DELETE");
    assert_eq!(view.request.url, "https://crm.acme.internal/v1/customers/8821?api_key=••••");
    assert_eq!(view.request.headers[0], ("authorization".to_owned(), "Bearer ••••".to_owned()));
    assert_eq!(view.request.refreshable, ["authorization"]);
    assert_eq!(view.request.body.text.as_deref(), Some("{\"cascade\":true}"));
    assert!(view.request.body.inspectable && !view.request.body.truncated);
    assert!(view.caller_waiting && view.decision.is_none() && view.result.is_none());
    let everything = serde_json::to_string(&view).unwrap();
    assert!(!everything.contains("s3cret"), "{everything}");
    assert_eq!(&world.engine.body(hold).await.unwrap().bytes[..], b"{\"cascade\":true}");
}

#[tokio::test]
async fn a_long_body_is_shown_as_far_as_a_page_goes_and_kept_whole() {
    let dir = tempfile::tempdir().unwrap();
    let mut world = World::new(&dir).await;
    let mut long = request("/1");
    long.request.body = "x".repeat(SHOWN_BODY + 1).into();
    long.digest = long.request.digest();
    let hold = world.hold(&long).await;
    let body = world.engine.hold(&hold.to_string()).await.unwrap().request.body;
    assert_eq!((body.text.map(|text| text.len()), body.truncated), (Some(SHOWN_BODY), true));
    assert_eq!(body.size, SHOWN_BODY as u64 + 1);
    assert_eq!(world.engine.body(hold).await.unwrap().bytes, long.request.body);
    world.decide(hold, Decision::Approve).await;
    assert_eq!(world.order().await.request.body, long.request.body);
}

#[tokio::test]
async fn a_retry_joins_its_hold_and_brings_a_fresher_credential() {
    let dir = tempfile::tempdir().unwrap();
    let mut world = World::new(&dir).await;
    let first = world.hold(&request("/1")).await;
    let second = world.hold(&retried("/1", "fresh")).await;
    assert_eq!(first, second);
    assert_ne!(world.hold(&request("/2")).await, first, "another request is another hold");
    assert_eq!(world.engine.hold(&first.to_string()).await.unwrap().asked, 2);
    world.decide(first, Decision::Approve).await;
    let order = world.order().await;
    assert_eq!(order.request.head.headers[0].value, b"Bearer fresh");
    assert_eq!(order.request.digest(), order.digest);
}

#[tokio::test]
async fn a_rule_that_waits_for_ever_holds_to_the_end_of_time() {
    let dir = tempfile::tempdir().unwrap();
    let mut world = World::new(&dir).await;
    let mut patient = request("/1");
    patient.judgement.terms.expires = Some(Duration::MAX);
    let hold = world.hold(&patient).await;
    world.later(Duration::from_secs(3600 * 24 * 365 * 100));
    world.engine.expire().await.unwrap();
    assert_eq!(world.engine.hold(&hold.to_string()).await.unwrap().state, HoldState::Pending);
}

#[tokio::test]
async fn the_request_of_another_agent_never_joins() {
    let dir = tempfile::tempdir().unwrap();
    let mut world = World::new(&dir).await;
    let first = world.hold(&request("/1")).await;
    let mut other = request("/1");
    other.agent = "other".parse().unwrap();
    assert_ne!(world.hold(&other).await, first);
}

#[tokio::test]
async fn an_agent_has_so_many_pending_holds_and_no_more() {
    let dir = tempfile::tempdir().unwrap();
    let mut world = World::new(&dir).await;
    for path in ["/1", "/2", "/3"] {
        world.hold(&request(path)).await;
    }
    world.ask(&request("/4")).await;
    let FromApprover::NotHeld { reason, .. } = world.hear().await else { panic!("held") };
    assert!(reason.contains("max_pending_per_agent"), "{reason}");
    world.hold(&request("/1")).await;
}

#[tokio::test]
async fn a_request_that_is_not_what_its_digest_says_is_not_taken() {
    let dir = tempfile::tempdir().unwrap();
    let mut world = World::new(&dir).await;
    let mut altered = request("/1");
    altered.request.head.target = "/2".into();
    world.ask(&altered).await;
    assert!(matches!(world.hear().await, FromApprover::NotHeld { .. }));
    assert!(world.engine.holds(&Default::default()).await.unwrap().items.is_empty());
}

#[tokio::test]
async fn the_answer_of_a_finished_hold_is_collected_and_later_asked_for_anew() {
    let dir = tempfile::tempdir().unwrap();
    let mut world = World::new(&dir).await;
    let hold = world.hold(&request("/1")).await;
    world.decide(hold, Decision::Approve).await;
    world.order().await;
    world.report(hold, Ok(answer("gone"))).await;
    assert!(matches!(world.hear().await, FromApprover::Over { .. }));

    let asked = world.ask(&request("/1")).await;
    let FromApprover::Over { ask, hold: same, ending } = world.hear().await else { panic!("not over") };
    assert_eq!((ask, same, *ending), (asked, hold, Ending::Done(answer("gone"))));
    world.later(Duration::from_secs(10 * 60 + 1));
    assert_ne!(world.hold(&request("/1")).await, hold, "its time is over: it is a new action");
}

#[tokio::test]
async fn a_denial_is_remembered_and_an_end_without_a_send_is_told_once() {
    let dir = tempfile::tempdir().unwrap();
    let mut world = World::new(&dir).await;
    let hold = world.hold(&request("/1")).await;
    world.decide(hold, Decision::Deny).await;
    for _ in 0..2 {
        let FromApprover::Over { ending, .. } = world.hear().await else { panic!("not over") };
        assert_eq!(*ending, Ending::Denied { by: "Ada".into(), reason: "looked at it".into() });
        world.ask(&request("/1")).await;
    }
    world.hear().await;

    let asked = world.ask(&request("/2")).await;
    let FromApprover::Held { hold, .. } = world.hear().await else { panic!("not held") };
    world.say(ToApprover::StoppedWaiting { ask: asked }).await;
    world.until(hold, |view| !view.caller_waiting).await;
    world.later(Duration::from_secs(30 * 60));
    world.engine.expire().await.unwrap();
    world.ask(&request("/2")).await;
    let FromApprover::Over { ending, .. } = world.hear().await else { panic!("not over") };
    assert_eq!(*ending, Ending::Expired, "the agent has not heard it yet");
    assert_ne!(world.hold(&request("/2")).await, hold, "now it knows, and may ask anew");
}

#[tokio::test]
async fn an_agent_sees_only_its_own_holds_and_withdraws_only_them() {
    let dir = tempfile::tempdir().unwrap();
    let mut world = World::new(&dir).await;
    let hold = world.hold(&request("/1")).await;
    let other = || "other".parse().unwrap();
    world.say(ToApprover::Withdraw { ask: 100, agent: other(), hold }).await;
    let FromApprover::Statuses { holds, .. } = world.hear().await else { panic!("no statuses") };
    assert!(holds.is_empty());
    world.say(ToApprover::Status { ask: 101, agent: other(), hold: None }).await;
    let FromApprover::Statuses { holds, .. } = world.hear().await else { panic!("no statuses") };
    assert!(holds.is_empty());
    assert_eq!(world.engine.hold(&hold.to_string()).await.unwrap().state, HoldState::Pending);

    world.say(ToApprover::Withdraw { ask: 102, agent: "bot".parse().unwrap(), hold }).await;
    let FromApprover::Over { ending, .. } = world.hear().await else { panic!("not over") };
    assert_eq!(*ending, Ending::Cancelled);
    let FromApprover::Statuses { holds, .. } = world.hear().await else { panic!("no statuses") };
    assert_eq!(holds[0].state, HoldState::Cancelled);
}
