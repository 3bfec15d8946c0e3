//! Worker ⇄ approver: records, holds, and the sends that only the approver can order.

use std::time::Duration;

use bytes::Bytes;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::approval::view::HoldState;
use crate::flow::http::canonical::{CanonicalRequest, Header, RequestHead};
use crate::flow::inspect::action::Action;
use crate::flow::origin::{Caller, Destination};
use crate::flow::policy::verdict::Judgement;
use crate::names::{AgentName, Digest, ExchangeId, HoldId};

/// Records that may be on their way to the journal before the worker has to wait: when this many are not yet
/// acknowledged by `FromApprover::Recorded`, traffic waits.
pub const RECORD_WINDOW: u64 = 1024;

/// What the worker can say. There is no word for "approved".
#[derive(Debug, Serialize, Deserialize)]
pub enum ToApprover {
    /// First word of a worker: it takes orders from now on.
    Listening,
    /// An exchange was judged by rule. `seq` counts records from 1 without gaps.
    Judged {
        /// Number of the record.
        seq: u64,
        /// The exchange.
        record: Box<ExchangeRecord>,
    },
    /// An exchange that was allowed has ended. Counts in the same sequence.
    Finished {
        /// Number of the record.
        seq: u64,
        /// How it ended.
        outcome: ExchangeOutcome,
    },
    /// Hold this request, or join the hold it repeats.
    Hold {
        /// The worker's number for this question; answers carry it.
        ask: u64,
        /// The request and why it is held.
        request: Box<HoldRequest>,
    },
    /// Whoever waited for `ask` is no longer waiting (the pending answer was given, or the agent hung up).
    StoppedWaiting {
        /// Which question.
        ask: u64,
    },
    /// How an ordered send ended.
    Sent {
        /// The hold.
        hold: HoldId,
        /// The answer, or why there is none.
        result: Result<StoredResponse, SendFailure>,
    },
    /// What an agent may know of its own holds (`http://shield.internal`).
    Status {
        /// The worker's number for this question.
        ask: u64,
        /// Whose holds.
        agent: AgentName,
        /// One hold, or all of the agent's when `None`.
        hold: Option<HoldId>,
    },
    /// An agent withdraws a hold of its own.
    Withdraw {
        /// The worker's number for this question; answered like `Status`.
        ask: u64,
        /// Whose hold.
        agent: AgentName,
        /// Which.
        hold: HoldId,
    },
    /// A program refused our certificate.
    Distrusted(Box<Distrust>),
    /// Questions about names were refused. Counts in the same sequence as `Judged`.
    NamesRefused {
        /// Number of the record.
        seq: u64,
        /// The questions.
        record: Box<NamesRefused>,
    },
}

/// A program that would not speak TLS with us because of our certificate.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Distrust {
    /// Whose.
    pub agent: AgentName,
    /// Path of the program; empty where it could not be told.
    pub program: String,
    /// Name the certificate was for.
    pub name: String,
    /// What it said: the number of TLS's alert; `None` when it leaves each time after the handshake.
    pub alert: Option<u8>,
}

/// What the approver can say.
#[derive(Debug, Serialize, Deserialize)]
pub enum FromApprover {
    /// Every record up to and including this number is durable.
    Recorded {
        /// Highest durable number.
        upto: u64,
    },
    /// The journal cannot be written: nothing may leave until `Recorded` is heard again.
    Stopped {
        /// Why, for the agent and the operator: the act, the thing and the remedy.
        reason: String,
    },
    /// The hold is durable (or was joined); now it waits for a reviewer.
    Held {
        /// Which question.
        ask: u64,
        /// The hold.
        hold: HoldId,
        /// When it expires.
        expires_at: Timestamp,
    },
    /// The hold was not taken: too many are pending, or the store cannot be written.
    NotHeld {
        /// Which question.
        ask: u64,
        /// Why, for the agent.
        reason: String,
    },
    /// The hold is over; this is what the agent gets. Also the answer to a question that joins a finished hold.
    Over {
        /// Which question.
        ask: u64,
        /// The hold.
        hold: HoldId,
        /// How it ended.
        ending: Box<Ending>,
    },
    /// Send this request upstream, now, once. The intent is durable. The worker hashes it again first.
    Send(Box<SendOrder>),
    /// Answer to `Status` and `Withdraw`.
    Statuses {
        /// Which question.
        ask: u64,
        /// The agent's holds; empty when there is none by that id.
        holds: Vec<OwnHold>,
    },
}

