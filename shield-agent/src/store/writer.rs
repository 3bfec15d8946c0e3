//! The one writer: jobs queue, and as many as wait share a transaction and its fsync.
//!
//! ```text
//! jobs ──► BEGIN ─ job ─ job ─ job ─ journal entries of all ─ COMMIT ──► every caller hears
//!                   └ a job that fails is undone alone
//!            └ the store fails: everything is undone, every caller hears why, and nothing is tried
//!              again but a small record of our own until that can be written: then it goes on
//! ```

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use jiff::Timestamp;
use serde::Serialize;
use sqlx::{ConnectOptions as _, Connection as _, SqliteConnection};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{MissedTickBehavior, interval};

use super::{Place, StoreError, migrations};
use crate::journal::append;
use crate::journal::chain::Head;
use crate::journal::entry::Entry;
use crate::report::Chain;

/// Jobs of one transaction.
const BATCH: usize = 256;

/// How often a store that failed is tried again.
const TRY_AGAIN: Duration = Duration::from_millis(250);

/// What a job may use: the connection, inside the open transaction, and the journal.
#[derive(Debug)]
pub struct Tx {
    connection: SqliteConnection,
    entries: Vec<Entry>,
    place: Arc<Place>,
}

impl Tx {
    /// The connection.
    pub fn connection(&mut self) -> &mut SqliteConnection {
        &mut self.connection
    }

    /// Records something with the changes of this job.
    pub fn journal(&mut self, entry: Entry) {
        self.entries.push(entry);
    }

    /// An error of a statement, told apart.
    pub fn failed(&self, act: &'static str) -> impl FnOnce(sqlx::Error) -> StoreError + use<> {
        let place = Arc::clone(&self.place);
        move |error| StoreError::of(&place, act, error)
    }

    async fn execute(&mut self, statement: &'static str) -> Result<(), StoreError> {
        let done = sqlx::query(statement).execute(&mut self.connection).await;
        done.map(drop).map_err(|error| StoreError::of(&self.place, "write", error))
    }
}

/// A job of any type.
pub(super) trait Job: Send {
    /// Runs it inside the transaction.
    fn run<'a>(&'a mut self, tx: &'a mut Tx) -> BoxFuture<'a, Result<(), StoreError>>;
    /// Tells whoever asked: what the job came to when the transaction is durable, else why it is not.
    fn settle(self: Box<Self>, durable: Result<(), StoreError>);
}

/// A closure as a job.
pub(super) struct Typed<F, T> {
    job: Option<F>,
    result: Option<Result<T, StoreError>>,
    reply: oneshot::Sender<Result<T, StoreError>>,
}

impl<F, T> Typed<F, T> {
    pub(super) fn new(job: F, reply: oneshot::Sender<Result<T, StoreError>>) -> Self {
        Self { job: Some(job), result: None, reply }
    }
}

impl<F, T> Job for Typed<F, T>
where
    T: Send,
    F: for<'a> FnOnce(&'a mut Tx) -> BoxFuture<'a, Result<T, StoreError>> + Send,
{
    fn run<'a>(&'a mut self, tx: &'a mut Tx) -> BoxFuture<'a, Result<(), StoreError>> {
        Box::pin(async move {
            let job = self.job.take().expect("a job runs once");
            let result = job(tx).await;
            let outcome = result.as_ref().map(drop).map_err(StoreError::clone);
            self.result = Some(result);
            outcome
        })
    }

    fn settle(self: Box<Self>, durable: Result<(), StoreError>) {
        let Self { result, reply, .. } = *self;
        // Whoever asked may have gone; what is done is done.
        let _ = reply.send(durable.and_then(|()| result.unwrap_or(Err(StoreError::Closed))));
    }
}

/// The writer.
pub(super) struct Writer {
    place: Arc<Place>,
    /// `None` after a failure, until the store was opened again.
    open: Option<(Tx, Head)>,
    trouble: watch::Sender<Option<StoreError>>,
}

impl Writer {
    /// Opens the store for writing and brings its schema up to date.
    pub(super) async fn open(
        place: Arc<Place>,
    ) -> Result<(Self, watch::Receiver<Option<StoreError>>), StoreError> {
        let mut open = connect(&place).await?;
        migrations::run(&mut open.connection, &place).await?;
        let head = append::head(&mut open.connection).await.map_err(open.failed("read"))?;
        let (trouble, known) = watch::channel(None);
        Ok((Self { place, open: Some((open, head)), trouble }, known))
    }

