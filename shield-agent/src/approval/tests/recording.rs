//! Records become durable in order, and nothing is acknowledged that is not.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::world::{World, record, request};
use crate::approval::event::EventName;
use crate::approval::listing::ExchangeFilter;
use crate::approval::view::HoldState;
use crate::flow::policy::verdict::Verdict;
use crate::ipc::approver::{ExchangeOutcome, FromApprover, ToApprover};
use crate::ipc::supervisor::FromApproverRole;
use crate::store::Place;

#[tokio::test]
async fn exchanges_are_recorded_with_how_they_ended_and_without_secrets() {
    let dir = tempfile::tempdir().unwrap();
    let mut world = World::new(&dir).await;
    let judged = record(Verdict::Allow, "https://api.acme.internal/v1?token=s3cret-token-9");
    let outcome = ExchangeOutcome {
        exchange: judged.exchange,
        status: Some(204),
        sent: 3,
        received: 5,
        took: Duration::from_millis(7),
        error: None,
    };
    world.say(ToApprover::Judged { seq: 1, record: Box::new(judged) }).await;
    world.say(ToApprover::Finished { seq: 2, outcome }).await;
    world
        .say(ToApprover::Judged { seq: 3, record: Box::new(record(Verdict::Deny, "https://a/denied")) })
        .await;
    loop {
        if matches!(world.hear_anything().await, FromApprover::Recorded { upto: 3 }) {
            break;
        }
    }
    let hold = world.hold(&request("/held")).await;

    let all = world.engine.exchanges(&ExchangeFilter::default()).await.unwrap().items;
    let seen: Vec<_> = all.iter().map(|view| (view.verdict, view.status, view.hold_state)).collect();
    let expected = [
        (Verdict::Hold, None, Some(HoldState::Pending)),
        (Verdict::Deny, None, None),
        (Verdict::Allow, Some(204), None),
    ];
    assert_eq!(seen, expected);
    assert_eq!((all[0].hold, all[2].took_ms, all[2].received), (Some(hold), Some(7), Some(5)));
    let denied = ExchangeFilter { verdict: Some(Verdict::Deny), ..Default::default() };
    assert_eq!(world.engine.exchanges(&denied).await.unwrap().items.len(), 1);
    let agents = world.engine.agents().await.unwrap();
    assert_eq!((agents[0].exchanges, agents[0].held, agents[0].denied, agents[0].pending), (3, 1, 1, 1));
    let bodies: Vec<String> = sqlx::query_scalar("SELECT body FROM journal")
        .fetch_all(world.engine.store().readers())
        .await
        .unwrap();
    assert!(!bodies.concat().contains("s3cret"), "{bodies:?}");
}

#[tokio::test]
async fn an_exchange_that_ends_after_its_record_was_written_has_another() {
    let dir = tempfile::tempdir().unwrap();
    let mut world = World::new(&dir).await;
    let judged = record(Verdict::Allow, "https://api.acme.internal/slow");
    let exchange = judged.exchange;
    world.say(ToApprover::Judged { seq: 1, record: Box::new(judged) }).await;
    while !matches!(world.hear_anything().await, FromApprover::Recorded { upto: 1 }) {}
    let ending = async |world: &World| {
        let all = world.engine.exchanges(&ExchangeFilter::default()).await.unwrap().items;
        (all.len(), all[0].status, all[0].received)
    };
    assert_eq!(ending(&world).await, (1, None, None));
    let took = Duration::from_millis(7);
    let outcome = ExchangeOutcome { exchange, status: Some(204), sent: 3, received: 5, took, error: None };
    world.say(ToApprover::Finished { seq: 2, outcome }).await;
    while !matches!(world.hear_anything().await, FromApprover::Recorded { upto: 2 }) {}
    assert_eq!(ending(&world).await, (1, Some(204), Some(5)));
}

#[tokio::test]
async fn while_nothing_can_be_written_nothing_is_acknowledged_and_nothing_is_lost() {
    let dir = tempfile::tempdir().unwrap();
    let broken = Arc::new(AtomicBool::new(false));
    let is_broken = Arc::clone(&broken);
    let place = Place::file(&dir.path().join("shield.db")).adjusted(move |options| {
        let query_only = if is_broken.load(Ordering::SeqCst) { "ON" } else { "OFF" };
        options.pragma("query_only", query_only)
    });
    let mut world = World::on(place).await;
    world.say(ToApprover::Listening).await;
    world.say(ToApprover::Judged { seq: 1, record: Box::new(record(Verdict::Allow, "https://a/1")) }).await;
    while !matches!(world.hear_anything().await, FromApprover::Recorded { upto: 1 }) {}

    broken.store(true, Ordering::SeqCst);
    let breaking = world.engine.store().run(move |tx| {
        Box::pin(async move {
            let done = sqlx::query("PRAGMA query_only = ON").execute(tx.connection()).await;
            done.map(drop).map_err(tx.failed("write"))
        })
    });
    breaking.await.unwrap();
    world.say(ToApprover::Judged { seq: 2, record: Box::new(record(Verdict::Allow, "https://a/2")) }).await;
    let FromApprover::Stopped { reason } = world.hear_anything().await else { panic!("acknowledged") };
    assert!(reason.contains("cannot write the store"), "{reason}");
    assert!(world.engine.trouble().is_some());
    world.ask(&request("/held")).await;
    while !matches!(world.hear_anything().await, FromApprover::NotHeld { .. }) {}

    broken.store(false, Ordering::SeqCst);
    while !matches!(world.hear_anything().await, FromApprover::Recorded { upto: 2 }) {}
    assert!(world.engine.trouble().is_none());
    let kinds = world.kinds().await;
    assert_eq!(kinds, ["exchange.judged", "journal.resumed", "exchange.judged"]);
    world.hold(&request("/held")).await;
}

#[tokio::test]
async fn a_reviewer_stops_an_agent_through_the_supervisor_and_the_journal_says_who() {
    let dir = tempfile::tempdir().unwrap();
    let mut world = World::new(&dir).await;
    let bot = || "bot".parse().unwrap();
    assert!(world.engine.freeze(&bot(), true, "Ada").await.is_err(), "nobody by that name is gated");
    let mut events = world.engine.subscribe();
    world.engine.attached(&bot()).await.unwrap();
    assert_eq!(events.recv().await.unwrap().name, EventName::AgentAttached);
    let engine = world.engine.clone();
    let freezing = tokio::spawn(async move { engine.freeze(&"bot".parse().unwrap(), true, "Ada").await });
    let asked = world.supervisor.recv().await;
    assert!(matches!(asked, Some(FromApproverRole::Freeze { frozen: true, .. })), "{asked:?}");
    world.engine.frozen(&bot(), Ok(true)).await.unwrap();
    assert!(freezing.await.unwrap().unwrap().frozen);
    // Somebody at the host lets it go on.
    world.engine.frozen(&bot(), Ok(false)).await.unwrap();
    assert!(!world.engine.agents().await.unwrap()[0].frozen);
    world.engine.detached(&bot()).await.unwrap();
    let kinds = world.kinds().await;
    assert_eq!(kinds, ["agent.attached", "agent.frozen", "agent.thawed", "agent.detached"]);
    assert!(world.engine.agents().await.unwrap().is_empty(), "it asked for nothing and is gone");
}
