//! Carrying out the approver's orders: an approved request is sent once, and what became of it is always reported.

use std::sync::Arc;
use std::time::Duration;

use ::http::StatusCode;
use bytes::Bytes;

use super::approver::Approver;
use super::outcome::Outcome;
use super::websocket::Opened;
use crate::approval::permit::Permit;
use crate::flow::http::canonical::{Header, Scheme};
use crate::flow::http::spelling::Spelling;
use crate::flow::services::Services;
use crate::flow::upstream::Outbound;
use crate::flow::upstream::answer::{Answer, Collected, fields_of};
use crate::flow::upstream::body::{Outgoing, Sent};
use crate::flow::upstream::error::UpstreamError;
use crate::flow::upstream::websocket::Opening;
use crate::ipc::approver::{SendFailure, SendOrder, StoredResponse};
use crate::names::{AgentName, Digest, ExchangeId, HoldId};

/// Longest answer that is kept for collection, bytes.
const KEPT_ANSWER: usize = 8 << 20;

/// How long the body of an answer may take.
const ANSWER_WITHIN: Duration = Duration::from_secs(600);

/// Sends what was ordered and reports how it ended, also when this future is dropped half-way.
pub async fn carry_out(services: &Services, order: SendOrder) {
    let mut report = Report { approver: Arc::clone(&services.approver), hold: order.hold, result: None };
    report.result = Some(send(services, order).await);
}

struct Report {
    approver: Arc<Approver>,
    hold: HoldId,
    result: Option<Result<StoredResponse, SendFailure>>,
}

impl Drop for Report {
    fn drop(&mut self) {
        let stopped = || Err(SendFailure::Unknown("the worker stopped while it was sending".to_owned()));
        self.approver.sent(self.hold, self.result.take().unwrap_or_else(stopped));
    }
}

async fn send(services: &Services, order: SendOrder) -> Result<StoredResponse, SendFailure> {
    let permit = Permit::by_reviewer(&order).map_err(|altered| SendFailure::NotSent(altered.to_string()))?;
    let (asked, id) = ((order.agent, order.digest), ExchangeId(order.hold.0));
    let head = order.request.head;
    let opens_websocket = head.opens_websocket();
    let outbound = Box::new(Outbound {
        head,
        body_digest: Some(Digest::of(&order.request.body)),
        body: Outgoing::whole(order.request.body, Sent::default()),
        spelling: Spelling::default(),
        // Not stored; what has to be HTTP/2 is seen from its head.
        knows_h2: false,
    });
    if opens_websocket {
        return open_websocket(services, (permit, outbound), asked, id).await;
    }
    let sent = services.upstream.send(permit, outbound).await;
    keep(sent.map_err(|failed| failure(failed.why))?).await
}

/// Opens a WebSocket for the connection that waits for it. Its hold is over with the handshake; how it ends is recorded
/// as an exchange of its own.
async fn open_websocket(
    services: &Services,
    (permit, outbound): (Permit, Box<Outbound>),
    (agent, digest): (AgentName, Digest),
    id: ExchangeId,
) -> Result<StoredResponse, SendFailure> {
    if !services.websockets.any(&agent, digest) {
        let why = "the program did not wait for its WebSocket any longer".to_owned();
        return Err(SendFailure::NotSent(why));
    }
    let verified_name = (outbound.head.scheme == Scheme::Https).then(|| outbound.head.host.clone());
    let opening = services.upstream.open_websocket(permit, outbound).await;
    match opening.map_err(|failed| failure(failed.why))? {
        Opening::Answered(answer) => keep(answer).await,
        Opening::Switched(fields, stream) => {
            let status = StatusCode::SWITCHING_PROTOCOLS.as_u16();
            let mut outcome = Outcome::begin(Arc::clone(&services.approver), id);
            outcome.answered(status);
            services.websockets.give(&agent, digest, Opened { stream, outcome });
            let (headers, trailers) = (fields_of(&fields), Vec::new());
            Ok(StoredResponse { status, headers, body: Bytes::new(), trailers, verified_name })
        }
    }
}

async fn keep(answer: Answer) -> Result<StoredResponse, SendFailure> {
    match answer.collect(KEPT_ANSWER, ANSWER_WITHIN).await.map_err(failure)? {
        Collected::Whole(stored) => Ok(stored),
        Collected::HeadOnly(stored, why) => Ok(without_body(stored, &why)),
    }
}

fn failure(error: UpstreamError) -> SendFailure {
    match error.may_have_arrived() {
        true => SendFailure::Unknown(error.to_string()),
        false => SendFailure::NotSent(error.to_string()),
    }
}

/// The real status and fields, with words of ours in place of a body that is not kept.
fn without_body(mut stored: StoredResponse, why: &str) -> StoredResponse {
    const ABOUT_THE_BODY: [&str; 7] = [
        "accept-ranges",
        "content-encoding",
        "content-length",
        "content-md5",
        "content-range",
        "content-type",
        "etag",
    ];
    stored.headers.retain(|header| !ABOUT_THE_BODY.contains(&header.name.as_str()));
    let media_type = Header { name: "content-type".into(), value: b"text/plain; charset=utf-8".into() };
    stored.headers.push(media_type);
    let text = format!(
        "agent.shield sent the approved request and the destination answered {}, but the body of the answer was not kept: \
         {why}. The request WAS executed as far as this status says. Do not send it again.\n",
        stored.status
    );
    stored.body = text.into();
    stored
}
