//! Which program a process runs. The worker may not look at processes of other users, so it asks the supervisor.
//!
//! For display and rules about programs; an answer that does not come in time is no answer.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;

use crate::flow::http::canonical::lossy;
use crate::ipc::worker::FromWorker;

/// How long a connection waits for the name of its program: a supervisor that is busy must not stop traffic.
const PATIENCE: Duration = Duration::from_millis(250);

/// Asks which program a process runs.
#[derive(Debug)]
pub struct Programs {
    asks: Mutex<Asks>,
    outbox: mpsc::UnboundedSender<FromWorker>,
}

#[derive(Debug, Default)]
struct Asks {
    last: u64,
    waiting: HashMap<u64, oneshot::Sender<Vec<u8>>>,
}

impl Programs {
    /// Asks through `outbox`, which leads to the supervisor.
    pub fn new(outbox: mpsc::UnboundedSender<FromWorker>) -> Self {
        Self { asks: Mutex::default(), outbox }
    }

    /// Path of the program of a process; empty when it is gone or cannot be told.
    pub async fn of(&self, pid: u32) -> String {
        if let Ok(path) = std::fs::read_link(link(pid)) {
            return lossy(path.as_os_str().as_encoded_bytes());
        }
        let (reply, answer) = oneshot::channel();
        let ask = {
            let mut asks = self.lock();
            asks.last += 1;
            let ask = asks.last;
            asks.waiting.insert(ask, reply);
            ask
        };
        // Without a supervisor there is no answer, and soon no worker.
        let _ = self.outbox.send(FromWorker::WhichProgram { ask, pid });
        let path = timeout(PATIENCE, answer).await;
        self.lock().waiting.remove(&ask);
        path.ok().and_then(Result::ok).map(|path| lossy(&path)).unwrap_or_default()
    }

    /// The supervisor's answer.
    pub fn answered(&self, ask: u64, path: Vec<u8>) {
        // Whoever asked may have given up.
        let _ = self.lock().waiting.remove(&ask).map(|reply| reply.send(path));
    }

    fn lock(&self) -> MutexGuard<'_, Asks> {
        // Nothing panics while holding the lock.
        self.asks.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Where the kernel tells the program of a process.
pub fn link(pid: u32) -> PathBuf {
    PathBuf::from(format!("/proc/{pid}/exe"))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    /// A process id that is never given to a process.
    const NOBODY: u32 = u32::MAX;

    #[tokio::test]
    async fn a_program_it_cannot_see_is_asked_for() {
        let (outbox, mut asked) = mpsc::unbounded_channel();
        let programs = Arc::new(Programs::new(outbox));
        let asking = tokio::spawn({
            let programs = Arc::clone(&programs);
            async move { programs.of(NOBODY).await }
        });
        let Some(FromWorker::WhichProgram { ask, pid }) = asked.recv().await else { panic!("not asked") };
        assert_eq!(pid, NOBODY);
        programs.answered(ask + 1, b"/bin/other".to_vec());
        programs.answered(ask, b"/usr/bin/python3".to_vec());
        assert_eq!(asking.await.unwrap(), "/usr/bin/python3");
    }

    #[tokio::test(start_paused = true)]
    async fn a_silent_supervisor_stops_nobody() {
        let (outbox, _asked) = mpsc::unbounded_channel();
        let programs = Programs::new(outbox);
        assert_eq!(programs.of(NOBODY).await, "");
        assert!(programs.lock().waiting.is_empty());
    }
}
