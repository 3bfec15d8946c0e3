//! What was approved is checked once more and ordered once; and whatever becomes of it is known or said not to be.

use super::world::{World, answer, policy, request};
use crate::approval::permit::Permit;
use crate::approval::view::{Decision, HoldState};
use crate::ipc::approver::{Ending, FromApprover, SendFailure, ToApprover};
use crate::ipc::worker::PolicyText;
use crate::store::Place;

#[tokio::test]
async fn an_approved_request_is_ordered_once_after_the_intent_is_durable() {
    let dir = tempfile::tempdir().unwrap();
    let mut world = World::new(&dir).await;
    let hold = world.hold(&request("/1")).await;
    world.decide(hold, Decision::Approve).await;
    let order = world.order().await;
    assert_eq!((order.hold, order.digest), (hold, request("/1").digest));
    assert!(Permit::by_reviewer(&order).is_ok());
    assert_eq!(world.engine.hold(&hold.to_string()).await.unwrap().state, HoldState::Sending);
    world.report(hold, Ok(answer("gone"))).await;
    let FromApprover::Over { ending, .. } = world.hear().await else { panic!("not over, or ordered again") };
    assert_eq!(*ending, Ending::Done(answer("gone")));
    let view = world.engine.hold(&hold.to_string()).await.unwrap();
    assert_eq!(view.destination.verified_name.as_deref(), Some("crm.acme.internal"));
    let result = view.result.unwrap();
    assert_eq!((result.status, result.size, result.collected), (Some(200), 4, 1));
    let kinds = world.kinds().await;
    assert_eq!(kinds, ["hold.created", "hold.decided", "hold.sending", "hold.finished"]);
}

#[tokio::test]
async fn a_failed_send_is_refused_or_unknown_by_whether_it_may_have_arrived() {
    let dir = tempfile::tempdir().unwrap();
    let mut world = World::new(&dir).await;
    let failures = [
        (SendFailure::NotSent("refused".into()), HoldState::Refused, Ending::Refused("refused".into())),
        (
            SendFailure::Unknown("reset".into()),
            HoldState::OutcomeUnknown,
            Ending::OutcomeUnknown("reset".into()),
        ),
    ];
    for (number, (failure, state, expected)) in failures.into_iter().enumerate() {
        let hold = world.hold(&request(&format!("/{number}"))).await;
        world.decide(hold, Decision::Approve).await;
        world.order().await;
        world.report(hold, Err(failure)).await;
        let FromApprover::Over { ending, .. } = world.hear().await else { panic!("not over") };
        assert_eq!((*ending, world.engine.hold(&hold.to_string()).await.unwrap().state), (expected, state));
        // A second report changes nothing.
        world.report(hold, Ok(answer("late"))).await;
        world.say(ToApprover::Status { ask: 99, agent: "bot".parse().unwrap(), hold: Some(hold) }).await;
        let FromApprover::Statuses { holds, .. } = world.hear().await else { panic!("no status") };
        assert_eq!(holds[0].state, state);
    }
}

#[tokio::test]
async fn what_was_altered_on_disk_is_not_sent() {
    let dir = tempfile::tempdir().unwrap();
    for sql in [
        "UPDATE hold_requests SET body = X'7B7D'",
        "UPDATE hold_requests SET request = CAST(replace(request, '/altered', '/ALTERED') AS BLOB)",
        "UPDATE holds SET digest = zeroblob(32)",
        "DELETE FROM hold_requests",
    ] {
        let mut world = World::new(&dir).await;
        let hold = world.hold(&request(&format!("/altered?{}", sql.len()))).await;
        let digest = request(&format!("/altered?{}", sql.len())).digest;
        let mut file =
            sqlx::SqliteConnection::connect(&format!("sqlite://{}/shield.db", dir.path().display()))
                .await
                .unwrap();
        sqlx::query(sql).execute(&mut file).await.unwrap();
        let yes = crate::approval::view::DecisionRequest {
            decision: Decision::Approve,
            digest,
            reason: String::new(),
        };
        // A changed digest is a changed request to whoever decides; the rest is found before it is sent.
        if world.engine.decide(hold, &yes, "Ada").await.is_ok() {
            let FromApprover::Over { ending, .. } = world.hear().await else { panic!("{sql}: ordered") };
            assert!(matches!(*ending, Ending::Refused(_)), "{sql}: {ending:?}");
        }
        sqlx::query("DELETE FROM hold_requests").execute(&mut file).await.unwrap();
        sqlx::query("DELETE FROM holds").execute(&mut file).await.unwrap();
    }
}

#[tokio::test]
async fn a_policy_that_became_stricter_wins_over_an_earlier_yes() {
    let dir = tempfile::tempdir().unwrap();
    let mut world = World::on(Place::file(&dir.path().join("shield.db"))).await;
    let hold = world.hold(&request("/1")).await;
    world.decide(hold, Decision::Approve).await;
    let text =
        "version: 1\nrules: [{ id: never, verdict: deny, why: frozen, match: { method: [DELETE] } }]\n";
    let files = PolicyText { files: vec![("p.yaml".into(), text.into())] };
    world.engine.set_policy(policy(text), &files).await.unwrap();
    world.say(ToApprover::Listening).await;
    let FromApprover::Over { ending, .. } = world.hear().await else { panic!("ordered") };
    assert!(matches!(*ending, Ending::Refused(ref why) if why.contains("frozen")), "{ending:?}");
}

#[tokio::test]
async fn after_a_crash_what_was_approved_is_sent_and_what_was_being_sent_is_unknown() {
    let dir = tempfile::tempdir().unwrap();
    let place = || Place::file(&dir.path().join("shield.db"));
    let mut world = World::new(&dir).await;
    let sending = world.hold(&request("/sending")).await;
    world.decide(sending, Decision::Approve).await;
    world.order().await;
    drop(world);

    let mut world = World::on(place()).await;
    assert_eq!(world.engine.hold(&sending.to_string()).await.unwrap().state, HoldState::OutcomeUnknown);
    let waits = world.hold(&request("/approved")).await;
    world.decide(waits, Decision::Approve).await;
    drop(world);

    let mut world = World::on(place()).await;
    assert_eq!(world.engine.hold(&waits.to_string()).await.unwrap().state, HoldState::Approved);
    world.say(ToApprover::Listening).await;
    assert_eq!(world.order().await.hold, waits, "and not what was being sent");
}

#[tokio::test]
async fn an_approval_that_could_not_be_sent_in_time_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let mut world = World::on(Place::file(&dir.path().join("shield.db"))).await;
    let hold = world.hold(&request("/1")).await;
    world.decide(hold, Decision::Approve).await;
    world.later(super::world::hold_config().expires);
    world.engine.expire().await.unwrap();
    let FromApprover::Over { ending, .. } = world.hear().await else { panic!("not over") };
    assert!(matches!(*ending, Ending::Refused(_)));
}

use sqlx::Connection as _;
