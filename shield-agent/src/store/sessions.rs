//! Login links and reviewers' sessions. Tokens leave this module once, when they are made; only their hashes are kept.

use std::time::Duration;

use jiff::Timestamp;
use serde::Serialize;
use sqlx::Row as _;

use super::{Store, StoreError};
use crate::journal::entry::Entry;
use crate::names::Digest;

/// How long a login link can be used.
pub const LINK_LIFE: Duration = Duration::from_secs(10 * 60);

/// How long a session lasts.
pub const SESSION_LIFE: Duration = Duration::from_secs(12 * 3600);

/// Bytes of a token: 256 random bits.
const TOKEN: usize = 32;

/// Links that are too old are forgotten when a new one is made …
const FORGET_LINKS: &str = "DELETE FROM login_links WHERE expires_at <= ?";

/// … and so are sessions that are over.
const FORGET_SESSIONS: &str = "DELETE FROM sessions WHERE expires_at <= ?";

/// The sessions in a store; cheap to clone.
#[derive(Clone, Debug)]
pub struct Sessions {
    store: Store,
}

/// A secret in a link or a cookie, as hex.
#[derive(Clone, PartialEq, Eq)]
pub struct Token(String);

/// A reviewer who is logged in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Session {
    /// The reviewer's name, as they gave it.
    pub reviewer: String,
    /// When it ends.
    pub expires_at: Timestamp,
}

/// What the journal says of a login.
#[derive(Serialize)]
struct LoggedIn<'a> {
    reviewer: &'a str,
}

impl Token {
    fn new() -> Self {
        Self(hex(&rand::random::<[u8; TOKEN]>()))
    }

    /// A token as it was given; any text is one, and most are worth nothing.
    pub fn given(text: &str) -> Self {
        Self(text.to_owned())
    }

    /// The secret itself.
    pub fn reveal(&self) -> &str {
        &self.0
    }

    /// A token that only who has this one can know, for another purpose.
    pub fn derived(&self, purpose: &str) -> String {
        hex(&Digest::of(format!("{purpose} {}", self.0).as_bytes()).0)
    }

    fn hash(&self) -> Vec<u8> {
        Digest::of(self.0.as_bytes()).0.to_vec()
    }
}

impl std::fmt::Debug for Token {
    /// Leaves the secret out.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Token(…)")
    }
}

impl Sessions {
    /// Of a store.
    pub fn new(store: Store) -> Self {
        Self { store }
    }

    /// Makes a link's token.
    pub async fn create_link(&self, now: Timestamp) -> Result<(Token, Timestamp), StoreError> {
        let token = Token::new();
        let (hash, expires_at) = (token.hash(), now + LINK_LIFE);
        let job = self.store.run(move |tx| {
            Box::pin(async move {
                tx.journal(Entry::new(now, "login.link", &()));
                for table in [FORGET_LINKS, FORGET_SESSIONS] {
                    let forget = sqlx::query(table).bind(now.as_microsecond()).execute(tx.connection()).await;
                    forget.map_err(tx.failed("write"))?;
                }
                let insert = sqlx::query("INSERT INTO login_links VALUES (?, ?)");
                let insert =
                    insert.bind(hash).bind(expires_at.as_microsecond()).execute(tx.connection()).await;
                insert.map(drop).map_err(tx.failed("write"))
            })
        });
        job.await?;
        Ok((token, expires_at))
    }

    /// Uses a link up. `None` when it was used before, is too old or was never made.
    pub async fn consume_link(
        &self,
        link: &Token,
        reviewer: &str,
        now: Timestamp,
    ) -> Result<Option<(Token, Session)>, StoreError> {
        let token = Token::new();
        let session = Session { reviewer: reviewer.to_owned(), expires_at: now + SESSION_LIFE };
        let (link, hash, made) = (link.hash(), token.hash(), session.clone());
        let used = self.store.run(move |tx| {
            Box::pin(async move {
                let used = sqlx::query("DELETE FROM login_links WHERE token_hash = ? AND expires_at > ?")
                    .bind(link)
                    .bind(now.as_microsecond());
                let used = used.execute(tx.connection()).await.map_err(tx.failed("write"))?;
                if used.rows_affected() == 0 {
                    return Ok(false);
                }
                let insert = sqlx::query("INSERT INTO sessions VALUES (?, ?, ?)")
                    .bind(hash)
                    .bind(&made.reviewer)
                    .bind(made.expires_at.as_microsecond());
                insert.execute(tx.connection()).await.map_err(tx.failed("write"))?;
                tx.journal(Entry::new(now, "login", &LoggedIn { reviewer: &made.reviewer }));
                Ok(true)
            })
        });
        Ok(used.await?.then_some((token, session)))
    }

