//! Where the store is, and how it is connected to.

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqliteSynchronous};

/// How long a connection waits for another process, such as a backup.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

/// A change of what connections are opened with.
type Adjust = Box<dyn Fn(SqliteConnectOptions) -> SqliteConnectOptions + Send + Sync>;

/// Where the store is.
pub struct Place {
    path: PathBuf,
    adjust: Adjust,
}

/// The URL names no store this version can open.
#[derive(Debug, thiserror::Error)]
#[error("store.url {0:?} is not usable: this version keeps its store in a file, sqlite:///absolute/path")]
pub struct BadPlace(String);

impl Place {
    /// Reads `store.url`.
    pub fn from_url(url: &str) -> Result<Self, BadPlace> {
        let path = url.strip_prefix("sqlite://").and_then(|rest| rest.split('?').next());
        let path = path.map(Path::new).filter(|path| path.is_absolute());
        path.map(Self::file).ok_or_else(|| BadPlace(url.to_owned()))
    }

    /// A file.
    pub fn file(path: &Path) -> Self {
        Self { path: path.to_owned(), adjust: Box::new(|options| options) }
    }

    /// With connections opened in another way; asked for each one, so the answer may change.
    pub fn adjusted(
        self,
        adjust: impl Fn(SqliteConnectOptions) -> SqliteConnectOptions + Send + Sync + 'static,
    ) -> Self {
        Self { adjust: Box::new(adjust), ..self }
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// For the writer: a commit is durable, and what is deleted is overwritten.
    pub(super) fn to_write(&self) -> SqliteConnectOptions {
        let options = SqliteConnectOptions::new()
            .filename(&self.path)
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full)
            .foreign_keys(true)
            .busy_timeout(BUSY_TIMEOUT)
            .pragma("secure_delete", "ON")
            // The approver may open no file but its own.
            .pragma("temp_store", "MEMORY");
        (self.adjust)(options)
    }

    /// For readers.
    pub fn to_read(&self) -> SqliteConnectOptions {
        SqliteConnectOptions::new()
            .filename(&self.path)
            .read_only(true)
            .busy_timeout(BUSY_TIMEOUT)
            .pragma("temp_store", "MEMORY")
    }
}

impl fmt::Debug for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Place").field(&self.path).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_store_is_an_absolute_path_and_nothing_else() {
        assert_eq!(Place::from_url("sqlite:///a/b.db").unwrap().path(), Path::new("/a/b.db"));
        assert_eq!(Place::from_url("sqlite:///a/b.db?mode=rwc").unwrap().path(), Path::new("/a/b.db"));
        for url in ["", "/a/b.db", "sqlite://b.db", "sqlite::memory:", "postgres://db/shield"] {
            assert!(Place::from_url(url).is_err(), "{url}");
        }
    }
}
