//! Adding records at the end, many in one statement.

use sqlx::{QueryBuilder, Sqlite, SqliteConnection};

use super::chain::{Head, Link};
use super::entry::{Entry, verdict_name};

/// Rows of one statement; SQLite's limit of parameters allows far more, but nothing gets faster.
const ROWS: usize = 64;

/// Adds records after `head`; returns the new head. Durable when the caller's transaction is.
pub async fn append(
    connection: &mut SqliteConnection,
    mut head: Head,
    entries: &[Entry],
) -> Result<Head, sqlx::Error> {
    for rows in entries.chunks(ROWS) {
        let mut insert = QueryBuilder::<Sqlite>::new(
            "INSERT INTO journal (seq, at, kind, agent, subject, verdict, body, prev, hash) ",
        );
        insert.push_values(rows, |mut row, entry| {
            let prev = head.hash;
            let (seq, at) = (head.seq + 1, entry.at.as_microsecond());
            let agent = entry.agent.as_ref().map(|agent| agent.as_str());
            let (subject, verdict) = (entry.subject.as_deref(), entry.verdict.map(verdict_name));
            let link = Link { seq, at, kind: entry.kind, agent, subject, verdict, body: &entry.body };
            head = Head { seq, hash: link.hash(&prev) };
            row.push_bind(seq).push_bind(at).push_bind(entry.kind).push_bind(agent.map(str::to_owned));
            row.push_bind(subject.map(str::to_owned)).push_bind(verdict).push_bind(entry.body.clone());
            row.push_bind(prev.to_vec()).push_bind(head.hash.to_vec());
        });
        insert.build().execute(&mut *connection).await?;
    }
    Ok(head)
}

/// Where the chain ends.
pub async fn head(connection: &mut SqliteConnection) -> Result<Head, sqlx::Error> {
    let newest: Option<(i64, Vec<u8>)> =
        sqlx::query_as("SELECT seq, hash FROM journal ORDER BY seq DESC LIMIT 1")
            .fetch_optional(connection)
            .await?;
    let Some((seq, hash)) = newest else { return Ok(Head::default()) };
    let hash = hash
        .try_into()
        .map_err(|_| sqlx::Error::Decode("the newest record's hash is not 32 bytes".into()))?;
    Ok(Head { seq, hash })
}
