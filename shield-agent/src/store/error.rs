//! What can be wrong with the store, told apart by remedy.

use std::path::PathBuf;
use std::sync::Arc;

use super::Place;

/// Why something could not be stored or found.
#[derive(Clone, Debug, thiserror::Error)]
pub enum StoreError {
    /// No room.
    #[error("the store {} cannot grow: its disk, quota or memory is full; free some room and it goes on by itself", .0.display())]
    Full(PathBuf),
    /// The database said no.
    #[error("cannot {act} the store {}", path.display())]
    Database {
        /// What was tried.
        act: &'static str,
        /// Which.
        path: PathBuf,
        /// What the database said.
        source: Arc<sqlx::Error>,
    },
    /// Made by a later version.
    #[error("the store {} was written by a newer version of shield (schema {version}): install that version, or choose another store.url", path.display())]
    Newer {
        /// Which.
        path: PathBuf,
        /// Its schema.
        version: i64,
    },
    /// It would lose what it acknowledged.
    #[error("the store {} cannot be made durable: SQLite keeps its journal as {mode:?} there, not as a write-ahead log; choose another file system", path.display())]
    NotDurable {
        /// Which.
        path: PathBuf,
        /// `PRAGMA journal_mode` as returned.
        mode: String,
    },
    /// A row is not what we wrote.
    #[error("the store is damaged: {0}; run `shield journal verify` and restore a backup")]
    Damaged(String),
    /// The process is ending.
    #[error("the store is closed: the approval process is ending")]
    Closed,
}

/// SQLite's primary result codes this module knows.
const SQLITE_FULL: i32 = 13;
const SQLITE_IOERR: i32 = 10;
/// `SQLITE_IOERR_SHMSIZE`: the write-ahead log's index could not grow.
const SQLITE_IOERR_SHMSIZE: i32 = SQLITE_IOERR | 19 << 8;

impl StoreError {
    /// An error of the database, told apart.
    pub(super) fn of(place: &Place, act: &'static str, error: sqlx::Error) -> Self {
        let path = place.path().to_owned();
        match code(&error) {
            Some(SQLITE_IOERR_SHMSIZE) => Self::Full(path),
            Some(code) if code & 0xff == SQLITE_FULL => Self::Full(path),
            _ => Self::Database { act, path, source: Arc::new(error) },
        }
    }

    /// Whether nothing else can be written either.
    pub(super) fn stops_everything(&self) -> bool {
        match self {
            Self::Full(_) | Self::NotDurable { .. } | Self::Newer { .. } | Self::Closed => true,
            Self::Damaged(_) => false,
            // A violated constraint or a row of another type is one job's affair.
            Self::Database { source, .. } => match &**source {
                sqlx::Error::Database(error) => {
                    !error.is_unique_violation() && !error.is_foreign_key_violation()
                }
                sqlx::Error::RowNotFound
                | sqlx::Error::ColumnDecode { .. }
                | sqlx::Error::ColumnNotFound(_)
                | sqlx::Error::Decode(_) => false,
                _ => true,
            },
        }
    }
}

fn code(error: &sqlx::Error) -> Option<i32> {
    error.as_database_error()?.code()?.parse().ok()
}
