//! The approver's side of its channel: records are durable at once unless a test says otherwise; everything else waits
//! for the test.

use std::sync::Arc;

use bytes::Bytes;
use tokio::io::{DuplexStream, ReadHalf, WriteHalf};
use tokio::sync::{Mutex, mpsc, watch};

use crate::flow::http::canonical::Header;
use crate::ipc::approver::{
    Ending, ExchangeOutcome, ExchangeRecord, FromApprover, HoldRequest, SendFailure, SendOrder,
    StoredResponse, ToApprover,
};
use crate::ipc::frame;
use crate::names::HoldId;

pub(in crate::flow::tests) struct Approver {
    writer: Arc<Mutex<WriteHalf<DuplexStream>>>,
    records: Mutex<mpsc::UnboundedReceiver<ExchangeRecord>>,
    outcomes: Mutex<mpsc::UnboundedReceiver<ExchangeOutcome>>,
    heard: Mutex<mpsc::UnboundedReceiver<ToApprover>>,
    acknowledges: watch::Sender<bool>,
    reader: tokio::task::JoinHandle<()>,
}

impl Approver {
    pub(super) fn start(channel: DuplexStream) -> Self {
        let (reader, writer) = tokio::io::split(channel);
        let writer = Arc::new(Mutex::new(writer));
        let (to_records, records) = mpsc::unbounded_channel();
        let (to_outcomes, outcomes) = mpsc::unbounded_channel();
        let (to_heard, heard) = mpsc::unbounded_channel();
        let (acknowledges, acknowledging) = watch::channel(true);
        let reader = tokio::spawn(listen(
            reader,
            Arc::clone(&writer),
            acknowledging,
            to_records,
            to_outcomes,
            to_heard,
        ));
        Self {
            writer,
            records: Mutex::new(records),
            outcomes: Mutex::new(outcomes),
            heard: Mutex::new(heard),
            acknowledges,
            reader,
        }
    }

    pub(in crate::flow::tests) async fn say(&self, message: FromApprover) {
        frame::write(&mut *self.writer.lock().await, &message).await.unwrap();
    }

    /// Whether records are acknowledged from now on.
    pub(in crate::flow::tests) fn acknowledge(&self, yes: bool) {
        self.acknowledges.send_replace(yes);
    }

    pub(in crate::flow::tests) async fn record(&self) -> ExchangeRecord {
        self.records.lock().await.recv().await.expect("a record")
    }

    pub(in crate::flow::tests) async fn outcome(&self) -> ExchangeOutcome {
        self.outcomes.lock().await.recv().await.expect("an outcome")
    }

    /// The next message that is not a record.
    pub(in crate::flow::tests) async fn hear(&self) -> ToApprover {
        self.heard.lock().await.recv().await.expect("a message")
    }

    /// The next question for a hold, answered with `hold`.
    pub(in crate::flow::tests) async fn take_hold(&self, hold: HoldId) -> (u64, HoldRequest) {
        let ToApprover::Hold { ask, request } = self.hear().await else { panic!("not a hold") };
        let expires_at = jiff::Timestamp::MAX;
        self.say(FromApprover::Held { ask, hold, expires_at }).await;
        (ask, *request)
    }

    /// Orders the held request to be sent, and returns what was reported.
    pub(in crate::flow::tests) async fn order(
        &self,
        hold: HoldId,
        request: &HoldRequest,
    ) -> Result<StoredResponse, SendFailure> {
        self.say(FromApprover::Send(Box::new(order(hold, request)))).await;
        match self.hear().await {
            ToApprover::Sent { hold: sent, result } if sent == hold => result,
            other => panic!("not a report: {other:?}"),
        }
    }

    pub(in crate::flow::tests) async fn over(&self, ask: u64, hold: HoldId, ending: Ending) {
        self.say(FromApprover::Over { ask, hold, ending: Box::new(ending) }).await;
    }

    /// Dies.
    pub(in crate::flow::tests) async fn die(&self) {
        self.reader.abort();
        tokio::io::AsyncWriteExt::shutdown(&mut *self.writer.lock().await).await.unwrap();
    }
}

fn order(hold: HoldId, request: &HoldRequest) -> SendOrder {
    SendOrder {
        hold,
        agent: request.agent.clone(),
        destination: request.destination.clone(),
        request: request.request.clone(),
        digest: request.digest,
    }
}

pub(in crate::flow::tests) fn stored(status: u16, body: &'static str) -> StoredResponse {
    let headers = vec![Header { name: "x-kept".into(), value: b"yes".into() }];
    let body = Bytes::from_static(body.as_bytes());
    StoredResponse { status, headers, body, trailers: vec![], verified_name: None }
}

async fn listen(
    mut reader: ReadHalf<DuplexStream>,
    writer: Arc<Mutex<WriteHalf<DuplexStream>>>,
    mut acknowledging: watch::Receiver<bool>,
    records: mpsc::UnboundedSender<ExchangeRecord>,
    outcomes: mpsc::UnboundedSender<ExchangeOutcome>,
    heard: mpsc::UnboundedSender<ToApprover>,
) {
    let mut upto = 0;
    loop {
        let acknowledges = *acknowledging.borrow_and_update();
        if acknowledges {
            let recorded = FromApprover::Recorded { upto };
            if frame::write(&mut *writer.lock().await, &recorded).await.is_err() {
                return;
            }
        }
        // Frames must not be read half: only wait for the switch when nothing is being read.
        let Ok(message) = frame::read::<ToApprover>(&mut reader).await else { return };
        match message {
            ToApprover::Judged { seq, record } => {
                assert_eq!(seq, upto + 1, "records are numbered without gaps");
                upto = seq;
                let _ = records.send(*record);
            }
            ToApprover::Finished { seq, outcome } => {
                assert_eq!(seq, upto + 1, "records are numbered without gaps");
                upto = seq;
                let _ = outcomes.send(outcome);
            }
            ToApprover::Listening => {}
            other => drop(heard.send(other)),
        }
    }
}
