//! An upstream's answer on its way back: streamed, its connection given back at a clean end.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use ::http::response::Parts;
use ::http::{HeaderMap, Response};
use bytes::{Bytes, BytesMut};
use hyper::body::{Body, Frame, Incoming, SizeHint};

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

/// An answer that was read to its end.
pub enum Collected {
    /// All of it.
    Whole(StoredResponse),
    /// It is longer than `limit`: everything but the body.
    TooLong(StoredResponse),
}

impl Answer {
    /// An answer whose connection is kept with `lease`.
    pub fn new(response: Response<Incoming>, verified_name: Option<String>, lease: Option<Lease>) -> Self {
        let (mut head, incoming) = response.into_parts();
        strip_connection_fields(&mut head.headers);
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

    /// Reads the body to its end, keeping at most `limit` bytes of it.
    pub async fn collect(mut self, limit: usize) -> Result<Collected, UpstreamError> {
        let mut body = BytesMut::new();
        let mut whole = true;
        while let Some(frame) = next_frame(&mut self.body).await {
            let Ok(data) = frame.map_err(UpstreamError::BrokeOff)?.into_data() else { continue };
            whole &= body.len() + data.len() <= limit;
            if whole {
                body.extend_from_slice(&data);
            }
        }
        let headers = self.head.headers.iter();
        let stored = StoredResponse {
            status: self.head.status.as_u16(),
            headers: headers
                .map(|(name, value)| Header { name: name.as_str().into(), value: value.as_bytes().into() })
                .collect(),
            body: if whole { body.freeze() } else { Bytes::new() },
            verified_name: self.verified_name,
        };
        Ok(if whole { Collected::Whole(stored) } else { Collected::TooLong(stored) })
    }
}

async fn next_frame(body: &mut AnswerBody) -> Option<Result<Frame<Bytes>, hyper::Error>> {
    std::future::poll_fn(|cx| Pin::new(&mut *body).poll_frame(cx)).await
}

/// Takes out what concerned only the connection to the upstream.
fn strip_connection_fields(headers: &mut HeaderMap) {
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
        self.ended || self.incoming.is_end_stream()
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
