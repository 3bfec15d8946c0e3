//! Reading the journal from its file: pages of records, oldest or newest first.
//!
//! It works while the daemon runs, when it is stopped and when it is dead, and never changes anything. It shows what is
//! written; whether that is what was written once is [`super::verify`]'s question.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use serde::Serialize;
use serde_json::value::{RawValue, to_raw_value};
use sqlx::sqlite::SqliteRow;
use sqlx::{ConnectOptions as _, Row as _, SqliteConnection};

use crate::names::{AgentName, Digest};
use crate::store::Place;

/// One record.
#[derive(Clone, Debug, Serialize)]
pub struct Record {
    /// Number, from 1.
    pub seq: i64,
    /// When it happened.
    pub at: Timestamp,
    /// What kind of record, such as `hold.created`.
    pub kind: String,
    /// The agent it is about.
    pub agent: Option<String>,
    /// The exchange or hold it is about.
    pub subject: Option<String>,
    /// The verdict, where an exchange was judged.
    pub verdict: Option<String>,
    /// What happened, as JSON; secrets masked.
    pub body: Box<RawValue>,
    /// Its place in the chain; absent when what is stored there is no hash.
    pub hash: Option<Digest>,
}

/// Why the journal cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// No file.
    #[error("there is no store at {}: the daemon makes it when it first starts", .0.display())]
    Missing(PathBuf),
    /// A file that is not for us.
    #[error("the store {} is not for this user to read: run the command as root", .0.display())]
    NotPermitted(PathBuf, #[source] io::Error),
    /// The file cannot be opened.
    #[error("the store {} could not be opened", .0.display())]
    File(PathBuf, #[source] io::Error),
    /// The database said no.
    #[error("the journal in {} could not be read", .0.display())]
    Database(PathBuf, #[source] sqlx::Error),
    /// A record is not what we wrote.
    #[error("record {0} is damaged: its time does not exist; run `shield journal verify`")]
    Damaged(i64),
}

/// An open journal.
#[derive(Debug)]
pub struct JournalReader {
    connection: SqliteConnection,
    place: Place,
}

impl JournalReader {
    /// Opens the journal of a store, for reading alone.
    pub async fn open(place: Place) -> Result<Self, ReadError> {
        let path = place.path().to_owned();
        // SQLite says "unable to open" of everything; people need to know which.
        File::open(&path).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => ReadError::Missing(path.clone()),
            io::ErrorKind::PermissionDenied => ReadError::NotPermitted(path.clone(), error),
            _ => ReadError::File(path.clone(), error),
        })?;
        let connection = connect(&place).await.map_err(|error| ReadError::Database(path, error))?;
        Ok(Self { connection, place })
    }

    /// Number of the newest record; 0 when there is none.
    pub async fn newest(&mut self) -> Result<i64, ReadError> {
        let newest = sqlx::query_scalar("SELECT coalesce(max(seq), 0) FROM journal");
        let newest = newest.fetch_one(&mut self.connection).await;
        newest.map_err(|error| self.failed(error))
    }

    /// Records after number `seq` up to `upto`, oldest first; of one agent only, when it is given.
    pub async fn after(
        &mut self,
        seq: i64,
        upto: i64,
        agent: Option<&AgentName>,
        limit: u32,
    ) -> Result<Vec<Record>, ReadError> {
        const AFTER: &str = "SELECT seq, at, kind, agent, subject, verdict, body, prev, hash FROM journal \
                             WHERE seq > ?1 AND seq <= ?2 AND (?3 IS NULL OR agent = ?3) ORDER BY seq LIMIT ?4";
        self.page(AFTER, seq, upto, agent, limit).await?.into_iter().map(Record::from_row).collect()
    }

    /// Records before number `seq`, newest first; of one agent only, when it is given.
    pub async fn before(
        &mut self,
        seq: i64,
        agent: Option<&AgentName>,
        limit: u32,
    ) -> Result<Vec<Record>, ReadError> {
        const BEFORE: &str = "SELECT seq, at, kind, agent, subject, verdict, body, prev, hash FROM journal \
                              WHERE seq >= ?1 AND seq < ?2 AND (?3 IS NULL OR agent = ?3) \
                              ORDER BY seq DESC LIMIT ?4";
        self.page(BEFORE, i64::MIN, seq, agent, limit).await?.into_iter().map(Record::from_row).collect()
    }

    /// Rows from number `first` up to `upto`, as they are.
    pub(super) async fn rows(
        &mut self,
        first: i64,
        upto: i64,
        limit: u32,
    ) -> Result<Vec<StoredRow>, ReadError> {
        const ROWS: &str = "SELECT seq, at, kind, agent, subject, verdict, body, prev, hash FROM journal \
                            WHERE seq >= ?1 AND seq <= ?2 AND ?3 IS NULL ORDER BY seq LIMIT ?4";
        self.page(ROWS, first, upto, None, limit).await
    }

    async fn page(
        &mut self,
        query: &'static str,
        from: i64,
        to: i64,
        agent: Option<&AgentName>,
        limit: u32,
    ) -> Result<Vec<StoredRow>, ReadError> {
        let query = sqlx::query(query).bind(from).bind(to).bind(agent.map(AgentName::as_str)).bind(limit);
        let rows = query.fetch_all(&mut self.connection).await;
        let rows = rows.and_then(|rows| rows.iter().map(StoredRow::new).collect::<Result<_, _>>());
        rows.map_err(|error| self.failed(error))
    }

    fn failed(&self, error: sqlx::Error) -> ReadError {
        ReadError::Database(self.place.path().to_owned(), error)
    }
}

