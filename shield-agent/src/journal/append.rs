//! Adding records at the end, many in one statement.

use std::sync::LazyLock;

use sqlx::SqliteConnection;

use super::chain::{Head, Link};
use super::entry::{Entry, verdict_name};

/// Rows of one statement, most first. SQLite reads each text once and knows it from then on, if there are few.
const ROWS: [usize; 4] = [64, 16, 4, 1];

static STATEMENTS: LazyLock<[String; ROWS.len()]> = LazyLock::new(|| ROWS.map(statement));

fn statement(rows: usize) -> String {
    let values = vec!["(?, ?, ?, ?, ?, ?, ?, ?, ?)"; rows].join(", ");
    format!("INSERT INTO journal (seq, at, kind, agent, subject, verdict, body, prev, hash) VALUES {values}")
}

/// Adds records after `head`; returns the new head. Durable when the caller's transaction is.
pub async fn append(
    connection: &mut SqliteConnection,
    mut head: Head,
    entries: Vec<Entry>,
) -> Result<Head, sqlx::Error> {
    let mut entries = entries.into_iter();
    while let Some(which) = ROWS.iter().position(|&rows| rows <= entries.len()) {
        let mut insert = sqlx::query(STATEMENTS[which].as_str());
        for entry in entries.by_ref().take(ROWS[which]) {
            let prev = head.hash;
            let (seq, at) = (head.seq + 1, entry.at.as_microsecond());
            let agent = entry.agent.as_ref().map(|agent| agent.as_str());
            let (subject, verdict) = (entry.subject.as_deref(), entry.verdict.map(verdict_name));
            let link = Link { seq, at, kind: entry.kind, agent, subject, verdict, body: &entry.body };
            head = Head { seq, hash: link.hash(&prev) };
            insert = insert.bind(seq).bind(at).bind(entry.kind).bind(agent.map(str::to_owned));
            insert = insert.bind(entry.subject).bind(verdict).bind(entry.body);
            insert = insert.bind(prev.to_vec()).bind(head.hash.to_vec());
        }
        insert.execute(&mut *connection).await?;
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
