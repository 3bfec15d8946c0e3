//! A fresh connection to an original address: TCP, then TLS verified for the name the agent asked for.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout_at};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::connection::Connection;
use super::error::UpstreamError;
use crate::flow::accept::forbidden::Forbidden;

/// Makes connections.
pub struct Dialer {
    tls: TlsConnector,
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
    /// Dials with `tls`, never to a forbidden address, and gives up after `within`.
    pub fn new(tls: Arc<rustls::ClientConfig>, forbidden: Arc<Forbidden>, within: Duration) -> Self {
        Self { tls: tls.into(), forbidden, within }
    }

    /// Dials `address`; with TLS when there is a `name` to verify.
    pub async fn dial(&self, address: SocketAddr, name: Option<&str>) -> Result<Dialed, UpstreamError> {
        self.forbidden.check(address)?;
        let deadline = Instant::now() + self.within;
        let too_slow = || UpstreamError::ConnectTimeout { address, after: self.within };
        let connected = timeout_at(deadline, TcpStream::connect(address)).await.map_err(|_| too_slow())?;
        let connect_failed = |source| UpstreamError::Connect { address, source };
        let stream = connected.map_err(connect_failed)?;
        stream.set_nodelay(true).map_err(connect_failed)?;
        let Some(name) = name else { return Ok(Dialed::Plain(stream)) };
        let tls_failed = |source| UpstreamError::Tls { name: name.to_owned(), source };
        let server = ServerName::try_from(name.to_owned())
            .map_err(|error| tls_failed(io::Error::new(io::ErrorKind::InvalidInput, error)))?;
        let handshake =
            timeout_at(deadline, self.tls.connect(server, stream)).await.map_err(|_| too_slow())?;
        Ok(Dialed::Tls(Box::new(handshake.map_err(tls_failed)?)))
    }
}

impl Dialed {
    /// Speaks HTTP/2 where both sides agreed on it, else HTTP/1.1. The connection runs in a task of its own.
    pub async fn into_connection(self) -> Result<Connection, UpstreamError> {
        match self {
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
    let (sender, connection) = http1::handshake(io).await?;
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
    let builder =
        http2::Builder::new(TokioExecutor::new()).timer(TokioTimer::new()).adaptive_window(true).clone();
    let (sender, connection) = builder.handshake(io).await?;
    tokio::spawn(async move {
        // Its end is seen by whoever sends over it.
        let _ = connection.await;
    });
    Ok(Connection::H2(sender))
}
