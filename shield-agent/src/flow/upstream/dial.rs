//! A fresh connection to an original address: TCP, then TLS verified for the name the agent asked for.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout, timeout_at};
use tokio_rustls::client::TlsStream;

use super::connection::Connection;
use super::error::UpstreamError;
use super::trust::Trust;
use crate::flow::accept::forbidden::Forbidden;
use crate::flow::http::{CONNECTION_WINDOW, STREAM_WINDOW};

/// How long an address may take to accept a connection when others are left to try: time for a lost packet to be sent again.
const PATIENCE: Duration = Duration::from_secs(2);

/// Where to connect to.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// The address.
    pub address: SocketAddr,
    /// Whether the same name has other addresses, so that there is no need to wait for long.
    pub has_others: bool,
}

/// Makes connections.
pub struct Dialer {
    trust: Trust,
    forbidden: Arc<Forbidden>,
    within: Duration,
}

/// A connection on which nothing of a request was written yet.
pub enum Dialed {
    /// Plain TCP.
    Plain(TcpStream),
    /// Verified TLS.
    Tls(Box<TlsStream<TcpStream>>),
}

impl Dialer {
    /// Dials whom `trust` trusts, never to a forbidden address, and gives up after `within`.
    pub fn new(trust: Trust, forbidden: Arc<Forbidden>, within: Duration) -> Self {
        Self { trust, forbidden, within }
    }

    /// Plain TCP to `to`.
    pub async fn connect(&self, to: Target) -> Result<TcpStream, UpstreamError> {
        let Target { address, has_others } = to;
        self.forbidden.check(address)?;
        let within = if has_others { self.within.min(PATIENCE) } else { self.within };
        let too_slow = |_| UpstreamError::ConnectTimeout { address, after: within };
        let connected = timeout(within, TcpStream::connect(address)).await.map_err(too_slow)?;
        let connect_failed = |source| UpstreamError::Connect { address, source };
        let stream = connected.map_err(connect_failed)?;
        stream.set_nodelay(true).map_err(connect_failed)?;
        Ok(stream)
    }

    /// Connects to `to`; with TLS when there is a `name` to verify, and without HTTP/2 for what it has no form for.
    pub async fn dial(&self, to: Target, name: Option<&str>, http1: bool) -> Result<Dialed, UpstreamError> {
        let deadline = Instant::now() + self.within;
        let stream = self.connect(to).await?;
        let Some(name) = name else { return Ok(Dialed::Plain(stream)) };
        let tls_failed = |source| UpstreamError::Tls { name: name.to_owned(), source };
        let server = ServerName::try_from(name.to_owned())
            .map_err(|error| tls_failed(io::Error::new(io::ErrorKind::InvalidInput, error)))?;
        let tls = self.trust.connector(name, http1);
        let too_slow = |_| UpstreamError::ConnectTimeout { address: to.address, after: self.within };
        let handshake = timeout_at(deadline, tls.connect(server, stream)).await.map_err(too_slow)?;
        Ok(Dialed::Tls(Box::new(handshake.map_err(tls_failed)?)))
    }
}

impl AsyncRead for Dialed {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, out: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_read(cx, out),
            Self::Tls(stream) => Pin::new(stream).poll_read(cx, out),
        }
    }
}

impl AsyncWrite for Dialed {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write(cx, data),
            Self::Tls(stream) => Pin::new(stream).poll_write(cx, data),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_flush(cx),
            Self::Tls(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}

impl Dialed {
    /// Speaks HTTP/2 where both sides agreed on it, or in the clear when that is known, else HTTP/1.1. The connection runs in a task of its own.
    pub async fn into_connection(self, knows_h2: bool) -> Result<Connection, UpstreamError> {
        match self {
            Self::Plain(stream) if knows_h2 => http2(TokioIo::new(stream)).await,
            Self::Plain(stream) => http1(TokioIo::new(stream)).await,
            Self::Tls(stream) if stream.get_ref().1.alpn_protocol() == Some(b"h2") => {
                http2(TokioIo::new(stream)).await
            }
            Self::Tls(stream) => http1(TokioIo::new(stream)).await,
        }
        .map_err(UpstreamError::NotWritten)
    }
}

async fn http1<I>(io: I) -> Result<Connection, hyper::Error>
where
    I: hyper::rt::Read + hyper::rt::Write + Send + Unpin + 'static,
{
    let (sender, connection) = http1::Builder::new().preserve_header_case(true).handshake(io).await?;
    tokio::spawn(async move {
        // Its end is seen by whoever sends over it.
        let _ = connection.await;
    });
    Ok(Connection::H1(sender))
}

async fn http2<I>(io: I) -> Result<Connection, hyper::Error>
where
    I: hyper::rt::Read + hyper::rt::Write + Send + Unpin + 'static,
{
    let (sender, connection) = http2::Builder::new(TokioExecutor::new())
        .timer(TokioTimer::new())
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        // Until the server has said how many it takes at once, it may refuse every further one.
        .initial_max_send_streams(1)
        .handshake(io)
        .await?;
    tokio::spawn(async move {
        // Its end is seen by whoever sends over it.
        let _ = connection.await;
    });
    Ok(Connection::H2(sender))
}
