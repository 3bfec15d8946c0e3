//! How an accepted exchange ends: one record, closed by being dropped, whatever happened.

use std::sync::Arc;

use tokio::time::Instant;

use super::approver::Approver;
use super::via::Turn;
use crate::flow::upstream::body::Sent;
use crate::ipc::approver::ExchangeOutcome;
use crate::names::ExchangeId;

/// An exchange under way whose record was accepted.
pub struct Outcome {
    approver: Arc<Approver>,
    exchange: ExchangeId,
    since: Instant,
    sent: Sent,
    status: Option<u16>,
    received: u64,
    error: Option<String>,
    turn: Option<Turn>,
}

impl Outcome {
    /// Begins when the exchange is accepted.
    pub fn begin(approver: Arc<Approver>, exchange: ExchangeId) -> Self {
        let error = Some("the agent hung up before the destination answered".to_owned());
        let (since, sent) = (Instant::now(), Sent::default());
        Self { approver, exchange, since, sent, status: None, received: 0, error, turn: None }
    }

    /// Keeps the leave of a request to be under way until its answer ends.
    pub fn with(mut self, turn: Turn) -> Self {
        self.turn = Some(turn);
        self
    }

    /// Counts what is sent of the request's body.
    pub fn sent(&self) -> Sent {
        self.sent.clone()
    }

    /// The destination began to answer.
    pub fn answered(&mut self, status: u16) {
        self.status = Some(status);
        self.error = Some("the agent hung up before the answer ended".to_owned());
    }

    /// So many bytes of the answer's body were passed on.
    pub fn received(&mut self, bytes: usize) {
        self.received += bytes as u64;
    }

    /// It failed.
    pub fn failed(&mut self, why: String) {
        self.error = Some(why);
    }

    /// Nobody was reached. Gives back the leave of its request to be under way.
    pub fn unreached(mut self, why: String) -> Option<Turn> {
        self.error = Some(why);
        self.turn.take()
    }

    /// It ended well.
    pub fn whole(&mut self) {
        self.error = None;
    }
}

impl Drop for Outcome {
    fn drop(&mut self) {
        self.approver.recorder.finished(ExchangeOutcome {
            exchange: self.exchange,
            status: self.status,
            sent: self.sent.bytes(),
            received: self.received,
            took: self.since.elapsed(),
            error: self.error.take(),
        });
    }
}
