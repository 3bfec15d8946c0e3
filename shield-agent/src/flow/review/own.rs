//! `http://shield.internal/`: what an agent may know of its own holds, and the one thing it may do: withdraw.
//!
//! There is no word here that decides anything.

use std::sync::Arc;
use std::time::Duration;

use ::http::{HeaderValue, Response, StatusCode, header};
use bytes::Bytes;
use serde_json::json;
use tokio::time::{Instant, sleep};

use super::answers::OurAnswer;
use super::approver::Approver;
use super::recorder::Unrecorded;
use super::reply::Reply;
use crate::approval::view::HoldState;
use crate::flow::http::canonical::RequestHead;
use crate::ipc::approver::OwnHold;
use crate::names::{AgentName, HoldId};

/// How long a request for news waits if it does not say.
const USUAL_WAIT: Duration = Duration::from_secs(50);

/// The longest it may wait.
const LONGEST_WAIT: Duration = Duration::from_secs(240);

/// How often news are looked for meanwhile.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// Answers a request to the reserved name.
pub async fn answer(
    approver: &Arc<Approver>,
    agent: &AgentName,
    head: &RequestHead,
) -> Result<Response<Reply>, OurAnswer> {
    let mut words = head.path().trim_matches('/').split('/');
    let route = (head.method.as_str(), words.next().unwrap_or(""), words.next(), words.next(), words.next());
    match route {
        ("GET" | "HEAD", "", None, ..) => Ok(introduction(agent)),
        ("GET" | "HEAD", "holds", None, ..) => {
            let holds = approver.status(agent.clone(), None).await.ok_or_else(gone)?;
            Ok(reply(&json!({ "holds": holds })))
        }
        ("GET" | "HEAD", "holds", Some(id), None, _) => {
            one(approver.status(agent.clone(), Some(read_id(id)?)).await)
        }
        ("GET", "holds", Some(id), Some("wait"), None) => {
            wait(approver, agent, read_id(id)?, read_timeout(head.query())).await
        }
        ("DELETE", "holds", Some(id), None, _) => one(approver.withdraw(agent.clone(), read_id(id)?).await),
        _ => Err(OurAnswer::not_found()),
    }
}

/// Waits until a hold is over, or for `timeout`; answers where it stands.
async fn wait(
    approver: &Arc<Approver>,
    agent: &AgentName,
    hold: HoldId,
    timeout: Duration,
) -> Result<Response<Reply>, OurAnswer> {
    let deadline = Instant::now() + timeout;
    loop {
        let holds = approver.status(agent.clone(), Some(hold)).await;
        let open = |hold: &OwnHold| {
            matches!(hold.state, HoldState::Pending | HoldState::Approved | HoldState::Sending)
        };
        let undecided = holds.as_ref().and_then(|holds| holds.first()).is_some_and(open);
        if !undecided || Instant::now() >= deadline {
            return one(holds);
        }
        sleep(LOOK_EVERY).await;
    }
}

fn one(holds: Option<Vec<OwnHold>>) -> Result<Response<Reply>, OurAnswer> {
    let hold = holds.ok_or_else(gone)?.into_iter().next().ok_or_else(OurAnswer::not_found)?;
    Ok(reply(&json!(hold)))
}

fn introduction(agent: &AgentName) -> Response<Reply> {
    reply(&json!({
        "agent": agent,
        "about": "Risky requests of this agent wait here for a person. Nothing here approves anything.",
        "holds": "/holds",
        "hold": "/holds/{id}",
        "wait": "/holds/{id}/wait?timeout=50",
        "withdraw": "DELETE /holds/{id}",
        "collect": "repeat the identical request: it is not executed twice",
    }))
}

fn reply(value: &serde_json::Value) -> Response<Reply> {
    let mut response = Response::new(Bytes::from(format!("{value}\n")));
    *response.status_mut() = StatusCode::OK;
    let fields = response.headers_mut();
    fields.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    fields.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Reply::ours(response)
}

fn gone() -> OurAnswer {
    OurAnswer::unrecorded(&Unrecorded::Gone)
}

fn read_id(text: &str) -> Result<HoldId, OurAnswer> {
    text.parse().map(HoldId).map_err(|_| OurAnswer::not_found())
}

fn read_timeout(query: &str) -> Duration {
    let value = query.split('&').find_map(|pair| pair.strip_prefix("timeout="));
    let seconds = value.and_then(|value| value.trim_end_matches('s').parse().ok());
    seconds.map_or(USUAL_WAIT, Duration::from_secs).min(LONGEST_WAIT)
}