    /// Works until nobody can ask any more.
    pub(super) async fn run(mut self, mut queue: mpsc::Receiver<Box<dyn Job>>) {
        let mut again = interval(TRY_AGAIN);
        again.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut jobs = Vec::with_capacity(BATCH);
        loop {
            if self.open.is_none() {
                tokio::select! {
                    job = queue.recv() => match job {
                        Some(job) => job.settle(Err(self.trouble.borrow().clone().unwrap_or(StoreError::Closed))),
                        None => return,
                    },
                    _ = again.tick() => self.try_again().await,
                }
            } else if queue.recv_many(&mut jobs, BATCH).await == 0 {
                break;
            } else {
                self.commit(&mut jobs).await;
            }
        }
        if let Some((tx, _)) = self.open {
            // Folds the write-ahead log into the file; if that fails, the next opening does it.
            let _ = tx.connection.close().await;
        }
    }

    async fn commit(&mut self, jobs: &mut Vec<Box<dyn Job>>) {
        let Some((tx, head)) = &mut self.open else { return };
        match attempt(tx, *head, jobs).await {
            Ok(new) => {
                *head = new;
                jobs.drain(..).for_each(|job| job.settle(Ok(())));
            }
            Err(error) => {
                tracing::error!("nothing can be recorded, so nothing may leave: {}", Chain(&error));
                self.open = None;
                self.trouble.send_replace(Some(error.clone()));
                jobs.drain(..).for_each(|job| job.settle(Err(error.clone())));
            }
        }
    }

    /// Opens the store again and proves with a record that it can be written.
    async fn try_again(&mut self) {
        let why = self.trouble.borrow().as_ref().map(|error| Chain(error).to_string());
        match reopen(&self.place, &why.unwrap_or_default()).await {
            Ok(open) => {
                tracing::info!("the store can be written again");
                self.open = Some(open);
                self.trouble.send_replace(None);
            }
            Err(error) => drop(self.trouble.send_replace(Some(error))),
        }
    }
}

async fn connect(place: &Arc<Place>) -> Result<Tx, StoreError> {
    let failed = |error| StoreError::of(place, "open", error);
    let mut connection = place.to_write().connect().await.map_err(failed)?;
    let mode: String =
        sqlx::query_scalar("PRAGMA journal_mode").fetch_one(&mut connection).await.map_err(failed)?;
    if mode != "wal" {
        return Err(StoreError::NotDurable { path: place.path().to_owned(), mode });
    }
    Ok(Tx { connection, entries: Vec::new(), place: Arc::clone(place) })
}

/// The record of an interruption.
#[derive(Serialize)]
struct Resumed<'a> {
    why: &'a str,
}

async fn reopen(place: &Arc<Place>, why: &str) -> Result<(Tx, Head), StoreError> {
    let mut tx = connect(place).await?;
    let head = append::head(&mut tx.connection).await.map_err(tx.failed("read"))?;
    tx.journal(Entry::new(Timestamp::now(), "journal.resumed", &Resumed { why }));
    let head = attempt(&mut tx, head, &mut Vec::new()).await?;
    Ok((tx, head))
}

/// Runs the jobs in one transaction. An error means that none of them changed anything.
async fn attempt(tx: &mut Tx, head: Head, jobs: &mut [Box<dyn Job>]) -> Result<Head, StoreError> {
    tx.execute("BEGIN IMMEDIATE").await?;
    match jobs {
        // Undone with the transaction.
        [job] => match job.run(tx).await {
            Ok(()) => {}
            Err(error) if error.stops_everything() => return Err(error),
            // Its caller hears the error.
            Err(_) => {
                tx.entries.clear();
                return tx.execute("ROLLBACK").await.map(|()| head);
            }
        },
        jobs => {
            for job in jobs {
                run_beside_others(tx, job.as_mut()).await?;
            }
        }
    }
    let entries = std::mem::take(&mut tx.entries);
    let head = append::append(&mut tx.connection, head, entries).await.map_err(tx.failed("write"))?;
    tx.execute("COMMIT").await?;
    Ok(head)
}

/// Runs a job so that it can be undone alone. An error means that the whole transaction is lost.
async fn run_beside_others(tx: &mut Tx, job: &mut dyn Job) -> Result<(), StoreError> {
    let entries = tx.entries.len();
    tx.execute("SAVEPOINT job").await?;
    match job.run(tx).await {
        Ok(()) => tx.execute("RELEASE job").await,
        Err(error) if error.stops_everything() => Err(error),
        // Its caller hears the error; the others go on.
        Err(_) => {
            tx.entries.truncate(entries);
            tx.execute("ROLLBACK TO job").await?;
            tx.execute("RELEASE job").await
        }
    }
}
