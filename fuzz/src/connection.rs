//! A connection in memory: what one side sent arrives in pieces, what is written to it is thrown away or kept.
//!
//! It never waits for anything: after the last piece comes the end.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{Request, Response};
use hyper::body::Incoming;
use shield_agent::flow::http::body::Intake;
use shield_agent::flow::http::canonical::{RequestHead, Scheme};
use shield_agent::flow::http::guard::Refused;
use shield_agent::flow::http::parse::{Channel, canonical_head};
use shield_agent::flow::http::serve;
use shield_agent::flow::http::unclear::Unclear;
use shield_agent::flow::limits::HttpLimits;
use shield_agent::flow::review::reply::Reply;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_util::sync::CancellationToken;

/// Longest body that is read.
const MAX_BODY: u64 = 1 << 20;

/// How often a client that waits for its answers is looked at before it leaves.
const TURNS: usize = 8;

/// Bytes that arrive in pieces: `sizes` in turn, the last one again and again.
#[derive(Debug)]
pub struct Pieces {
    left: Bytes,
    sizes: Vec<usize>,
    next: usize,
    turns: usize,
}

impl Pieces {
    /// All at once.
    pub fn whole(bytes: &[u8]) -> Self {
        Self::new(bytes, &[usize::MAX])
    }

    /// Cut into `sizes`, none of them zero.
    pub fn new(bytes: &[u8], sizes: &[usize]) -> Self {
        Self { left: Bytes::copy_from_slice(bytes), sizes: sizes.to_vec(), next: 0, turns: 0 }
    }

    /// From a client that stays for its answers: who leaves at once gets none.
    fn staying(self) -> Self {
        Self { turns: TURNS, ..self }
    }

    /// How many bytes nobody has read.
    pub fn unread(&self) -> usize {
        self.left.len()
    }
}

impl AsyncRead for Pieces {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        out: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.left.is_empty() && self.turns > 0 {
            self.turns -= 1;
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        let size = self.sizes[self.next.min(self.sizes.len() - 1)];
        self.next += 1;
        let count = size.min(out.remaining()).min(self.left.len());
        out.put_slice(&self.left.split_to(count));
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Pieces {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        Poll::Ready(Ok(data.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

/// A request as the product saw it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// Its canonical head, or why there is none.
    pub head: Result<RequestHead, Unclear>,
    /// Its body; `None` when it broke off or was refused on the way.
    pub body: Option<Bytes>,
}

/// What connections of this kind come over.
pub fn channel(scheme: Scheme) -> Channel {
    Channel { scheme, name: None, port: scheme.default_port(), most_fields: HttpLimits::default().fields }
}

/// Runs to the end, with clock and timers of its own.
pub fn run<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build();
    runtime.expect("a runtime without I/O needs nothing that can be missing").block_on(future)
}

/// The requests on an HTTP/1 connection, through the server that agents meet, and why it stopped if it refused one.
pub fn http1(stream: Pieces) -> (Vec<Seen>, Option<Refused>) {
    let seen = Log::default();
    let left = run(serve::http1(
        stream.staying(),
        (None, HttpLimits::default()),
        |request| answer(request, Scheme::Http, seen.clone()),
        &CancellationToken::new(),
    ));
    (seen.take(), left.refused)
}

/// The requests on an HTTP/2 connection.
pub fn http2(stream: Pieces) -> Vec<Seen> {
    let seen = Log::default();
    run(serve::http2(
        stream.staying(),
        HttpLimits::default(),
        |request| answer(request, Scheme::Https, seen.clone()),
        &CancellationToken::new(),
    ));
    seen.take()
}

async fn answer(request: Request<Incoming>, scheme: Scheme, seen: Log) -> Response<Reply> {
    let (parts, body) = request.into_parts();
    let head = canonical_head(&parts, &channel(scheme));
    let limits = HttpLimits::default();
    let body = match Intake::streaming(body, true, limits.body_silence).await {
        Ok(intake) => intake.read(MAX_BODY, limits.body_silence).await.ok(),
        Err(_broken) => None,
    };
    let body = body.and_then(|intake| intake.known().map(Bytes::copy_from_slice));
    seen.add(Seen { head, body });
    Reply::to(&parts, Reply::ours(Response::new(Bytes::new())))
}

#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<Seen>>>);

impl Log {
    fn add(&self, seen: Seen) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(seen);
    }

    fn take(&self) -> Vec<Seen> {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
