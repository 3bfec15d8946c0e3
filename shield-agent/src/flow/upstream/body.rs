//! A request's body on its way out: whole, or streaming through untouched.

use std::mem;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};

use crate::flow::http::body::Intake;

/// What was handed to the upstream connection: of a request's body, or of what follows a handshake.
#[derive(Clone, Debug, Default)]
pub struct Sent(Arc<Progress>);

#[derive(Debug, Default)]
struct Progress {
    bytes: AtomicU64,
    unsendable: OnceLock<String>,
}

impl Sent {
    /// How many bytes so far.
    pub fn bytes(&self) -> u64 {
        self.0.bytes.load(Ordering::Relaxed)
    }

    /// So many more.
    pub fn add(&self, bytes: usize) {
        self.0.bytes.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    /// Why the rest cannot be sent, when the agent is the reason.
    pub fn unsendable(&self) -> Option<&str> {
        self.0.unsendable.get().map(String::as_str)
    }
}

/// See the module.
pub struct Outgoing {
    /// What is left to send.
    left: Intake,
    sent: Sent,
}

/// Why a body cannot be sent on.
#[derive(Debug, thiserror::Error)]
pub enum BodyError {
    /// The agent broke off.
    #[error("the request's body broke off")]
    Broken(#[source] hyper::Error),
    /// Nothing may follow a body.
    #[error("trailers in a request are not passed on")]
    Trailers,
}

impl Outgoing {
    /// A body as far as it was read, and then as it comes.
    pub fn new(left: Intake, sent: Sent) -> Self {
        Self { left, sent }
    }

    /// A body that is known.
    pub fn whole(body: Bytes, sent: Sent) -> Self {
        Self::new(Intake::Whole(body), sent)
    }

    /// The body, when nothing of it was sent.
    pub fn unsent(self) -> Intake {
        self.left
    }
}

fn as_data(frame: Result<Frame<Bytes>, hyper::Error>) -> Result<Bytes, BodyError> {
    frame.map_err(BodyError::Broken)?.into_data().map_err(|_trailers| BodyError::Trailers)
}

impl Body for Outgoing {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let data = match &mut self.left {
            Intake::Whole(read) => Some(mem::take(read)).filter(|read| !read.is_empty()),
            Intake::Streaming { first: first @ Some(_), .. } => first.take(),
            Intake::TooLong { beginning, .. } if !beginning.is_empty() => Some(mem::take(beginning)),
            Intake::Streaming { rest, .. } | Intake::TooLong { rest, .. } => {
                match ready!(Pin::new(rest).poll_frame(cx)).map(as_data) {
                    None => None,
                    Some(Ok(data)) => Some(data),
                    Some(Err(error)) => {
                        // A body fails once: nothing was said before.
                        let _ = self.sent.0.unsendable.set(error.to_string());
                        return Poll::Ready(Some(Err(error)));
                    }
                }
            }
        };
        Poll::Ready(data.map(|data| {
            self.sent.add(data.len());
            Ok(Frame::data(data))
        }))
    }

    fn is_end_stream(&self) -> bool {
        self.left.beginning().is_empty() && self.left.rest().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        let read = self.left.beginning().len() as u64;
        let Some(rest) = self.left.rest().map(Body::size_hint) else { return SizeHint::with_exact(read) };
        let mut hint = SizeHint::new();
        hint.set_lower(read + rest.lower());
        if let Some(upper) = rest.upper() {
            hint.set_upper(read + upper);
        }
        hint
    }
}
