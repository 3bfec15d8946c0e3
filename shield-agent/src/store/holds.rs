//! Holds as rows: what was asked, where each is in its life, and the answer that is kept for the agent.
//!
//! It moves rows and decides nothing: `approval/` knows what may happen when.

use jiff::Timestamp;
use sqlx::Row as _;
use sqlx::sqlite::SqliteRow;

use super::{StoreError, Tx};
use crate::approval::view::{Decision, DecisionView, HoldState};
use crate::names::{AgentName, Digest, HoldId};

/// Every column of a hold.
pub const COLUMNS: &str = "id, agent, digest, state, created_at, expires_at, asked, body_size, body_sha256, decision, \
     decided_by, decided_at, reason, ended_at, status, answer_size, verified_name, error, collected, card";

/// A hold without the request itself.
#[derive(Clone, Debug)]
pub struct HoldRow {
    /// Id.
    pub id: HoldId,
    /// Whose.
    pub agent: AgentName,
    /// Of the canonical request.
    pub digest: Digest,
    /// Where it is in its life.
    pub state: HoldState,
    /// When it was stored.
    pub created_at: Timestamp,
    /// When it is too late to decide or to send.
    pub expires_at: Timestamp,
    /// How many times the agent asked.
    pub asked: u32,
    /// Bytes of the request's body.
    pub body_size: u64,
    /// SHA-256 of the request's body.
    pub body_sha256: Digest,
    /// What a reviewer said.
    pub decision: Option<DecisionView>,
    /// When it ended.
    pub ended_at: Option<Timestamp>,
    /// Status of the destination's answer.
    pub status: Option<u16>,
    /// Bytes of the answer's body.
    pub answer_size: u64,
    /// Name the destination's certificate was verified for.
    pub verified_name: Option<String>,
    /// Why there is no answer.
    pub error: Option<String>,
    /// How many times the agent was told how it ended.
    pub collected: u32,
    /// JSON of what was shown, once the request itself is dropped.
    pub card: Option<String>,
}

/// What it takes to forward a held request.
#[derive(Clone, Debug)]
pub struct StoredRequest {
    /// Everything but the body, as JSON; credentials included.
    pub request: Vec<u8>,
    /// The body.
    pub body: Vec<u8>,
    /// Hash of id, request and body.
    pub seal: Vec<u8>,
}

impl HoldRow {
    /// Reads a row that has [`COLUMNS`].
    pub fn read(row: &SqliteRow) -> Result<Self, StoreError> {
        let state: String = row.get("state");
        let agent: String = row.get("agent");
        Ok(Self {
            id: id(row, "id")?,
            agent: agent.parse().map_err(damaged)?,
            digest: digest(row, "digest")?,
            state: HoldState::from_name(&state).ok_or_else(|| damaged(format!("no hold is {state}")))?,
            created_at: time(row.get("created_at"))?,
            expires_at: time(row.get("expires_at"))?,
            asked: row.get("asked"),
            body_size: row.get::<i64, _>("body_size").cast_unsigned(),
            body_sha256: digest(row, "body_sha256")?,
            decision: decision(row)?,
            ended_at: row.get::<Option<i64>, _>("ended_at").map(time).transpose()?,
            status: row.get("status"),
            answer_size: row.get::<i64, _>("answer_size").cast_unsigned(),
            verified_name: row.get("verified_name"),
            error: row.get("error"),
            collected: row.get("collected"),
            card: row.get("card"),
        })
    }
}

/// A hold by its id.
pub async fn find(tx: &mut Tx, id: HoldId) -> Result<Option<HoldRow>, StoreError> {
    let failed = tx.failed("read");
    let query = sqlx::query(sqlx::AssertSqlSafe(format!("SELECT {COLUMNS} FROM holds WHERE id = ?")));
    let row = query.bind(id.to_string()).fetch_optional(tx.connection()).await.map_err(failed)?;
    row.as_ref().map(HoldRow::read).transpose()
}

/// The newest hold of an agent for a request.
pub async fn newest(tx: &mut Tx, agent: &AgentName, digest: Digest) -> Result<Option<HoldRow>, StoreError> {
    let failed = tx.failed("read");
    let sql = format!("SELECT {COLUMNS} FROM holds WHERE agent = ? AND digest = ? ORDER BY id DESC LIMIT 1");
    let query = sqlx::query(sqlx::AssertSqlSafe(sql)).bind(agent.as_str()).bind(digest.0.to_vec());
    let row = query.fetch_optional(tx.connection()).await.map_err(failed)?;
    row.as_ref().map(HoldRow::read).transpose()
}

