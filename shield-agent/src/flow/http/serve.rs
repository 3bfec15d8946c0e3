//! The HTTP server towards agents: HTTP/1.1 behind the guard, HTTP/2 where TLS agreed on it.

use std::convert::Infallible;
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::time::Duration;

use ::http::{Request, Response};
use bytes::BytesMut;
use futures_util::FutureExt as _;
use hyper::body::{Body, Incoming};
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::guard::{Guard, Refused};
use super::{CONNECTION_WINDOW, STREAM_WINDOW};
use crate::flow::limits::HttpLimits;

/// How much of what a refused client still sends is read, so that it sees our answer before the end.
const LINGER_BYTES: u64 = 256 << 10;
const LINGER_WITHIN: Duration = Duration::from_secs(2);

/// A connection that HTTP is over on.
pub struct Left<S> {
    /// The stream, still open.
    pub stream: S,
    /// What was read of it and belongs to whatever comes next.
    pub rest: BytesMut,
    /// Why a message was refused that nobody answered yet.
    pub refused: Option<Refused>,
}

/// Serves HTTP/1.1 until the client leaves, `stop` is cancelled and the request under way is answered, a message is
/// refused, or a request was answered with another protocol. A client that says nothing for `silence` does not speak HTTP.
pub async fn http1<S, A, F, B>(
    stream: S,
    (silence, limits): (Option<Duration>, HttpLimits),
    answer: A,
    stop: &CancellationToken,
) -> Left<S>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    A: Fn(Request<Incoming>) -> F,
    F: Future<Output = Response<B>>,
    B: Body<Data = bytes::Bytes, Error: Into<Box<dyn std::error::Error + Send + Sync>>> + 'static,
{
    // Boxed, because the connection is taken apart afterwards and so cannot be pinned.
    let service = service_fn(|request| Box::pin(answer(request).map(Ok::<_, Infallible>)));
    let mut connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .auto_date_header(false)
        .preserve_header_case(true)
        .header_read_timeout(limits.idle)
        .max_headers(limits.fields)
        .max_buf_size(2 * limits.head)
        .serve_connection(TokioIo::new(Guard::new(stream, silence, limits)), service);
    let ended = tokio::select! {
        ended = poll_fn(|cx| connection.poll_without_shutdown(cx)) => ended,
        () = stop.cancelled() => {
            Pin::new(&mut connection).graceful_shutdown();
            poll_fn(|cx| connection.poll_without_shutdown(cx)).await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "an agent's connection ended early");
    }
    let (stream, rest, refused) = connection.into_parts().io.into_inner().into_parts();
    Left { stream, rest, refused: refused.filter(|refused| !refused.under_way) }
}

/// Serves HTTP/2 until the client leaves or `stop` is cancelled and the requests under way are answered.
pub async fn http2<S, A, F, B>(stream: S, limits: HttpLimits, answer: A, stop: &CancellationToken)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    A: Fn(Request<Incoming>) -> F,
    F: Future<Output = Response<B>> + Send + 'static,
    B: Body<Data = bytes::Bytes, Error: Into<Box<dyn std::error::Error + Send + Sync>>> + Send + 'static,
{
    let service = service_fn(|request| answer(request).map(Ok::<_, Infallible>));
    let mut connection = pin!(
        http2::Builder::new(TokioExecutor::new())
            .timer(TokioTimer::new())
            .auto_date_header(false)
            .max_concurrent_streams(limits.streams)
            .max_header_list_size(u32::try_from(limits.head).unwrap_or(u32::MAX))
            .initial_stream_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .serve_connection(TokioIo::new(stream), service)
    );
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = stop.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "an agent's connection ended early");
    }
}

/// Writes a last answer and closes, so that the client can read it whatever it was still sending.
pub async fn last_words<S: AsyncRead + AsyncWrite + Unpin>(mut stream: S, answer: &[u8]) {
    let told = async {
        stream.write_all(answer).await?;
        stream.shutdown().await?;
        tokio::io::copy(&mut stream.take(LINGER_BYTES), &mut tokio::io::sink()).await
    };
    // The client may be gone, or never stop: either way the connection closes now.
    let _ = timeout(LINGER_WITHIN, told).await;
}
