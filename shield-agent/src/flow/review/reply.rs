//! The body an agent receives: ours, or the destination's with the record of its exchange.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use ::http::header::{CONNECTION, CONTENT_LENGTH};
use ::http::request::Parts;
use ::http::{HeaderMap, HeaderName, HeaderValue, Method, Response, StatusCode, Version};
use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};

use super::outcome::Outcome;
use crate::flow::http::canonical::Header;
use crate::flow::http::parse::offers_upgrade;
use crate::flow::upstream::answer::{Answer, AnswerBody};
use crate::ipc::approver::StoredResponse;

/// See the module.
pub enum Reply {
    /// Ours, or an answer that was kept: what is left of its body and of the fields behind it.
    Ready(Option<Bytes>, Option<HeaderMap>),
    /// Streams from the destination.
    Passing(Box<Passing>),
}

/// An answer on its way through.
pub struct Passing {
    body: AnswerBody,
    outcome: Outcome,
    /// How it broke off, told at the next look.
    broke: Option<hyper::Error>,
}

impl Reply {
    /// Passes an answer on as it comes; its outcome is recorded when it ends or is dropped.
    pub fn passing(answer: Answer, mut outcome: Outcome) -> Response<Self> {
        outcome.answered(answer.status());
        let (head, body) = answer.into_parts();
        let mut response = Response::new(Self::Passing(Box::new(Passing { body, outcome, broke: None })));
        (*response.status_mut(), *response.headers_mut()) = (head.status, head.headers);
        // How it spelled its fields and its status: a program may know only one spelling.
        *response.extensions_mut() = head.extensions;
        response
    }

    /// An answer made here.
    pub fn ours(response: Response<Bytes>) -> Response<Self> {
        response.map(|body| Self::Ready(Some(body).filter(|body| !body.is_empty()), None))
    }

    /// The answer as it is given to this request: to `HEAD` without its body, which HTTP/2 clients would take for an
    /// error; to an offer to change the protocol that comes to nothing, as the last one on its connection.
    pub fn to(request: &Parts, mut response: Response<Self>) -> Response<Self> {
        let switches = response.status() == StatusCode::SWITCHING_PROTOCOLS;
        if request.version < Version::HTTP_2 && offers_upgrade(request) && !switches {
            response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
        }
        if let (&Method::HEAD, Self::Ready(body, _)) = (&request.method, response.body()) {
            if let Some(length) = body.as_ref().map(|body| body.len().into()) {
                response.headers_mut().entry(CONTENT_LENGTH).or_insert(length);
            }
            *response.body_mut() = Self::Ready(None, None);
        }
        response
    }

    /// An answer that was kept.
    pub fn stored(stored: StoredResponse) -> Response<Self> {
        let body = Some(stored.body).filter(|body| !body.is_empty());
        let trailers = Some(header_map(stored.trailers)).filter(|trailers| !trailers.is_empty());
        let mut response = Response::new(Self::Ready(body, trailers));
        *response.status_mut() = StatusCode::from_u16(stored.status).unwrap_or(StatusCode::BAD_GATEWAY);
        *response.headers_mut() = header_map(stored.headers);
        response
    }
}

/// Fields that cannot be written are left out: they were read from HTTP, so there are none.
fn header_map(fields: Vec<Header>) -> HeaderMap {
    let field = |field: Header| {
        let name = HeaderName::from_bytes(field.name.as_bytes()).ok()?;
        Some((name, HeaderValue::from_bytes(&field.value).ok()?))
    };
    let mut headers = HeaderMap::with_capacity(fields.len());
    for (name, value) in fields.into_iter().filter_map(field) {
        headers.append(name, value);
    }
    headers
}

impl Body for Reply {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        match self.get_mut() {
            Self::Ready(body, trailers) => {
                let data = body.take().map(Frame::data);
                Poll::Ready(data.or_else(|| trailers.take().map(Frame::trailers)).map(Ok))
            }
            Self::Passing(passing) => passing.poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Ready(body, trailers) => body.is_none() && trailers.is_none(),
            Self::Passing(passing) => passing.body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            // A length would be written into the head, which had none.
            Self::Ready(_, Some(_)) => SizeHint::default(),
            Self::Ready(body, None) => SizeHint::with_exact(body.as_ref().map_or(0, Bytes::len) as u64),
            Self::Passing(passing) => passing.body.size_hint(),
        }
    }
}

impl Passing {
    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        if let Some(error) = self.broke.take() {
            return Poll::Ready(Some(Err(error)));
        }
        let frame = ready!(Pin::new(&mut self.body).poll_frame(cx));
        match frame {
            Some(Ok(frame)) => {
                self.outcome.received(frame.data_ref().map_or(0, Bytes::len));
                Poll::Ready(Some(Ok(frame)))
            }
            Some(Err(error)) => {
                self.outcome.failed(format!("the destination's answer broke off: {error}"));
                // At an error the server drops what it did not write yet, the head even; when it has to wait, it writes.
                self.broke = Some(error);
                cx.waker().wake_by_ref();
                Poll::Pending
            }
            None => Poll::Ready(None),
        }
    }
}

impl Drop for Passing {
    fn drop(&mut self) {
        if self.body.is_whole() {
            self.outcome.whole();
        }
    }
}
