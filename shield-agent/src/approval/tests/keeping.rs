//! What time does to holds, and what remains of them.

use std::time::Duration;

use super::world::{World, answer, hold_config, request};
use crate::approval::error::FindError;
use crate::approval::view::{Decision, HoldState};

#[tokio::test]
async fn an_undecided_hold_expires_and_never_approves_itself() {
    let dir = tempfile::tempdir().unwrap();
    let mut world = World::new(&dir).await;
    let hold = world.hold(&request("/1")).await;
    world.later(hold_config().expires - Duration::from_secs(1));
    world.engine.expire().await.unwrap();
    assert_eq!(world.engine.hold(&hold.to_string()).await.unwrap().state, HoldState::Pending);
    world.later(Duration::from_secs(1));
    world.engine.expire().await.unwrap();
    assert_eq!(world.engine.hold(&hold.to_string()).await.unwrap().state, HoldState::Expired);
}

#[tokio::test]
async fn credentials_are_dropped_after_their_time_and_what_was_shown_stays() {
    let dir = tempfile::tempdir().unwrap();
    let mut world = World::new(&dir).await;
    let hold = world.hold(&request("/1")).await;
    world.decide(hold, Decision::Approve).await;
    world.order().await;
    world.report(hold, Ok(answer("s3cret answer"))).await;
    world.hear().await;
    let before = world.engine.hold(&hold.to_string()).await.unwrap();
    world.later(hold_config().result_ttl + Duration::from_secs(1));
    world.engine.forget().await.unwrap();
    assert_eq!(world.engine.hold(&hold.to_string()).await.unwrap(), before);
    assert!(matches!(world.engine.body(hold).await, Err(FindError::Dropped(_))));
    let left: i64 = sqlx::query_scalar(
        "SELECT (SELECT count(*) FROM hold_requests) + (SELECT count(*) FROM hold_answers)",
    )
    .fetch_one(world.engine.store().readers())
    .await
    .unwrap();
    assert_eq!(left, 0);
}
