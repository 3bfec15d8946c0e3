//! What the kernel refused reaches the journal, the list of agents and those who follow along.

use std::time::Duration;

use jiff::Timestamp;
use shield_common::event::Reason;

use super::world::World;
use crate::approval::event::EventName;
use crate::ipc::attempt::Attempt;
use crate::journal::body::Refused;
use crate::journal::read::JournalReader;
use crate::names::AgentName;
use crate::store::Place;

fn attempt(reason: Reason, times: u64) -> Attempt {
    Attempt {
        at: Timestamp::UNIX_EPOCH,
        reason,
        address: Some([203, 0, 113, 7].into()),
        port: 443,
        protocol: 17,
        what: 0,
        pid: Some(7),
        uid: Some(1001),
        comm: "curl".into(),
        times,
    }
}

fn prober() -> AgentName {
    "prober".parse().unwrap()
}

/// Reason and number of every refusal in the journal.
async fn written(dir: &tempfile::TempDir) -> Vec<(Reason, u64)> {
    let mut journal = JournalReader::open(Place::file(&dir.path().join("shield.db"))).await.unwrap();
    let records = journal.after(0, i64::MAX, None, 100).await.unwrap();
    let refusals = records.iter().filter(|record| record.kind == "agent.refused");
    let read = |body: &str| serde_json::from_str::<Refused>(body).unwrap();
    refusals.map(|record| read(record.body.get())).map(|refused| (refused.reason, refused.times)).collect()
}

#[tokio::test]
async fn what_the_kernel_refused_is_written_down_once_a_minute_with_its_number() {
    let dir = tempfile::tempdir().unwrap();
    let world = World::new(&dir).await;
    let engine = &world.engine;
    engine.attempted(&prober(), vec![attempt(Reason::Taken, 1), attempt(Reason::Datagram, 1)]).await.unwrap();
    engine.attempted(&prober(), vec![attempt(Reason::Datagram, 30)]).await.unwrap();
    engine.write_refusals().await.unwrap();
    assert_eq!(written(&dir).await, [(Reason::Datagram, 1)]);
    world.later(Duration::from_secs(60));
    engine.write_refusals().await.unwrap();
    assert_eq!(written(&dir).await, [(Reason::Datagram, 1), (Reason::Datagram, 30)]);
    engine.attempted(&prober(), vec![attempt(Reason::Datagram, 2)]).await.unwrap();
    engine.detached(&prober()).await.unwrap();
    assert_eq!(
        written(&dir).await.last(),
        Some(&(Reason::Datagram, 2)),
        "nothing is lost when the agent ends"
    );
}

#[tokio::test]
async fn an_agent_in_full_tells_what_was_refused_lately_and_every_counter() {
    let dir = tempfile::tempdir().unwrap();
    let world = World::new(&dir).await;
    let tried = vec![attempt(Reason::Taken, 1), attempt(Reason::Datagram, 1), attempt(Reason::Egress, 1)];
    world.engine.attempted(&prober(), tried).await.unwrap();
    let mut counts = vec![0; Reason::ALL.len()];
    (counts[Reason::Taken as usize], counts[Reason::Datagram as usize]) = (5, 31);
    world.engine.counted(&prober(), &counts);
    let detail = world.engine.agent_detail(&prober()).await.unwrap().unwrap();
    // It is known although it is not gated any more and asked for nothing that was allowed.
    assert_eq!((detail.agent.attached, detail.agent.refused), (false, 31));
    assert_eq!(detail.agent.refusals, [("datagram".to_owned(), 31)].into());
    assert_eq!(detail.counters["taken"], 5);
    let reasons = |attempts: &[Attempt]| attempts.iter().map(|attempt| attempt.reason).collect::<Vec<_>>();
    assert_eq!(reasons(&detail.refused_lately), [Reason::Egress, Reason::Datagram]);
    assert_eq!(reasons(&detail.redirected_lately), [Reason::Taken]);
    assert_eq!(world.engine.agents().await.unwrap()[0].refused, 31);
}

#[tokio::test]
async fn who_follows_along_hears_of_what_no_ordinary_program_does() {
    let dir = tempfile::tempdir().unwrap();
    let world = World::new(&dir).await;
    let mut events = world.engine.subscribe();
    world.engine.attempted(&prober(), vec![attempt(Reason::Datagram, 1)]).await.unwrap();
    assert!(events.try_recv().is_err(), "QUIC is nothing to find");
    for _ in 0..2 {
        world.engine.attempted(&prober(), vec![attempt(Reason::Egress, 1)]).await.unwrap();
    }
    let raised = events.try_recv().unwrap();
    assert_eq!((raised.name, raised.agent), (EventName::FindingRaised, Some(prober())));
    assert!(events.try_recv().is_err(), "the same is raised once a minute");
}

#[tokio::test]
async fn only_the_newest_are_remembered() {
    let dir = tempfile::tempdir().unwrap();
    let world = World::new(&dir).await;
    let flood = (0..500).map(|port| Attempt { port, ..attempt(Reason::Datagram, 1) }).collect();
    world.engine.attempted(&prober(), flood).await.unwrap();
    let detail = world.engine.agent_detail(&prober()).await.unwrap().unwrap();
    let ports: Vec<u16> = detail.refused_lately.iter().map(|attempt| attempt.port).collect();
    assert_eq!(ports, (300..500).rev().collect::<Vec<_>>());
    assert_eq!(written(&dir).await.len(), 65, "64 destinations, and the others together");
}
