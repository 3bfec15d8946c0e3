//! Reviewers decide once, on what they saw, in time.

use std::time::Duration;

use super::world::{World, request};
use crate::approval::error::{Conflict, DecideError, FindError};
use crate::approval::event::EventName;
use crate::approval::view::{Decision, DecisionRequest, HoldState};
use crate::ipc::approver::{Ending, FromApprover};
use crate::names::{Digest, HoldId};

fn yes(digest: Digest) -> DecisionRequest {
    DecisionRequest { decision: Decision::Approve, digest, reason: String::new() }
}

async fn conflict(world: &World, hold: HoldId, request: &DecisionRequest) -> Conflict {
    match world.engine.decide(hold, request, "Eve").await {
        Err(DecideError::Conflict { why, current }) => {
            assert_eq!(current.id, hold);
            why
        }
        other => panic!("no conflict: {other:?}"),
    }
}

#[tokio::test]
async fn a_decision_on_something_else_than_is_held_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let mut world = World::new(&dir).await;
    let hold = world.hold(&request("/1")).await;
    assert_eq!(conflict(&world, hold, &yes(Digest::of(b"other"))).await, Conflict::StaleDigest);
    assert_eq!(world.engine.hold(&hold.to_string()).await.unwrap().state, HoldState::Pending);
}

#[tokio::test]
async fn the_first_decision_stands() {
    let dir = tempfile::tempdir().unwrap();
    let mut world = World::new(&dir).await;
    let denied = world.hold(&request("/1")).await;
    world.decide(denied, Decision::Deny).await;
    assert_eq!(conflict(&world, denied, &yes(request("/1").digest)).await, Conflict::AlreadyDenied);
    world.hear().await;
    let approved = world.hold(&request("/2")).await;
    world.decide(approved, Decision::Approve).await;
    assert_eq!(conflict(&world, approved, &yes(request("/2").digest)).await, Conflict::AlreadyDecided);
    let by = world.engine.hold(&approved.to_string()).await.unwrap().decision.unwrap().by;
    assert_eq!(by, "Ada");
}

#[tokio::test]
async fn of_many_decisions_at_once_exactly_one_is_taken() {
    let dir = tempfile::tempdir().unwrap();
    let mut world = World::new(&dir).await;
    let hold = world.hold(&request("/1")).await;
    let digest = request("/1").digest;
    let attempts = (0..50).map(|number| {
        let engine = world.engine.clone();
        let decision = if number % 2 == 0 { Decision::Approve } else { Decision::Deny };
        let request = DecisionRequest { decision, digest, reason: String::new() };
        tokio::spawn(async move { engine.decide(hold, &request, "Ada").await.is_ok() })
    });
    let mut taken = 0;
    for attempt in attempts.collect::<Vec<_>>() {
        taken += usize::from(attempt.await.unwrap());
    }
    assert_eq!(taken, 1);
    let decided = world.kinds().await.iter().filter(|kind| *kind == "hold.decided").count();
    assert_eq!(decided, 1);
}

#[tokio::test]
async fn too_late_is_too_late() {
    let dir = tempfile::tempdir().unwrap();
    let mut world = World::new(&dir).await;
    let hold = world.hold(&request("/1")).await;
    world.later(Duration::from_secs(30 * 60));
    assert_eq!(conflict(&world, hold, &yes(request("/1").digest)).await, Conflict::Expired);
    let FromApprover::Over { ending, .. } = world.hear().await else { panic!("not over") };
    assert_eq!(*ending, Ending::Expired);
}

#[tokio::test]
async fn an_approval_is_taken_back_only_before_it_is_sent() {
    let dir = tempfile::tempdir().unwrap();
    let place = crate::store::Place::file(&dir.path().join("shield.db"));
    // Its worker does not listen yet, so nothing is sent.
    let mut world = World::on(place).await;
    let hold = world.hold(&request("/1")).await;
    let pending = world.engine.revoke(hold, "Ada").await;
    assert!(matches!(pending, Err(DecideError::Conflict { why: Conflict::NotApproved, .. })));
    world.decide(hold, Decision::Approve).await;
    let view = world.engine.revoke(hold, "Ada").await.unwrap();
    assert_eq!((view.state, view.decision.unwrap().decision), (HoldState::Denied, Decision::Deny));
    let FromApprover::Over { ending, .. } = world.hear().await else { panic!("not over") };
    assert!(matches!(*ending, Ending::Denied { .. }));

    let hold = world.hold(&request("/2")).await;
    world.say(crate::ipc::approver::ToApprover::Listening).await;
    world.decide(hold, Decision::Approve).await;
    world.order().await;
    let late = world.engine.revoke(hold, "Ada").await;
    assert!(matches!(late, Err(DecideError::Conflict { why: Conflict::TooLate, .. })));
}

#[tokio::test]
async fn a_hold_is_found_by_its_beginning_and_an_unknown_one_names_its_neighbours() {
    let dir = tempfile::tempdir().unwrap();
    let mut world = World::new(&dir).await;
    let hold = world.hold(&request("/1")).await;
    let id = hold.to_string();
    assert_eq!(world.engine.hold(&id[..20].to_lowercase()).await.unwrap().id, hold);
    for unknown in ["", "%", "ZZZ", "01'", "_"] {
        match world.engine.hold(unknown).await {
            Err(FindError::Unknown { nearest, .. }) => assert_eq!(nearest, [hold]),
            other => panic!("{unknown}: {other:?}"),
        }
    }
    world.hold(&request("/2")).await;
    assert!(matches!(world.engine.hold(&id[..2]).await, Err(FindError::Ambiguous { .. })));
}

#[tokio::test]
async fn whoever_follows_hears_of_each_step() {
    let dir = tempfile::tempdir().unwrap();
    let mut world = World::new(&dir).await;
    let mut events = world.engine.subscribe();
    let hold = world.hold(&request("/1")).await;
    world.decide(hold, Decision::Deny).await;
    for expected in [EventName::HoldCreated, EventName::HoldDecided, EventName::HoldFinished] {
        let event = events.recv().await.unwrap();
        assert_eq!((event.name, event.hold), (expected, Some(hold)));
    }
}

#[tokio::test]
async fn pages_of_holds_follow_each_other() {
    let dir = tempfile::tempdir().unwrap();
    let mut world = World::new(&dir).await;
    let mut holds = Vec::new();
    for path in ["/1", "/2", "/3"] {
        holds.push(world.hold(&request(path)).await);
    }
    holds.sort();
    let mut filter = crate::approval::listing::HoldFilter { limit: 2, ..Default::default() };
    let first = world.engine.holds(&filter).await.unwrap();
    filter.after = first.next.as_ref().map(|next| HoldId(next.parse().unwrap()));
    let second = world.engine.holds(&filter).await.unwrap();
    assert_eq!((first.items.len(), second.items.len(), second.next), (2, 1, None));
    let found: Vec<HoldId> = first.items.iter().chain(&second.items).map(|view| view.id).collect();
    assert_eq!(found, holds);
}
