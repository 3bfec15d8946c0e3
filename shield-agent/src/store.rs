//! The approver's store: one SQLite file, one writer, a few readers.
//!
//! Everything that changes goes through [`Store::run`]: many jobs share one transaction and one fsync, and a job's
//! journal entries commit with what they describe. It never acknowledges what is not durable.

mod error;
pub mod holds;
mod migrations;
mod place;
pub mod sessions;
mod writer;

use std::sync::Arc;

use futures_util::future::BoxFuture;
use sqlx::sqlite::{SqlitePool, SqlitePoolOptions};
use tokio::sync::{mpsc, oneshot, watch};

pub use self::error::StoreError;
pub use self::place::{BadPlace, Place};
pub use self::writer::Tx;
use self::writer::{Job, Typed, Writer};

/// Connections for reading.
const READERS: u32 = 4;

/// Jobs that wait for the writer before callers wait too.
const QUEUE: usize = 4096;

/// An open store; cheap to clone.
#[derive(Clone, Debug)]
pub struct Store {
    jobs: mpsc::Sender<Box<dyn Job>>,
    readers: SqlitePool,
    trouble: watch::Receiver<Option<StoreError>>,
    place: Arc<Place>,
}

impl Store {
    /// Opens the store, making or upgrading it where needed.
    pub async fn open(place: Place) -> Result<Self, StoreError> {
        let place = Arc::new(place);
        let (writer, trouble) = Writer::open(Arc::clone(&place)).await?;
        let (jobs, queue) = mpsc::channel(QUEUE);
        tokio::spawn(writer.run(queue));
        let readers = SqlitePoolOptions::new().max_connections(READERS).connect_lazy_with(place.to_read());
        Ok(Self { jobs, readers, trouble, place })
    }

    /// Does `job` inside a transaction, with others that wait; returns once its changes are durable.
    ///
    /// A job that fails changes nothing. It must not wait for anything but the connection it is given.
    pub async fn run<T, F>(&self, job: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: for<'a> FnOnce(&'a mut Tx) -> BoxFuture<'a, Result<T, StoreError>> + Send + 'static,
    {
        let (reply, answer) = oneshot::channel();
        let job = Box::new(Typed::new(job, reply));
        self.jobs.send(job).await.map_err(|_| StoreError::Closed)?;
        answer.await.map_err(|_| StoreError::Closed)?
    }

    /// Connections that see what is durable.
    pub fn readers(&self) -> &SqlitePool {
        &self.readers
    }

    /// An error of reading `what`, for callers that query by themselves.
    pub fn unreadable(&self, error: sqlx::Error) -> StoreError {
        StoreError::of(&self.place, "read", error)
    }

    /// Why nothing can be written now; `None` while it can.
    pub fn trouble(&self) -> Option<StoreError> {
        self.trouble.borrow().clone()
    }

    /// Follows whether the store can be written.
    pub fn watch_trouble(&self) -> watch::Receiver<Option<StoreError>> {
        self.trouble.clone()
    }

    /// Returns once the store can be written.
    pub async fn writable(&self) {
        // Fails when the writer is gone: the process is ending.
        let _ = self.trouble.clone().wait_for(Option::is_none).await;
    }
}