/// How many holds of an agent wait for a decision.
pub async fn pending(tx: &mut Tx, agent: &AgentName) -> Result<u32, StoreError> {
    let failed = tx.failed("read");
    let query = sqlx::query_scalar("SELECT count(*) FROM holds WHERE agent = ? AND state = 'pending'");
    query.bind(agent.as_str()).fetch_one(tx.connection()).await.map_err(failed)
}

/// Adds a pending hold and its request.
pub async fn insert(tx: &mut Tx, hold: &HoldRow, stored: &StoredRequest) -> Result<(), StoreError> {
    let insert = sqlx::query(
        "INSERT INTO holds (id, agent, digest, state, created_at, expires_at, body_size, body_sha256) \
         VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
    );
    let insert = insert.bind(hold.id.to_string()).bind(hold.agent.as_str()).bind(hold.digest.0.to_vec());
    let insert = insert.bind(hold.state.as_str()).bind(hold.created_at.as_microsecond());
    let insert = insert.bind(hold.expires_at.as_microsecond()).bind(hold.body_size.cast_signed());
    let insert = insert.bind(hold.body_sha256.0.to_vec());
    insert.execute(tx.connection()).await.map_err(tx.failed("write"))?;
    let insert = sqlx::query("INSERT INTO hold_requests (hold, request, body, seal) VALUES (?, ?, ?, ?)");
    let insert = insert.bind(hold.id.to_string()).bind(&stored.request).bind(&stored.body).bind(&stored.seal);
    insert.execute(tx.connection()).await.map(drop).map_err(tx.failed("write"))
}

/// The stored request of a hold; `None` when it was dropped.
pub async fn request(tx: &mut Tx, hold: HoldId) -> Result<Option<StoredRequest>, StoreError> {
    let failed = tx.failed("read");
    let query = sqlx::query("SELECT request, body, seal FROM hold_requests WHERE hold = ?");
    let row = query.bind(hold.to_string()).fetch_optional(tx.connection()).await.map_err(failed)?;
    Ok(row.map(|row| StoredRequest { request: row.get(0), body: row.get(1), seal: row.get(2) }))
}

/// Replaces the head of a stored request by that of a retry.
pub async fn refresh(tx: &mut Tx, hold: HoldId, stored: &StoredRequest) -> Result<(), StoreError> {
    let update = sqlx::query("UPDATE hold_requests SET request = ?, seal = ? WHERE hold = ?");
    let update = update.bind(&stored.request).bind(&stored.seal).bind(hold.to_string());
    update.execute(tx.connection()).await.map(drop).map_err(tx.failed("write"))
}

/// Counts another asking.
pub async fn asked(tx: &mut Tx, hold: HoldId) -> Result<(), StoreError> {
    let update = sqlx::query("UPDATE holds SET asked = asked + 1 WHERE id = ?").bind(hold.to_string());
    update.execute(tx.connection()).await.map(drop).map_err(tx.failed("write"))
}

/// Counts that the agent was told how it ended.
pub async fn collected(tx: &mut Tx, hold: HoldId) -> Result<(), StoreError> {
    let update =
        sqlx::query("UPDATE holds SET collected = collected + 1 WHERE id = ?").bind(hold.to_string());
    update.execute(tx.connection()).await.map(drop).map_err(tx.failed("write"))
}

/// Moves a hold from one state to another: a compare-and-swap, so that a move happens once.
pub async fn step(tx: &mut Tx, hold: HoldId, from: HoldState, to: HoldState) -> Result<(), StoreError> {
    let update = sqlx::query("UPDATE holds SET state = ? WHERE id = ? AND state = ?");
    let update = update.bind(to.as_str()).bind(hold.to_string()).bind(from.as_str());
    let updated = update.execute(tx.connection()).await.map_err(tx.failed("write"))?;
    match updated.rows_affected() {
        1 => Ok(()),
        _ => Err(damaged(format!("hold {hold} was not {from} when it was to become {to}"))),
    }
}

