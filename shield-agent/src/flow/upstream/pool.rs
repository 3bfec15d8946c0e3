//! Kept connections for requests allowed by rule: few, briefly, and never shared between agents, names or addresses.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::ThreadId;
use std::time::Duration;

use hyper::client::conn::{http1, http2};
use tokio::sync::watch;
use tokio::time::{Instant, interval, timeout};

use super::body::Outgoing;
use super::connection::Connection;
use crate::names::AgentName;

/// How long an idle connection is kept.
const KEPT_FOR: Duration = Duration::from_secs(30);

/// Idle HTTP/1.1 connections per key.
const KEPT_PER_KEY: usize = 16;

/// Keys with kept connections.
const KEPT_KEYS: usize = 256;

/// How long a connection that was just given back may take to become free.
const READY_WITHIN: Duration = Duration::from_millis(100);

/// What a connection may be used again for.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Key {
    /// Whose requests.
    pub agent: AgentName,
    /// To whom.
    pub host: String,
    /// Where that is.
    pub address: SocketAddr,
    /// Whether it is TLS, verified for the host.
    pub tls: bool,
    /// Whether HTTP/2 is spoken in the clear.
    pub knows_h2: bool,
    /// The thread it lives on: to use it from another would wake two threads for every message.
    pub lane: ThreadId,
}

impl Key {
    /// The name its certificate is verified for; `None` for plain HTTP.
    pub fn tls_name(&self) -> Option<&str> {
        self.tls.then_some(&self.host)
    }
}

/// The kept connections.
#[derive(Default)]
pub struct Pool {
    kept: Mutex<HashMap<Key, Kept>>,
    firsts: Mutex<HashMap<Key, watch::Receiver<()>>>,
}

#[derive(Default)]
struct Kept {
    h1: Vec<(http1::SendRequest<Outgoing>, Instant)>,
    h2: Option<(http2::SendRequest<Outgoing>, Instant)>,
    /// When a connection was last found to speak HTTP/1.1, so that there is none to wait for that many could share.
    unshared: Option<Instant>,
}

impl Kept {
    fn drop_stale(&mut self) {
        self.unshared.take_if(|since| since.elapsed() >= KEPT_FOR);
        self.h1.retain(|(sender, since)| !sender.is_closed() && since.elapsed() < KEPT_FOR);
        self.h2.take_if(|(sender, since)| sender.is_closed() || since.elapsed() >= KEPT_FOR);
    }

    fn is_empty(&self) -> bool {
        self.h1.is_empty() && self.h2.is_none() && self.unshared.is_none()
    }
}

impl Pool {
    /// A pool that lets go of idle connections for as long as it is used.
    pub fn start() -> Arc<Self> {
        let pool = Arc::new(Self::default());
        let watched = Arc::downgrade(&pool);
        tokio::spawn(async move {
            let mut ticks = interval(KEPT_FOR / 3);
            loop {
                ticks.tick().await;
                let Some(pool) = watched.upgrade() else { return };
                pool.sweep();
            }
        });
        pool
    }

    /// A connection that can take a request now.
    pub async fn take(&self, key: &Key) -> Option<Connection> {
        loop {
            match self.pick(key)? {
                Connection::H1(mut sender) => {
                    if let Ok(Ok(())) = timeout(READY_WITHIN, sender.ready()).await {
                        return Some(Connection::H1(sender));
                    }
                }
                shared => return Some(shared),
            }
        }
    }

    /// Leave to dial as the first, who others wait for: many may come to share its connection. Whoever waited, and
    /// whoever goes where HTTP/1.1 is spoken, dials beside others.
    pub async fn first(self: &Arc<Self>, key: &Key) -> Option<First> {
        if self.lock().get(key).is_some_and(|kept| kept.unshared.is_some()) {
            return None;
        }
        let (dialled, waiting) = watch::channel(());
        let mut before = match self.firsts().entry(key.clone()) {
            Entry::Occupied(before) => before.get().clone(),
            Entry::Vacant(none) => {
                none.insert(waiting);
                return Some(First { pool: Arc::clone(self), key: key.clone(), _dialled: dialled });
            }
        };
        // Ends when the first one has its connection, or gave up.
        let _ = before.changed().await;
        None
    }

