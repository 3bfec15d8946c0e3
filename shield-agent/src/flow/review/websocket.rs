//! WebSockets between verdict and wire: the handshake is a request like any other, and the stream is handed to its
//! connection when both sides have agreed.
//!
//! A held one is opened only while its program waits: an approved handshake nobody waits for is refused, not sent. What
//! is said over an open WebSocket is not judged.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use ::http::{HeaderMap, HeaderValue, Response, StatusCode, header};
use bytes::Bytes;
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;

use super::answers::OurAnswer;
use super::outcome::Outcome;
use super::reply::Reply;
use super::via::Via;
use crate::flow::upstream::websocket::Opening;
use crate::names::{AgentName, Digest};

/// An open WebSocket's far side.
pub struct Opened {
    /// The destination.
    pub stream: TokioIo<Upgraded>,
    /// Its record, closed when it ends.
    pub outcome: Outcome,
}

/// The answer to a handshake that was let pass; when the WebSocket is open, the connection goes on with it.
pub(super) fn answer(via: &Via, opening: Opening, mut outcome: Outcome) -> Response<Reply> {
    match opening {
        Opening::Answered(answer) => Reply::passing(answer, outcome),
        Opening::Switched(fields, stream) => {
            outcome.answered(StatusCode::SWITCHING_PROTOCOLS.as_u16());
            via.go_on_with(Opened { stream, outcome });
            switching(fields)
        }
    }
}

/// The answer that hands the connection over.
fn switching(fields: HeaderMap) -> Response<Reply> {
    let mut response = Reply::ours(Response::new(Bytes::new()));
    *response.headers_mut() = fields;
    agree(&mut response);
    response
}

/// Makes a response the answer that hands its connection over.
fn agree(response: &mut Response<Reply>) {
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
    response.headers_mut().insert(header::UPGRADE, HeaderValue::from_static("websocket"));
}

/// Connections that wait for an approved WebSocket, by what they asked for.
#[derive(Default)]
pub struct Waiting(Mutex<HashMap<Asked, Place>>);

type Asked = (AgentName, Digest);

#[derive(Default)]
struct Place {
    waiting: usize,
    opened: Option<Opened>,
}

impl Waiting {
    /// A connection waits from now until the result is dropped.
    pub fn begin(self: &Arc<Self>, agent: &AgentName, digest: Digest) -> Waiter {
        let asked = (agent.clone(), digest);
        self.lock().entry(asked.clone()).or_default().waiting += 1;
        Waiter { waiting: Arc::clone(self), asked }
    }

    /// Whether anyone waits.
    pub fn any(&self, agent: &AgentName, digest: Digest) -> bool {
        self.lock().contains_key(&(agent.clone(), digest))
    }

    /// Gives an open WebSocket to whoever waits; to nobody, and it closes.
    pub fn give(&self, agent: &AgentName, digest: Digest, opened: Opened) {
        if let Some(place) = self.lock().get_mut(&(agent.clone(), digest)) {
            place.opened = Some(opened);
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Asked, Place>> {
        // Nothing panics while holding the lock.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// See [`Waiting::begin`].
pub struct Waiter {
    waiting: Arc<Waiting>,
    asked: Asked,
}

impl Waiter {
    /// Hands the connection over if it was this one's turn, once the answer says that the WebSocket is open.
    pub(super) fn hand_over(
        self,
        via: &Via,
        mut response: Response<Reply>,
    ) -> Result<Response<Reply>, OurAnswer> {
        if response.status() != StatusCode::SWITCHING_PROTOCOLS {
            return Ok(response);
        }
        let opened = self.waiting.lock().get_mut(&self.asked).and_then(|place| place.opened.take());
        via.go_on_with(opened.ok_or_else(OurAnswer::opened_for_another)?);
        agree(&mut response);
        Ok(response)
    }
}

impl Drop for Waiter {
    fn drop(&mut self) {
        let mut places = self.waiting.lock();
        if let Some(place) = places.get_mut(&self.asked) {
            place.waiting -= 1;
            if place.waiting == 0 {
                places.remove(&self.asked);
            }
        }
    }
}
