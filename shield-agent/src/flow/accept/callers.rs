//! Who opened a flow: the kernel's record, completed by what the supervisor reads of the process. The worker may not look
//! at processes itself.
//!
//! For display, rules about programs and the journal; never for deciding which agent it is. An answer that does not come
//! in time is no answer.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use shield_common::original::Original;
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;

use crate::flow::http::canonical::lossy;
use crate::flow::origin::Caller;
use crate::ipc::worker::{CallerFacts, FromWorker};

/// How long a connection waits for what is known of its process: a supervisor that is busy must not stop traffic.
const PATIENCE: Duration = Duration::from_millis(250);

/// Asks about processes.
#[derive(Debug)]
pub struct Callers {
    asks: Mutex<Asks>,
    outbox: mpsc::UnboundedSender<FromWorker>,
}

#[derive(Debug, Default)]
struct Asks {
    last: u64,
    waiting: HashMap<u64, oneshot::Sender<Box<CallerFacts>>>,
}

impl Callers {
    /// Asks through `outbox`, which leads to the supervisor.
    pub fn new(outbox: mpsc::UnboundedSender<FromWorker>) -> Self {
        Self { asks: Mutex::default(), outbox }
    }

    /// The process that made a connection; what cannot be told of it stays empty.
    pub async fn of(&self, record: &Original) -> Caller {
        let comm = record.comm.split(|&byte| byte == 0).next().unwrap_or_default();
        let facts = *self.ask(record).await.unwrap_or_default();
        let CallerFacts { exe, cmdline, start_time, cwd, ancestry, container, unit, exited } = facts;
        Caller {
            pid: record.pid,
            uid: record.uid,
            comm: lossy(comm),
            exe,
            cmdline,
            start_time,
            cwd,
            ancestry,
            container,
            unit,
            exited,
        }
    }

    async fn ask(&self, record: &Original) -> Option<Box<CallerFacts>> {
        let (reply, answer) = oneshot::channel();
        let ask = {
            let mut asks = self.lock();
            asks.last += 1;
            let ask = asks.last;
            asks.waiting.insert(ask, reply);
            ask
        };
        let Original { pid, connected_at_ns, cgroup_id, .. } = *record;
        let asked = self.outbox.send(FromWorker::WhichCaller { ask, pid, connected_at_ns, cgroup_id });
        // Without a supervisor there is no answer, and soon no worker.
        let facts = match asked {
            Ok(()) => timeout(PATIENCE, answer).await.ok().and_then(Result::ok),
            Err(_) => None,
        };
        self.lock().waiting.remove(&ask);
        facts
    }

    /// The supervisor's answer.
    pub fn answered(&self, ask: u64, facts: Box<CallerFacts>) {
        // Whoever asked may have given up.
        let _ = self.lock().waiting.remove(&ask).map(|reply| reply.send(facts));
    }

    fn lock(&self) -> MutexGuard<'_, Asks> {
        // Nothing panics while holding the lock.
        self.asks.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    fn record() -> Original {
        let mut comm = [0; 16];
        comm[..5].copy_from_slice(b"agent");
        Original {
            address: [0; 16],
            cookie: 0,
            cgroup_id: 12,
            netns_cookie: 0,
            connected_at_ns: 34,
            port: 0,
            family: 2,
            pid: 56,
            uid: 7,
            gid: 7,
            comm,
        }
    }

    #[tokio::test]
    async fn a_caller_is_what_the_kernel_saw_and_what_the_supervisor_read() {
        let (outbox, mut asked) = mpsc::unbounded_channel();
        let callers = Arc::new(Callers::new(outbox));
        let asking = tokio::spawn({
            let callers = Arc::clone(&callers);
            async move { callers.of(&record()).await }
        });
        let Some(FromWorker::WhichCaller { ask, pid, connected_at_ns, cgroup_id }) = asked.recv().await
        else {
            panic!("not asked")
        };
        assert_eq!((pid, connected_at_ns, cgroup_id), (56, 34, 12));
        let facts = |exe: &str| Box::new(CallerFacts { exe: exe.into(), ..CallerFacts::default() });
        callers.answered(ask + 1, facts("/bin/other"));
        callers.answered(ask, facts("/usr/bin/python3"));
        let caller = asking.await.unwrap();
        assert_eq!((caller.pid, caller.uid, caller.comm.as_str()), (56, 7, "agent"));
        assert_eq!(caller.exe, "/usr/bin/python3");
    }

    #[tokio::test(start_paused = true)]
    async fn a_silent_supervisor_stops_nobody_and_the_caller_keeps_what_the_kernel_saw() {
        let (outbox, _asked) = mpsc::unbounded_channel();
        let callers = Callers::new(outbox);
        let caller = callers.of(&record()).await;
        assert_eq!((caller.exe.as_str(), caller.comm.as_str(), caller.exited), ("", "agent", false));
        assert!(callers.lock().waiting.is_empty());
    }
}
