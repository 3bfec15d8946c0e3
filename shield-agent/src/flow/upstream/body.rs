//! A request's body on its way out: whole, or streaming through untouched.

use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use hyper::body::{Body, Frame, Incoming, SizeHint};

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
    content: Content,
    sent: Sent,
}

enum Content {
    Whole(Option<Bytes>),
    Streaming {
        /// What was read before it was decided to send anything.
        first: Option<Bytes>,
        rest: Incoming,
    },
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
    /// A body that is known.
    pub fn whole(body: Bytes, sent: Sent) -> Self {
        Self { content: Content::Whole(Some(body).filter(|body| !body.is_empty())), sent }
    }

    /// A body that passes as it comes; `first` was read already.
    pub fn streaming(first: Option<Bytes>, rest: Incoming, sent: Sent) -> Self {
        Self { content: Content::Streaming { first, rest }, sent }
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
        let data = match &mut self.content {
            Content::Whole(body) => body.take(),
            Content::Streaming { first: first @ Some(_), .. } => first.take(),
            Content::Streaming { rest, .. } => match ready!(Pin::new(rest).poll_frame(cx)).map(as_data) {
                None => None,
                Some(Ok(data)) => Some(data),
                Some(Err(error)) => {
                    // A body fails once: nothing was said before.
                    let _ = self.sent.0.unsendable.set(error.to_string());
                    return Poll::Ready(Some(Err(error)));
                }
            },
        };
        Poll::Ready(data.map(|data| {
            self.sent.add(data.len());
            Ok(Frame::data(data))
        }))
    }

    fn is_end_stream(&self) -> bool {
        match &self.content {
            Content::Whole(body) => body.is_none(),
            Content::Streaming { first, rest } => first.is_none() && rest.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.content {
            Content::Whole(body) => SizeHint::with_exact(body.as_ref().map_or(0, Bytes::len) as u64),
            Content::Streaming { first, rest } => {
                let first = first.as_ref().map_or(0, Bytes::len) as u64;
                let rest = rest.size_hint();
                let mut hint = SizeHint::new();
                hint.set_lower(first + rest.lower());
                if let Some(upper) = rest.upper() {
                    hint.set_upper(first + upper);
                }
                hint
            }
        }
    }
}
