//! The worker's end of the approver's channel: records and questions go out, answers find who asked, orders come in.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadHalf, WriteHalf};
use tokio::sync::mpsc;
use tokio::time::sleep;

use super::recorder::{Recorder, Unrecorded};
use crate::ipc::approver::{
    Distrust, FromApprover, HoldRequest, OwnHold, SendFailure, SendOrder, StoredResponse, ToApprover,
};
use crate::ipc::frame::{self, FrameError, MAX_FRAME};
use crate::names::{AgentName, HoldId};

/// Messages written in one go.
const BATCH: usize = 256;

/// How long messages wait for others to be written with: each would wake this thread and the approver. It is how much
/// a worker that dies may leave untold of what rules let pass.
const GATHER: Duration = Duration::from_millis(1);

/// A handle to the approver.
pub struct Approver {
    /// Records.
    pub recorder: Recorder,
    asks: Mutex<Asks>,
    outbox: mpsc::UnboundedSender<ToApprover>,
}

#[derive(Default)]
struct Asks {
    last: u64,
    closed: bool,
    waiting: HashMap<u64, mpsc::UnboundedSender<FromApprover>>,
}

/// Orders to send, as they arrive.
pub type Orders = mpsc::UnboundedReceiver<Box<SendOrder>>;

impl Approver {
    /// Talks to the approver over `channel` from tasks of its own.
    pub fn start(channel: impl AsyncRead + AsyncWrite + Send + 'static) -> (Arc<Self>, Orders) {
        let (reader, writer) = tokio::io::split(channel);
        let (outbox, outgoing) = mpsc::unbounded_channel();
        let recorder = Recorder::new(outbox.clone());
        let approver = Arc::new(Self { recorder, asks: Mutex::default(), outbox });
        let (orders, incoming) = mpsc::unbounded_channel();
        // The outbox lives as long as we do.
        let _ = approver.outbox.send(ToApprover::Listening);
        tokio::spawn(write_all(writer, outgoing, Arc::clone(&approver)));
        tokio::spawn(read_all(reader, orders, Arc::clone(&approver)));
        (approver, incoming)
    }

    /// Asks for a hold.
    pub fn hold(self: &Arc<Self>, request: HoldRequest) -> Ask {
        self.ask(true, |ask| ToApprover::Hold { ask, request: Box::new(request) })
    }

    /// What an agent may know of its holds; `None` when the approver is gone.
    pub async fn status(self: &Arc<Self>, agent: AgentName, hold: Option<HoldId>) -> Option<Vec<OwnHold>> {
        self.ask(false, |ask| ToApprover::Status { ask, agent, hold }).statuses().await
    }

    /// Withdraws a hold of an agent's own; what became of it, or `None` when the approver is gone.
    pub async fn withdraw(self: &Arc<Self>, agent: AgentName, hold: HoldId) -> Option<Vec<OwnHold>> {
        self.ask(false, |ask| ToApprover::Withdraw { ask, agent, hold }).statuses().await
    }

    /// Reports how an ordered send ended.
    pub fn sent(&self, hold: HoldId, result: Result<StoredResponse, SendFailure>) {
        // When the approver is gone it finds the intent without an outcome in its store.
        let _ = self.outbox.send(ToApprover::Sent { hold, result });
    }

    /// Reports a program that refused our certificate.
    pub fn distrusted(&self, distrust: Distrust) {
        // Told for people: when the approver is gone there is nobody to tell.
        let _ = self.outbox.send(ToApprover::Distrusted(Box::new(distrust)));
    }

    fn ask(self: &Arc<Self>, waits: bool, message: impl FnOnce(u64) -> ToApprover) -> Ask {
        let (sender, answers) = mpsc::unbounded_channel();
        let mut asks = self.lock();
        asks.last += 1;
        let number = asks.last;
        if !asks.closed {
            asks.waiting.insert(number, sender);
            let _ = self.outbox.send(message(number));
        }
        Ask { number, waits, answers, approver: Arc::clone(self) }
    }

    fn answer(&self, ask: u64, message: FromApprover) {
        // Whoever asked may have hung up.
        let _ = self.lock().waiting.get(&ask).map(|asker| asker.send(message));
    }

    fn close(&self) {
        self.recorder.halt(Unrecorded::Gone);
        let mut asks = self.lock();
        asks.closed = true;
        asks.waiting.clear();
    }

    fn lock(&self) -> MutexGuard<'_, Asks> {
        // Nothing panics while holding the lock.
        self.asks.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A question under way. Dropping it tells the approver that nobody waits for the hold any more.
pub struct Ask {
    number: u64,
    waits: bool,
    answers: mpsc::UnboundedReceiver<FromApprover>,
    approver: Arc<Approver>,
}

impl Ask {
    /// The next answer; `None` when the approver is gone.
    pub async fn next(&mut self) -> Option<FromApprover> {
        let answer = self.answers.recv().await;
        // After the last word on a hold, nobody waits for it.
        self.waits &= matches!(answer, Some(FromApprover::Held { .. }));
        answer
    }

    async fn statuses(mut self) -> Option<Vec<OwnHold>> {
        match self.next().await {
            Some(FromApprover::Statuses { holds, .. }) => Some(holds),
            _ => None,
        }
    }
}

impl Drop for Ask {
    fn drop(&mut self) {
        self.approver.lock().waiting.remove(&self.number);
        if self.waits {
            let _ = self.approver.outbox.send(ToApprover::StoppedWaiting { ask: self.number });
        }
    }
}

async fn write_all<C: AsyncWrite>(
    mut writer: WriteHalf<C>,
    mut outgoing: mpsc::UnboundedReceiver<ToApprover>,
    approver: Arc<Approver>,
) {
    let mut batch = Vec::with_capacity(BATCH);
    while outgoing.recv_many(&mut batch, BATCH).await > 0 {
        sleep(GATHER).await;
        while batch.len() < BATCH
            && let Ok(message) = outgoing.try_recv()
        {
            batch.push(message);
        }
        let written = async {
            let mut bytes = Vec::with_capacity(batch.len() << 10);
            for message in batch.drain(..) {
                bytes = frame::append(&message, MAX_FRAME, bytes)?;
            }
            writer.write_all(&bytes).await.map_err(FrameError::Io)
        };
        if let Err(error) = written.await {
            tracing::error!(%error, "the approver's channel cannot be written: nothing leaves until it is back");
            return approver.close();
        }
    }
}

async fn read_all<C: AsyncRead>(
    mut reader: ReadHalf<C>,
    orders: mpsc::UnboundedSender<Box<SendOrder>>,
    approver: Arc<Approver>,
) {
    loop {
        match frame::read::<FromApprover>(&mut reader).await {
            Ok(FromApprover::Recorded { upto }) => approver.recorder.recorded(upto),
            Ok(FromApprover::Stopped { reason }) => approver.recorder.halt(Unrecorded::Stopped(reason)),
            // Without a taker the worker is going down; the approver keeps the intent.
            Ok(FromApprover::Send(order)) => drop(orders.send(order)),
            Ok(
                message @ (FromApprover::Held { ask, .. }
                | FromApprover::NotHeld { ask, .. }
                | FromApprover::Over { ask, .. }
                | FromApprover::Statuses { ask, .. }),
            ) => approver.answer(ask, message),
            Err(error) => {
                tracing::error!(%error, "the approver's channel ended: nothing leaves until it is back");
                return approver.close();
            }
        }
    }
}
