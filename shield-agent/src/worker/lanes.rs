//! Lanes: threads that serve connections, each with a runtime of its own.
//!
//! A connection stays on the lane it was given to, and so does everything it opens upstream: nothing it does wakes another
//! thread, which costs more than most of what a request needs.
//!
//! The first few connections of an agent share lanes with those of other agents, this thread among them, where they cost
//! least. Within a lane everybody waits for everybody, so an agent with more has lanes of its own for these, as long as there
//! are as many shares as such agents. Between threads the kernel is fair: whoever asks for all there is makes others wait
//! little longer.

use std::future::Future;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use tokio::net::TcpStream;
use tokio::runtime::{Builder, Handle};
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

/// Connections of an agent that run on common lanes.
const FEW: usize = 8;

/// How many lanes there are.
#[derive(Clone, Copy, Debug, Default)]
pub struct Count {
    /// Common lanes beside the caller's thread.
    pub beside: usize,
    /// Parts that lanes for agents with many connections come in; such agents beyond so many share one.
    pub shares: usize,
    /// Lanes of such a part.
    pub each: usize,
}

/// See the module. Dropping it and its shares ends the lanes, and what still runs on them.
pub(super) struct Lanes {
    count: Count,
    common: Vec<Handle>,
    common_turn: AtomicUsize,
    own: Vec<Handle>,
    next_share: AtomicUsize,
    _open: DropGuard,
}

/// The lanes an agent's connections run on.
pub(super) struct Share {
    of: Arc<Lanes>,
    first: usize,
    turn: AtomicUsize,
}

impl Lanes {
    /// So many, waiting.
    pub(super) fn open(count: Count) -> io::Result<Arc<Self>> {
        let closed = CancellationToken::new();
        let open = |lanes: usize| (0..lanes).map(|_| open_lane(closed.clone())).collect::<io::Result<_>>();
        Ok(Arc::new(Self {
            count,
            common: open(count.beside)?,
            common_turn: AtomicUsize::new(0),
            own: open(count.shares * count.each)?,
            next_share: AtomicUsize::new(0),
            _open: closed.drop_guard(),
        }))
    }

    /// For one more agent.
    pub(super) fn share(self: &Arc<Self>) -> Share {
        let share = self.next_share.fetch_add(1, Ordering::Relaxed) % self.count.shares.max(1);
        Share { of: Arc::clone(self), first: share * self.count.each, turn: AtomicUsize::new(0) }
    }
}

impl Share {
    /// The lane whose turn it is for an agent with so many connections; `None` is this thread.
    fn lane(&self, connections: usize) -> Option<&Handle> {
        let next = |turn: &AtomicUsize, of: usize| turn.fetch_add(1, Ordering::Relaxed) % of.max(1);
        if connections > FEW && !self.of.own.is_empty() {
            return self.of.own.get(self.first + next(&self.turn, self.of.count.each));
        }
        self.of.common.get(next(&self.of.common_turn, self.of.common.len() + 1))
    }

    /// Serves a connection, accepted on this thread, of an agent with so many.
    pub(super) fn serve<F>(
        &self,
        tracker: &TaskTracker,
        (socket, connections): (TcpStream, usize),
        serve: impl FnOnce(TcpStream) -> F + Send + 'static,
    ) -> io::Result<()>
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let Some(lane) = self.lane(connections) else {
            tracker.spawn(serve(socket));
            return Ok(());
        };
        let socket = socket.into_std()?;
        let served = async move {
            match TcpStream::from_std(socket) {
                Ok(socket) => serve(socket).await,
                Err(error) => tracing::error!(%error, "a connection could not be given to a lane"),
            }
        };
        tracker.spawn_on(served, lane);
        Ok(())
    }
}

fn open_lane(closed: CancellationToken) -> io::Result<Handle> {
    let runtime = Builder::new_current_thread().enable_all().build()?;
    let handle = runtime.handle().clone();
    thread::Builder::new().name("lane".into()).spawn(move || runtime.block_on(closed.cancelled()))?;
    Ok(handle)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;
    use std::sync::mpsc;

    use tokio::net::TcpListener;

    use super::*;

    #[tokio::test]
    async fn few_connections_run_on_common_lanes_and_those_beyond_on_lanes_of_the_agent() {
        let (listener, tracker) = (TcpListener::bind("127.0.0.1:0").await.unwrap(), TaskTracker::new());
        let lanes = Lanes::open(Count { beside: 1, shares: 2, each: 2 }).unwrap();
        let shares = [lanes.share(), lanes.share(), lanes.share()];
        let (seen, threads) = mpsc::channel();
        for agent in [0, 0, 1, 1, 2, 2] {
            for connections in [1, FEW, FEW + 1, FEW + 2] {
                let _client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
                let (socket, seen) = (listener.accept().await.unwrap().0, seen.clone());
                let served = move |socket: TcpStream| async move {
                    socket.writable().await.unwrap();
                    seen.send((agent, connections > FEW, thread::current().id())).unwrap();
                };
                shares[agent].serve(&tracker, (socket, connections), served).unwrap();
            }
        }
        tracker.close();
        tracker.wait().await;
        let seen: Vec<_> = threads.try_iter().collect();
        let of = |agent, many| {
            seen.iter().filter(move |it| (it.0, it.1) == (agent, many)).map(|it| it.2).collect::<HashSet<_>>()
        };
        let common = of(0, false);
        assert!(common.contains(&thread::current().id()) && common.len() == 2, "{seen:?}");
        assert_eq!([&of(1, false), &of(2, false)], [&common; 2]);
        assert_eq!([of(0, true).len(), of(1, true).len()], [2, 2]);
        assert!(of(0, true).is_disjoint(&of(1, true)) && of(0, true).is_disjoint(&common), "{seen:?}");
        assert_eq!(of(0, true), of(2, true), "the third shares with the first");
    }
}