/// An exchange as it is journalled when it was judged by rule.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExchangeRecord {
    /// Its id.
    pub exchange: ExchangeId,
    /// The agent.
    pub agent: AgentName,
    /// Who asked.
    pub caller: Caller,
    /// Where it goes.
    pub destination: Destination,
    /// The request without its header fields; `None` for an opaque connection or one that broke before HTTP.
    pub request: Option<RequestLine>,
    /// What it means.
    pub action: Option<Action>,
    /// The verdict and why.
    pub judgement: Judgement,
    /// Digest of the canonical request, of its head only when the body streams.
    pub digest: Option<Digest>,
}

/// Questions about names that were refused for the same reason within a while, or would have been in `mode: observe`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NamesRefused {
    /// Who asked.
    pub agent: AgentName,
    /// The domain the names are below.
    pub parent: String,
    /// The first of the names.
    pub name: String,
    /// The type of record it was asked for.
    pub kind: String,
    /// How many questions.
    pub questions: u64,
    /// Why.
    pub judgement: Judgement,
}

/// Method and URL.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RequestLine {
    /// Method.
    pub method: String,
    /// Absolute URL.
    pub url: String,
}

impl From<&RequestHead> for RequestLine {
    fn from(head: &RequestHead) -> Self {
        Self { method: head.method.clone(), url: head.url() }
    }
}

/// How an allowed exchange ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExchangeOutcome {
    /// Which exchange.
    pub exchange: ExchangeId,
    /// Status of the answer; `None` when there was none.
    pub status: Option<u16>,
    /// Bytes of the request's body that were sent.
    pub sent: u64,
    /// Bytes of the answer's body that were passed on.
    pub received: u64,
    /// From judging to the end.
    pub took: Duration,
    /// Why it failed, when it did.
    pub error: Option<String>,
}

/// A request to hold.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HoldRequest {
    /// The exchange that asks.
    pub exchange: ExchangeId,
    /// The agent.
    pub agent: AgentName,
    /// Who asked.
    pub caller: Caller,
    /// Where it goes; the name is verified at the latest when it is sent.
    pub destination: Destination,
    /// The request, whole.
    pub request: CanonicalRequest,
    /// What it means.
    pub action: Action,
    /// The verdict and why.
    pub judgement: Judgement,
    /// Digest of `request`; the approver computes its own and refuses a difference.
    pub digest: Digest,
}

/// The order to send an approved request.
#[derive(Debug, Serialize, Deserialize)]
pub struct SendOrder {
    /// The hold.
    pub hold: HoldId,
    /// The agent whose request it is.
    pub agent: AgentName,
    /// Where it goes, as it was shown.
    pub destination: Destination,
    /// The request, from the store, volatile fields refreshed by the latest retry.
    pub request: CanonicalRequest,
    /// Digest that was approved.
    pub digest: Digest,
}

/// An answer kept for collection.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoredResponse {
    /// HTTP status.
    pub status: u16,
    /// End-to-end header fields.
    pub headers: Vec<Header>,
    /// Body.
    pub body: Bytes,
    /// Fields behind the body: gRPC tells there how a call ended.
    pub trailers: Vec<Header>,
    /// Name the upstream's certificate was verified for.
    pub verified_name: Option<String>,
}

/// Why an ordered send has no answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum SendFailure {
    /// Nothing left this host: the reason. The hold becomes `refused`.
    NotSent(String),
    /// Something may have arrived: the reason. The hold becomes `outcome-unknown`.
    Unknown(String),
}

/// How a hold ended, for the agent that waits on it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Ending {
    /// Sent; this is the real answer.
    Done(StoredResponse),
    /// A reviewer said no.
    Denied {
        /// Who.
        by: String,
        /// Their words; may be empty.
        reason: String,
    },
    /// Nobody decided in time.
    Expired,
    /// The agent withdrew it.
    Cancelled,
    /// Approved but not sent, and why.
    Refused(String),
    /// Sent or half sent, and no answer was recorded.
    OutcomeUnknown(String),
}

/// What an agent may know of its own hold.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OwnHold {
    /// Id.
    pub id: HoldId,
    /// Where it is in its life.
    pub state: HoldState,
    /// Method and URL.
    pub request: RequestLine,
    /// Why it was held.
    pub why: String,
    /// When it expires undecided.
    pub expires_at: Timestamp,
    /// The reviewer's words; empty when there are none.
    pub reason: String,
}