    /// The session a cookie belongs to.
    pub async fn find(&self, token: &Token, now: Timestamp) -> Result<Option<Session>, StoreError> {
        let query =
            sqlx::query("SELECT reviewer, expires_at FROM sessions WHERE token_hash = ? AND expires_at > ?")
                .bind(token.hash())
                .bind(now.as_microsecond());
        let row =
            query.fetch_optional(self.store.readers()).await.map_err(|error| self.store.unreadable(error))?;
        let Some(row) = row else { return Ok(None) };
        let expires_at = Timestamp::from_microsecond(row.get("expires_at"))
            .map_err(|error| StoreError::Damaged(format!("a session's end is no time: {error}")))?;
        Ok(Some(Session { reviewer: row.get("reviewer"), expires_at }))
    }

    /// Ends a session.
    pub async fn end(&self, token: &Token, now: Timestamp) -> Result<(), StoreError> {
        let hash = token.hash();
        let ended = self.store.run(move |tx| {
            Box::pin(async move {
                tx.journal(Entry::new(now, "logout", &()));
                let delete = sqlx::query("DELETE FROM sessions WHERE token_hash = ?").bind(hash);
                delete.execute(tx.connection()).await.map(drop).map_err(tx.failed("write"))
            })
        });
        ended.await
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Place;

    async fn sessions(dir: &tempfile::TempDir) -> Sessions {
        let url = format!("sqlite://{}", dir.path().join("shield.db").display());
        Sessions::new(Store::open(Place::from_url(&url).unwrap()).await.unwrap())
    }

    #[tokio::test]
    async fn a_link_logs_in_once_and_not_after_its_time() {
        let dir = tempfile::tempdir().unwrap();
        let now = Timestamp::from_second(Timestamp::now().as_second()).unwrap();
        let sessions = sessions(&dir).await;
        let (link, _) = sessions.create_link(now).await.unwrap();
        let (token, session) = sessions.consume_link(&link, "Ada", now).await.unwrap().unwrap();
        let found = sessions.find(&token, now).await.unwrap().unwrap();
        assert_eq!((found.reviewer, session.reviewer), ("Ada".to_owned(), "Ada".to_owned()));
        assert!(sessions.consume_link(&link, "Eve", now).await.unwrap().is_none(), "it was used");
        let (late, _) = sessions.create_link(now).await.unwrap();
        assert!(sessions.consume_link(&late, "Eve", now + LINK_LIFE).await.unwrap().is_none());
        assert!(sessions.consume_link(&Token::given("x"), "Eve", now).await.unwrap().is_none());
        assert!(sessions.find(&token, now + SESSION_LIFE).await.unwrap().is_none(), "it is over");
        sessions.end(&token, now).await.unwrap();
        assert!(sessions.find(&token, now).await.unwrap().is_none());
    }

    #[tokio::test]
    async fn no_token_is_kept_in_the_store() {
        let dir = tempfile::tempdir().unwrap();
        let (sessions, now) = (sessions(&dir).await, Timestamp::now());
        let (link, _) = sessions.create_link(now).await.unwrap();
        let (spare, _) = sessions.create_link(now).await.unwrap();
        let (token, _) = sessions.consume_link(&link, "Ada", now).await.unwrap().unwrap();
        for file in std::fs::read_dir(dir.path()).unwrap() {
            let bytes = std::fs::read(file.unwrap().path()).unwrap();
            for secret in [&link, &spare, &token] {
                let found = bytes.windows(64).any(|window| window == secret.reveal().as_bytes());
                assert!(!found, "only hashes are kept");
            }
        }
    }
}