/// Connects so that a query works. Where SQLite cannot keep its locks, such as on read-only media, and no write-ahead log
/// lies beside the file, nobody is writing it and none are needed.
async fn connect(place: &Place) -> Result<SqliteConnection, sqlx::Error> {
    let mut connection = place.to_read().connect().await?;
    let Err(error) = probe(&mut connection).await else { return Ok(connection) };
    let mut log = place.path().as_os_str().to_owned();
    log.push("-wal");
    if Path::new(&log).exists() {
        return Err(error);
    }
    let mut connection = place.to_read().immutable(true).connect().await?;
    probe(&mut connection).await?;
    Ok(connection)
}

async fn probe(connection: &mut SqliteConnection) -> Result<(), sqlx::Error> {
    sqlx::query("SELECT seq FROM journal LIMIT 1").fetch_optional(connection).await.map(drop)
}

/// A row as it is stored, whatever somebody made of it.
#[derive(Debug)]
pub(super) struct StoredRow {
    pub(super) seq: i64,
    pub(super) at: i64,
    // Bytes: a text that is no longer UTF-8 must not keep us from naming its record.
    pub(super) kind: Vec<u8>,
    pub(super) agent: Option<Vec<u8>>,
    pub(super) subject: Option<Vec<u8>>,
    pub(super) verdict: Option<Vec<u8>>,
    pub(super) body: Vec<u8>,
    pub(super) prev: Vec<u8>,
    pub(super) hash: Vec<u8>,
}

impl StoredRow {
    fn new(row: &SqliteRow) -> Result<Self, sqlx::Error> {
        Ok(Self {
            seq: row.try_get(0)?,
            at: row.try_get(1)?,
            kind: row.try_get(2)?,
            agent: row.try_get(3)?,
            subject: row.try_get(4)?,
            verdict: row.try_get(5)?,
            body: row.try_get(6)?,
            prev: row.try_get(7)?,
            hash: row.try_get(8)?,
        })
    }
}

impl Record {
    fn from_row(row: StoredRow) -> Result<Self, ReadError> {
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
        let at = Timestamp::from_microsecond(row.at).map_err(|_| ReadError::Damaged(row.seq))?;
        Ok(Self {
            seq: row.seq,
            at,
            kind: text(row.kind),
            agent: row.agent.map(text),
            subject: row.subject.map(text),
            verdict: row.verdict.map(text),
            body: json(text(row.body)),
            hash: row.hash.try_into().ok().map(Digest),
        })
    }
}

/// The text as JSON; as a JSON string, when somebody made it something else.
fn json(text: String) -> Box<RawValue> {
    RawValue::from_string(text.clone())
        .or_else(|_| to_raw_value(&text))
        .expect("a string can be written as JSON")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journal::verify::tests::written;

    fn numbers(records: &[Record]) -> Vec<i64> {
        records.iter().map(|record| record.seq).collect()
    }

    #[tokio::test]
    async fn pages_follow_each_other_in_both_directions() {
        let (dir, store) = written(7).await;
        let mut journal = JournalReader::open(Place::file(&dir.path().join("s.db"))).await.unwrap();
        let newest = journal.newest().await.unwrap();
        assert_eq!(newest, 7);
        assert_eq!(numbers(&journal.before(i64::MAX, None, 3).await.unwrap()), [7, 6, 5]);
        assert_eq!(numbers(&journal.before(5, None, 9).await.unwrap()), [4, 3, 2, 1]);
        assert_eq!(numbers(&journal.after(5, newest, None, 9).await.unwrap()), [6, 7]);
        let bot = "odd".parse().unwrap();
        assert_eq!(numbers(&journal.after(0, newest, Some(&bot), 2).await.unwrap()), [1, 3]);
        assert_eq!(numbers(&journal.before(7, Some(&bot), 2).await.unwrap()), [5, 3]);
        drop(store);
    }

    #[tokio::test]
    async fn a_record_reads_as_it_was_written() {
        let (dir, _store) = written(1).await;
        let mut journal = JournalReader::open(Place::file(&dir.path().join("s.db"))).await.unwrap();
        let record = journal.before(i64::MAX, None, 1).await.unwrap().remove(0);
        let told = serde_json::to_string(&record).unwrap();
        assert!(told.starts_with(r#"{"seq":1,"at":"1970-01-01T00:00:00.000001Z","kind":"exchange.judged","#));
        assert!(told.contains(r#""verdict":"allow","body":{"number":1},"hash":"sha256:"#), "{told}");
    }

    #[tokio::test]
    async fn a_store_that_is_not_there_is_named() {
        let error = JournalReader::open(Place::file("/nonexistent/s.db".as_ref())).await.unwrap_err();
        assert!(matches!(&error, ReadError::Missing(path) if path.ends_with("s.db")));
    }
}
