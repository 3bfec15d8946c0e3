//! Lanes: threads that serve connections, each with a runtime of its own.
//!
//! A connection stays on the lane it was given to, and so does everything it opens upstream: nothing it does wakes another
//! thread, which costs more than most of what a request needs. The thread of the worker's channels is a lane too.

use std::future::Future;
use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use tokio::net::TcpStream;
use tokio::runtime::{Builder, Handle};
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

/// See the module. Dropping it ends the lanes beside the caller's, and what still runs on them.
pub(super) struct Lanes {
    beside: Vec<Handle>,
    turn: AtomicUsize,
    _open: DropGuard,
}

impl Lanes {
    /// The lane of this thread, and so many beside it.
    pub(super) fn open(beside: usize) -> io::Result<Self> {
        let closed = CancellationToken::new();
        let lanes = (0..beside).map(|_| open_lane(closed.clone())).collect::<io::Result<_>>()?;
        Ok(Self { beside: lanes, turn: AtomicUsize::new(0), _open: closed.drop_guard() })
    }

    /// Serves a connection, accepted on this thread, on the lane whose turn it is.
    pub(super) fn serve<F>(
        &self,
        tracker: &TaskTracker,
        socket: TcpStream,
        serve: impl FnOnce(TcpStream) -> F + Send + 'static,
    ) -> io::Result<()>
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let turn = self.turn.fetch_add(1, Ordering::Relaxed) % (self.beside.len() + 1);
        let Some(lane) = self.beside.get(turn) else {
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
    use std::sync::mpsc;

    use tokio::net::TcpListener;

    use super::*;

    #[tokio::test]
    async fn connections_are_spread_over_all_lanes_and_work_on_each() {
        let (listener, tracker) = (TcpListener::bind("127.0.0.1:0").await.unwrap(), TaskTracker::new());
        let lanes = Lanes::open(2).unwrap();
        let (seen, threads) = mpsc::channel();
        for _ in 0..6 {
            let _client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
            let (socket, seen) = (listener.accept().await.unwrap().0, seen.clone());
            let served = move |socket: TcpStream| async move {
                socket.writable().await.unwrap();
                seen.send(thread::current().id()).unwrap();
            };
            lanes.serve(&tracker, socket, served).unwrap();
        }
        tracker.close();
        tracker.wait().await;
        let mut count = std::collections::HashMap::new();
        threads.try_iter().for_each(|thread| *count.entry(thread).or_insert(0) += 1);
        assert_eq!(count.into_values().collect::<Vec<_>>(), [2, 2, 2]);
    }
}