/// Writes down what a reviewer said.
pub async fn decided(tx: &mut Tx, hold: HoldId, decision: &DecisionView) -> Result<(), StoreError> {
    let update =
        sqlx::query("UPDATE holds SET decision = ?, decided_by = ?, decided_at = ?, reason = ? WHERE id = ?");
    let update = update.bind(decision.decision.as_str()).bind(&decision.by);
    let update = update.bind(decision.at.as_microsecond()).bind(&decision.reason).bind(hold.to_string());
    update.execute(tx.connection()).await.map(drop).map_err(tx.failed("write"))
}

/// How a hold ended.
#[derive(Clone, Debug, Default)]
pub struct End {
    /// Status of the destination's answer.
    pub status: Option<u16>,
    /// Bytes of its body.
    pub answer_size: u64,
    /// Name its certificate was verified for.
    pub verified_name: Option<String>,
    /// Why there is no answer.
    pub error: Option<String>,
    /// The answer as it is kept for the agent.
    pub answer: Option<Vec<u8>>,
}

/// Writes down how a hold ended.
pub async fn ended(tx: &mut Tx, hold: HoldId, at: Timestamp, end: &End) -> Result<(), StoreError> {
    let update = sqlx::query(
        "UPDATE holds SET ended_at = ?, status = ?, answer_size = ?, verified_name = ?, error = ? WHERE id = ?",
    );
    let update = update.bind(at.as_microsecond()).bind(end.status).bind(end.answer_size.cast_signed());
    let update = update.bind(&end.verified_name).bind(&end.error).bind(hold.to_string());
    update.execute(tx.connection()).await.map_err(tx.failed("write"))?;
    let Some(answer) = &end.answer else { return Ok(()) };
    let insert = sqlx::query("INSERT INTO hold_answers (hold, answer) VALUES (?, ?)").bind(hold.to_string());
    insert.bind(answer).execute(tx.connection()).await.map(drop).map_err(tx.failed("write"))
}

/// The answer kept for an agent; `None` when there was none or it was dropped.
pub async fn answer(tx: &mut Tx, hold: HoldId) -> Result<Option<Vec<u8>>, StoreError> {
    let failed = tx.failed("read");
    let query = sqlx::query_scalar("SELECT answer FROM hold_answers WHERE hold = ?").bind(hold.to_string());
    query.fetch_optional(tx.connection()).await.map_err(failed)
}

/// Drops the request and the answer of a hold that is long over, and keeps what was shown.
pub async fn forget(tx: &mut Tx, hold: HoldId, card: &str) -> Result<(), StoreError> {
    let keep = sqlx::query("UPDATE holds SET card = ? WHERE id = ?").bind(card).bind(hold.to_string());
    keep.execute(tx.connection()).await.map_err(tx.failed("write"))?;
    for table in ["DELETE FROM hold_requests WHERE hold = ?", "DELETE FROM hold_answers WHERE hold = ?"] {
        let delete = sqlx::query(table).bind(hold.to_string());
        delete.execute(tx.connection()).await.map_err(tx.failed("write"))?;
    }
    Ok(())
}

/// A ULID of ours.
pub fn id(row: &SqliteRow, column: &str) -> Result<HoldId, StoreError> {
    row.get::<String, _>(column).parse().map(HoldId).map_err(damaged)
}

/// A time of ours: microseconds since 1970.
pub fn time(microseconds: i64) -> Result<Timestamp, StoreError> {
    Timestamp::from_microsecond(microseconds).map_err(damaged)
}

/// A value that is not what we wrote.
pub fn damaged(why: impl ToString) -> StoreError {
    StoreError::Damaged(why.to_string())
}

fn digest(row: &SqliteRow, column: &str) -> Result<Digest, StoreError> {
    let bytes: Vec<u8> = row.get(column);
    bytes.try_into().map(Digest).map_err(|_| damaged(format!("{column} is no SHA-256")))
}

fn decision(row: &SqliteRow) -> Result<Option<DecisionView>, StoreError> {
    let decision = match row.get::<Option<String>, _>("decision").as_deref() {
        None => return Ok(None),
        Some("approve") => Decision::Approve,
        Some("deny") => Decision::Deny,
        Some(other) => return Err(damaged(format!("no decision is {other}"))),
    };
    let at = time(row.get::<Option<i64>, _>("decided_at").unwrap_or_default())?;
    let by = row.get::<Option<String>, _>("decided_by").unwrap_or_default();
    Ok(Some(DecisionView { decision, by, at, reason: row.get("reason") }))
}
