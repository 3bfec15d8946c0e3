//! The approver's end of the worker's channel. The worker is treated as hostile: it can say that something happened,
//! never that it may.
//!
//! ```text
//! worker ──► read ──┬─ records ──► one transaction for all that wait ──► Recorded
//!                   ├─ Hold ─────► take
//!                   ├─ Sent ─────► sent
//!                   └─ Status, Withdraw
//! ```

use std::sync::Arc;

use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _};
use tokio::sync::{Semaphore, mpsc};

use super::engine::Engine;
use super::records::{self, Record};
use crate::ipc::approver::{FromApprover, RECORD_WINDOW, SendFailure, StoredResponse, ToApprover};
use crate::ipc::frame::{self, FrameError, MAX_FRAME, Reader};
use crate::names::HoldId;
use crate::report::Chain;

/// Questions worked on at a time: each may have a whole body in memory.
const QUESTIONS: usize = 64;

/// Records that may wait for a transaction: more than the worker may have under way.
const RECORDS: usize = 4 * RECORD_WINDOW as usize;

/// Serves the worker until it closes its end.
pub async fn serve(engine: Engine, channel: impl AsyncRead + AsyncWrite + Send + 'static, said: Said) {
    let (reader, writer) = tokio::io::split(channel);
    let mut reader = Reader::new(reader);
    let (to_records, records) = mpsc::channel(RECORDS);
    tokio::spawn(write_all(writer, said));
    tokio::spawn(records::keep(engine.clone(), records));
    let questions = Arc::new(Semaphore::new(QUESTIONS));
    loop {
        let message = match reader.next::<ToApprover>().await {
            Ok(message) => message,
            Err(FrameError::Closed) => return,
            Err(error) => return tracing::error!("the worker's channel broke: {}", Chain(&error)),
        };
        match message {
            ToApprover::Judged { seq, record } => {
                let _ = to_records.send((seq, Record::Judged(record))).await;
            }
            ToApprover::Finished { seq, outcome } => {
                let _ = to_records.send((seq, Record::Finished(outcome))).await;
            }
            ToApprover::NamesRefused { seq, record } => {
                let _ = to_records.send((seq, Record::NamesRefused(record))).await;
            }
            ToApprover::StoppedWaiting { ask } => engine.inner.waiting.stopped(ask),
            question => {
                // In the order of their arrival, so that it is known before anybody can stop waiting.
                if let ToApprover::Hold { ask, .. } = &question {
                    engine.inner.waiting.asked(*ask);
                }
                let permit = Arc::clone(&questions).acquire_owned().await;
                let engine = engine.clone();
                tokio::spawn(async move {
                    let _permit = permit.expect("the semaphore is never closed");
                    engine.answer(question).await;
                });
            }
        }
    }
}

/// What the worker is to be told, in order.
pub type Said = mpsc::UnboundedReceiver<FromApprover>;

impl Engine {
    async fn answer(&self, question: ToApprover) {
        match question {
            ToApprover::Listening => {
                if let Err(error) = self.worker_is_there().await {
                    tracing::error!("approved requests wait: {}", Chain(&error));
                }
            }
            ToApprover::Hold { ask, request } => self.take(ask, *request).await,
            ToApprover::Sent { hold, result } => self.record_sent(hold, result).await,
            ToApprover::Status { ask, agent, hold } => {
                let holds = self.own_holds(&agent, hold).await.unwrap_or_else(|error| {
                    tracing::error!("an agent cannot be told of its holds: {}", Chain(&error));
                    Vec::new()
                });
                self.tell_worker(FromApprover::Statuses { ask, holds });
            }
            ToApprover::Withdraw { ask, agent, hold } => {
                let holds = self.withdraw(agent, hold).await.unwrap_or_else(|error| {
                    tracing::error!("a hold could not be withdrawn: {}", Chain(&error));
                    Vec::new()
                });
                self.tell_worker(FromApprover::Statuses { ask, holds });
            }
            ToApprover::Distrusted(distrust) => {
                if let Err(error) = self.distrusted(&distrust).await {
                    tracing::error!("a finding could not be recorded: {}", Chain(&error));
                }
            }
            // Taken before.
            ToApprover::Judged { .. }
            | ToApprover::Finished { .. }
            | ToApprover::NamesRefused { .. }
            | ToApprover::StoppedWaiting { .. } => {}
        }
    }

    /// Records how a send ended, as soon as that is possible: it happened, so it must not be forgotten.
    async fn record_sent(&self, hold: HoldId, result: Result<StoredResponse, SendFailure>) {
        while let Err(error) = self.sent(hold, result.clone()).await {
            tracing::error!(%hold, "how a send ended is not recorded yet: {}", Chain(&error));
            self.store().writable().await;
            // A store that is in no trouble and refuses this one row would be asked for ever.
            tokio::time::sleep(records::TRY_AGAIN).await;
        }
    }
}

async fn write_all(mut writer: impl AsyncWrite + Unpin, mut said: Said) {
    while let Some(message) = said.recv().await {
        let written = async {
            let frame = frame::encode(&message, MAX_FRAME)?;
            writer.write_all(&frame).await.map_err(FrameError::Io)
        };
        if let Err(error) = written.await {
            return tracing::warn!("the worker cannot be told anything any more: {}", Chain(&error));
        }
    }
}