    /// Remembers that a connection serves one request at a time.
    pub fn unshared(&self, key: &Key) {
        self.keep(key, |kept| kept.unshared = Some(Instant::now()));
    }

    /// Lets others use an HTTP/2 connection too.
    pub fn share(&self, key: &Key, sender: &http2::SendRequest<Outgoing>) {
        self.keep(key, |kept| kept.h2 = Some((sender.clone(), Instant::now())));
    }

    fn pick(&self, key: &Key) -> Option<Connection> {
        let mut all = self.lock();
        let kept = all.get_mut(key)?;
        kept.drop_stale();
        let h2 = kept.h2.as_mut().map(|(sender, since)| {
            *since = Instant::now();
            Connection::H2(sender.clone())
        });
        h2.or_else(|| kept.h1.pop().map(|(sender, _)| Connection::H1(sender)))
    }

    fn keep(&self, key: &Key, put: impl FnOnce(&mut Kept)) {
        let mut all = self.lock();
        if all.len() < KEPT_KEYS || all.contains_key(key) {
            put(all.entry(key.clone()).or_default());
        }
    }

    fn sweep(&self) {
        let mut all = self.lock();
        all.values_mut().for_each(Kept::drop_stale);
        all.retain(|_, kept| !kept.is_empty());
    }

    fn firsts(&self) -> MutexGuard<'_, HashMap<Key, watch::Receiver<()>>> {
        // Nothing panics while holding the lock.
        self.firsts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Key, Kept>> {
        // Nothing panics while holding the lock.
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The first to dial where nothing is kept; others wait until it is dropped.
pub struct First {
    pool: Arc<Pool>,
    key: Key,
    _dialled: watch::Sender<()>,
}

impl Drop for First {
    fn drop(&mut self) {
        self.pool.firsts().remove(&self.key);
    }
}

/// A connection in use, with the place to keep it afterwards.
pub struct Lease {
    pool: Arc<Pool>,
    key: Key,
    connection: Connection,
}

impl Lease {
    /// See the type.
    pub fn new(pool: Arc<Pool>, key: Key, connection: Connection) -> Self {
        Self { pool, key, connection }
    }

    /// Keeps the connection: its answer was read to the end.
    pub fn give_back(self) {
        match self.connection {
            Connection::H1(sender) if !sender.is_closed() => self.pool.keep(&self.key, |kept| {
                if kept.h1.len() < KEPT_PER_KEY {
                    kept.h1.push((sender, Instant::now()));
                }
            }),
            Connection::H1(_) => {}
            Connection::H2(sender) => self.pool.share(&self.key, &sender),
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::poll;
    use std::pin::pin;

    use super::*;

    fn key() -> Key {
        let address = SocketAddr::from(([192, 0, 2, 1], 443));
        Key {
            agent: "bot".parse().unwrap(),
            host: "a.example".into(),
            address,
            tls: false,
            knows_h2: false,
            lane: std::thread::current().id(),
        }
    }

    #[tokio::test]
    async fn of_many_that_find_nothing_kept_one_dials_and_the_others_wait_for_it() {
        let (pool, key) = (Pool::start(), key());
        let first = pool.first(&key).await;
        assert!(first.is_some());
        let mut second = pin!(pool.first(&key));
        assert!(poll!(second.as_mut()).is_pending(), "it did not wait");
        drop(first);
        assert!(second.await.is_none(), "who waited dials beside others");
        assert!(pool.first(&key).await.is_some(), "the next one is the first again");
    }

    #[tokio::test]
    async fn nobody_waits_for_a_connection_that_could_not_be_shared() {
        let (pool, key) = (Pool::start(), key());
        let _first = pool.first(&key).await;
        pool.unshared(&key);
        assert!(pool.first(&key).await.is_none());
    }
}
