//! Everything somebody with the file could do to it, and the record that gives it away.

use jiff::Timestamp;
use serde_json::json;
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions as _, Connection as _};
use tempfile::TempDir;

use super::*;
use crate::flow::policy::verdict::Verdict;
use crate::journal::entry::Entry;
use crate::store::{Place, Store};

/// A store in `s.db` with `count` records, of the agents `odd` and `even` in turn.
pub(in crate::journal) async fn written(count: i64) -> (TempDir, Store) {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(Place::file(&dir.path().join("s.db"))).await.unwrap();
    write(&store, 1..=count).await;
    (dir, store)
}

async fn write(store: &Store, numbers: std::ops::RangeInclusive<i64>) {
    let work = move |tx: &mut crate::store::Tx| {
        for number in numbers {
            let agent = if number % 2 == 1 { "odd" } else { "even" }.parse().unwrap();
            let at = Timestamp::from_microsecond(number).unwrap();
            let entry = Entry::new(at, "exchange.judged", &json!({ "number": number }));
            tx.journal(entry.agent(&agent).subject(number).verdict(Verdict::Allow));
        }
    };
    store
        .run(|tx| {
            work(tx);
            Box::pin(async { Ok(()) })
        })
        .await
        .unwrap();
}

async fn verified(dir: &TempDir) -> Result<Whole, VerifyError> {
    verify(&mut JournalReader::open(Place::file(&dir.path().join("s.db"))).await.unwrap()).await
}

/// What is wrong after somebody ran `statements` on a journal of nine records.
async fn flaw_after(statements: &'static str) -> (i64, Flaw) {
    let (dir, _store) = written(9).await;
    let mut connection =
        SqliteConnectOptions::new().filename(dir.path().join("s.db")).connect().await.unwrap();
    sqlx::raw_sql(statements).execute(&mut connection).await.unwrap();
    connection.close().await.unwrap();
    match verified(&dir).await {
        Err(VerifyError::Broken { seq, flaw }) => (seq, flaw),
        other => panic!("{statements}: {other:?}"),
    }
}

#[tokio::test]
async fn a_journal_nobody_touched_is_whole_and_so_is_an_empty_one() {
    let (dir, store) = written(0).await;
    assert_eq!(verified(&dir).await.unwrap(), Whole { records: 0, head: Head::default() });
    write(&store, 1..=i64::from(PAGE) + 1).await;
    let whole = verified(&dir).await.unwrap();
    assert_eq!((whole.records, whole.head.seq), (u64::from(PAGE) + 1, i64::from(PAGE) + 1));
}

#[tokio::test]
async fn what_a_killed_daemon_left_behind_is_verified_with_its_log() {
    let (dir, _store) = written(9).await;
    let left = tempfile::tempdir().unwrap();
    for file in ["s.db", "s.db-wal"] {
        std::fs::copy(dir.path().join(file), left.path().join(file)).unwrap();
    }
    assert_eq!(verified(&left).await.unwrap(), verified(&dir).await.unwrap());
}

#[tokio::test]
async fn a_changed_column_names_its_record() {
    for (change, flaw) in [
        ("UPDATE journal SET at = at + 1 WHERE seq = 5", Flaw::Altered),
        ("UPDATE journal SET kind = 'exchange.judgee' WHERE seq = 5", Flaw::Altered),
        ("UPDATE journal SET agent = 'odc' WHERE seq = 5", Flaw::Altered),
        ("UPDATE journal SET agent = NULL WHERE seq = 5", Flaw::Altered),
        ("UPDATE journal SET subject = '4' WHERE seq = 5", Flaw::Altered),
        ("UPDATE journal SET verdict = 'deny' WHERE seq = 5", Flaw::Altered),
        ("UPDATE journal SET body = '{\"number\":4}' WHERE seq = 5", Flaw::Altered),
        ("UPDATE journal SET body = '' WHERE seq = 5", Flaw::Altered),
        ("UPDATE journal SET body = CAST(x'ff' AS TEXT) WHERE seq = 5", Flaw::NotText("body")),
        ("UPDATE journal SET hash = zeroblob(32) WHERE seq = 5", Flaw::Altered),
        ("UPDATE journal SET hash = x'00' WHERE seq = 5", Flaw::Altered),
        ("UPDATE journal SET prev = zeroblob(32) WHERE seq = 5", Flaw::Unlinked),
        ("UPDATE journal SET prev = x'' WHERE seq = 5", Flaw::Unlinked),
    ] {
        assert_eq!(flaw_after(change).await, (5, flaw), "{change}");
    }
}

#[tokio::test]
async fn a_removed_record_is_named_as_missing() {
    assert_eq!(flaw_after("DELETE FROM journal WHERE seq = 1").await, (1, Flaw::Missing));
    assert_eq!(flaw_after("DELETE FROM journal WHERE seq = 5").await, (5, Flaw::Missing));
    assert_eq!(flaw_after("DELETE FROM journal WHERE seq IN (5, 6, 8)").await, (5, Flaw::Missing));
    assert_eq!(flaw_after("UPDATE journal SET seq = 50 WHERE seq = 5").await, (5, Flaw::Missing));
    // The gap closed again: what stands in its place follows another record.
    let closed = "DELETE FROM journal WHERE seq = 5; UPDATE journal SET seq = -seq WHERE seq > 5; \
                  UPDATE journal SET seq = -seq - 1 WHERE seq < 0";
    assert_eq!(flaw_after(closed).await, (5, Flaw::Unlinked));
}

#[tokio::test]
async fn records_that_changed_places_name_the_first_of_them() {
    let swapped = "UPDATE journal SET seq = 0 WHERE seq = 4; UPDATE journal SET seq = 4 WHERE seq = 7; \
                   UPDATE journal SET seq = 7 WHERE seq = 0";
    assert_eq!(flaw_after(swapped).await, (4, Flaw::Unlinked));
}

#[tokio::test]
async fn an_inserted_record_is_named() {
    let copied = "INSERT INTO journal SELECT 10, at, kind, agent, subject, verdict, body, prev, hash \
                  FROM journal WHERE seq = 9";
    assert_eq!(flaw_after(copied).await, (10, Flaw::Unlinked));
    let linked = "INSERT INTO journal SELECT 10, at, kind, agent, subject, verdict, body, hash, hash \
                  FROM journal WHERE seq = 9";
    assert_eq!(flaw_after(linked).await, (10, Flaw::Altered));
    let before = "INSERT INTO journal SELECT -3, at, kind, agent, subject, verdict, body, prev, hash \
                  FROM journal WHERE seq = 1";
    assert_eq!(flaw_after(before).await, (-3, Flaw::BeforeFirst));
    let between = "UPDATE journal SET seq = -seq WHERE seq > 4; UPDATE journal SET seq = 1 - seq WHERE seq < 0; \
                   INSERT INTO journal SELECT 5, at, kind, agent, subject, verdict, body, hash, hash \
                   FROM journal WHERE seq = 4";
    assert_eq!(flaw_after(between).await, (5, Flaw::Altered));
}

#[tokio::test]
async fn a_journal_that_is_being_written_is_verified_as_far_as_it_reaches() {
    let (dir, store) = written(500).await;
    let writing = tokio::spawn(async move {
        for first in (501..1500).step_by(10) {
            write(&store, first..=first + 9).await;
        }
    });
    let mut seen = 0;
    while !writing.is_finished() {
        let whole = verified(&dir).await.unwrap();
        assert!(whole.records >= seen.max(500));
        seen = whole.records;
    }
    writing.await.unwrap();
    assert_eq!(verified(&dir).await.unwrap().records, 1500);
}
