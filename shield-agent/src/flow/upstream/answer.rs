//! An upstream's answer on its way back: streamed, its connection given back at a clean end.

use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use ::http::header::ALT_SVC;
use ::http::response::Parts;
use ::http::{HeaderMap, HeaderName, HeaderValue, Response};
use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use tokio::time::timeout;

use super::error::UpstreamError;
use super::pool::Lease;
use crate::flow::http::canonical::Header;
use crate::flow::http::parse::{connection_options, is_hop_by_hop};
use crate::ipc::approver::StoredResponse;

/// See the module.
pub struct Answer {
    head: Parts,
    body: AnswerBody,
    verified_name: Option<String>,
}

/// The body of an answer.
pub struct AnswerBody {
    incoming: Incoming,
    lease: Option<Lease>,
    ended: bool,
}

/// An answer as far as it was read.
pub enum Collected {
    /// All of it.
    Whole(StoredResponse),
    /// Everything but the body, and why that is not kept.
    HeadOnly(StoredResponse, String),
}

impl Answer {
    /// An answer whose connection is kept with `lease`.
    pub fn new(response: Response<Incoming>, verified_name: Option<String>, lease: Option<Lease>) -> Self {
        let (mut head, incoming) = response.into_parts();
        strip_connection_fields(&mut head.headers);
        // Another way to the same service is one that leads around what was judged: HTTP/3 is refused by the kernel, and
        // any other would be at a host and port of the upstream's choice.
        head.headers.remove(ALT_SVC);
        Self { head, body: AnswerBody { incoming, lease, ended: false }, verified_name }
    }

    /// HTTP status.
    pub fn status(&self) -> u16 {
        self.head.status.as_u16()
    }

    /// The end-to-end head, and the body.
    pub fn into_parts(self) -> (Parts, AnswerBody) {
        (self.head, self.body)
    }

    /// Reads the body to its end; gives up on it when it is longer than `limit` bytes or takes longer than `within`.
    pub async fn collect(mut self, limit: usize, within: Duration) -> Result<Collected, UpstreamError> {
        let ((body, trailers), why) = match timeout(within, read_body(&mut self.body, limit)).await {
            Ok(Ok(Some(whole))) => (whole, None),
            Ok(Ok(None)) => (Default::default(), Some(format!("it is longer than {limit} bytes"))),
            Ok(Err(error)) => return Err(UpstreamError::BrokeOff(error)),
            Err(_elapsed) => (Default::default(), Some(format!("it did not end within {within:?}"))),
        };
        let (status, headers) = (self.head.status.as_u16(), fields_of(&self.head.headers));
        let stored = StoredResponse { status, headers, body, trailers, verified_name: self.verified_name };
        Ok(match why {
            None => Collected::Whole(stored),
            Some(why) => Collected::HeadOnly(stored, why),
        })
    }
}

/// Fields as they are stored.
pub fn fields_of(headers: &HeaderMap) -> Vec<Header> {
    let field = |(name, value): (&HeaderName, &HeaderValue)| Header {
        name: name.as_str().into(),
        value: value.as_bytes().into(),
    };
    headers.iter().map(field).collect()
}

/// The whole body and the fields behind it, or `None` when it is longer than `limit`.
async fn read_body(
    body: &mut AnswerBody,
    limit: usize,
) -> Result<Option<(Bytes, Vec<Header>)>, hyper::Error> {
    let (mut whole, mut trailers) = (BytesMut::new(), Vec::new());
    while let Some(frame) = body.frame().await {
        match frame?.into_data() {
            Ok(data) if whole.len() + data.len() > limit => return Ok(None),
            Ok(data) => whole.extend_from_slice(&data),
            Err(frame) => trailers.extend(frame.trailers_ref().iter().flat_map(|fields| fields_of(fields))),
        }
    }
    Ok(Some((whole.freeze(), trailers)))
}

/// Takes out what concerned only the connection to the upstream.
pub(super) fn strip_connection_fields(headers: &mut HeaderMap) {
    let listed = connection_options(headers);
    let hop_by_hop = headers.keys().filter(|name| is_hop_by_hop(name.as_str())).cloned().collect::<Vec<_>>();
    for name in hop_by_hop.into_iter().chain(listed) {
        headers.remove(name);
    }
}

impl Body for AnswerBody {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let frame = ready!(Pin::new(&mut self.incoming).poll_frame(cx));
        self.ended |= frame.is_none();
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.incoming.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.incoming.size_hint()
    }
}

impl AnswerBody {
    /// Whether all of it was passed on.
    pub fn is_whole(&self) -> bool {
        // Over HTTP/2 the end may come after the last byte of a known length, and nobody waits for it.
        self.ended || self.incoming.is_end_stream() || self.incoming.size_hint().exact() == Some(0)
    }
}

impl Drop for AnswerBody {
    fn drop(&mut self) {
        if self.is_whole()
            && let Some(lease) = self.lease.take()
        {
            lease.give_back();
        }
    }
}
