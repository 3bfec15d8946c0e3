//! One connection to an upstream, whichever HTTP it speaks.

use hyper::body::Incoming;
use hyper::client::conn::{http1, http2};
use hyper::{Request, Response};

use super::adapt;
use super::body::Outgoing;
use super::error::UpstreamError;

/// The sending half of a connection.
pub enum Connection {
    /// HTTP/1.1: one request at a time.
    H1(http1::SendRequest<Outgoing>),
    /// HTTP/2: many at once.
    H2(http2::SendRequest<Outgoing>),
}

/// A request without an answer.
pub struct Unanswered {
    /// Why.
    pub error: hyper::Error,
    /// The request itself, when not a byte of it was written.
    pub unwritten: Option<Box<Request<Outgoing>>>,
}

impl From<Unanswered> for UpstreamError {
    fn from(unanswered: Unanswered) -> Self {
        match unanswered.unwritten {
            Some(_) => Self::NotWritten(unanswered.error),
            None => Self::Exchange(unanswered.error),
        }
    }
}

impl Connection {
    /// Writes a request and waits for the head of its answer.
    pub async fn send(
        &mut self,
        mut message: Box<Request<Outgoing>>,
    ) -> Result<Response<Incoming>, Unanswered> {
        let h2 = matches!(self, Self::H2(_));
        // Kept whole so that a message which comes back can go out again over the other kind of connection.
        let uri = message.uri().clone();
        adapt(&mut message, h2);
        let answer = match self {
            Self::H1(sender) => sender.try_send_request(*message).await,
            Self::H2(sender) => sender.try_send_request(*message).await,
        };
        answer.map_err(|mut failed| {
            let unwritten = failed.take_message().map(|mut message| {
                *message.uri_mut() = uri;
                Box::new(message)
            });
            Unanswered { error: failed.into_error(), unwritten }
        })
    }
}
