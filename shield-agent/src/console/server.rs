//! Listening: the console's address, with TLS where it is configured, and the local socket.

use std::io;
use std::net::TcpListener as StdTcpListener;
use std::os::unix::net::UnixListener as StdUnixListener;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

use super::app::Door;
use super::router::router;
use crate::approval::engine::Engine;
use crate::config::ConsoleConfig;
use crate::daemon::peer;
use crate::ipc::supervisor::TlsPem;

/// Connections of a door at a time: a browser keeps a few.
const MAX_CONNECTIONS: usize = 256;

/// How long a client may take for TLS, and for the head of a request.
const HEAD_WITHIN: Duration = Duration::from_secs(10);

/// How long answers under way may take when the console ends.
const END_WITHIN: Duration = Duration::from_secs(1);

/// Why the console cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum ConsoleError {
    /// The certificate or key is not one.
    #[error("console.tls: the certificate or its key cannot be used: {0}")]
    Tls(String),
    /// The listener cannot be used.
    #[error("the console's listener cannot be used")]
    Listener(#[source] io::Error),
}

/// Serves pages and API on the console's address until `shutdown`. What can be wrong is said before the first connection.
pub fn serve(
    engine: Engine,
    config: &ConsoleConfig,
    tls: Option<&TlsPem>,
    listener: StdTcpListener,
    shutdown: CancellationToken,
) -> Result<impl Future<Output = ()> + Send + use<>, ConsoleError> {
    let acceptor = tls.map(acceptor).transpose()?;
    listener.set_nonblocking(true).map_err(ConsoleError::Listener)?;
    let listener = TcpListener::from_std(listener).map_err(ConsoleError::Listener)?;
    let router = router(engine, config, Door::Console);
    let serve = move |stream: TcpStream, stop| {
        let (router, acceptor) = (router.clone(), acceptor.clone());
        async move {
            let _ = stream.set_nodelay(true);
            match acceptor {
                None => converse(stream, router, stop).await,
                Some(acceptor) => match timeout(HEAD_WITHIN, acceptor.accept(stream)).await {
                    Ok(Ok(stream)) => converse(stream, router, stop).await,
                    Ok(Err(error)) => tracing::debug!("a browser did not agree on TLS: {error}"),
                    Err(_elapsed) => tracing::debug!("a browser was too slow"),
                },
            }
        }
    };
    Ok(run(listener, shutdown, serve))
}

/// Serves the API on the local socket until `shutdown`, to root outside every agent's cgroup.
pub fn serve_control(
    engine: Engine,
    config: &ConsoleConfig,
    listener: StdUnixListener,
    shutdown: CancellationToken,
) -> Result<impl Future<Output = ()> + Send + use<>, ConsoleError> {
    listener.set_nonblocking(true).map_err(ConsoleError::Listener)?;
    let listener = UnixListener::from_std(listener).map_err(ConsoleError::Listener)?;
    let router = router(engine, config, Door::Control);
    let serve = move |stream: UnixStream, stop| {
        let router = router.clone();
        async move {
            match peer::check(&stream) {
                Ok(_) => converse(stream, router, stop).await,
                Err(refused) => tracing::warn!("the control socket was closed on a caller: {refused}"),
            }
        }
    };
    Ok(run(listener, shutdown, serve))
}

/// Something connections come from.
trait Listen: Send + 'static {
    /// A connection.
    type Stream: Send;
    /// The next one.
    fn next(&self) -> impl Future<Output = io::Result<Self::Stream>> + Send;
}

impl Listen for TcpListener {
    type Stream = TcpStream;

    async fn next(&self) -> io::Result<TcpStream> {
        self.accept().await.map(|(stream, _)| stream)
    }
}

impl Listen for UnixListener {
    type Stream = UnixStream;

    async fn next(&self) -> io::Result<UnixStream> {
        self.accept().await.map(|(stream, _)| stream)
    }
}

/// Accepts connections and serves each in a task of its own, as many as may be at a time.
async fn run<L: Listen, F: Future<Output = ()> + Send + 'static>(
    listener: L,
    shutdown: CancellationToken,
    serve: impl Fn(L::Stream, CancellationToken) -> F + Send,
) {
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            accepted = listener.next(), if connections.len() < MAX_CONNECTIONS => accepted,
            Some(_) = connections.join_next() => continue,
            () = shutdown.cancelled() => break,
        };
        match accepted {
            Ok(stream) => drop(connections.spawn(serve(stream, shutdown.clone()))),
            Err(error) => {
                tracing::warn!("the console could not accept: {error}");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
    // Pages that follow along never end by themselves.
    let _ = timeout(END_WITHIN, async { while connections.join_next().await.is_some() {} }).await;
}

async fn converse(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    router: Router,
    stop: CancellationToken,
) {
    let service = TowerToHyperService::new(router);
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_WITHIN)
        .serve_connection(TokioIo::new(stream), service);
    let mut connection = std::pin::pin!(connection);
    let ended: Result<(), hyper::Error> = tokio::select! {
        ended = &mut connection => ended,
        () = stop.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!("a connection to the console broke: {error}");
    }
}

fn acceptor(pem: &TlsPem) -> Result<TlsAcceptor, ConsoleError> {
    let bad = |error: &dyn std::fmt::Display| ConsoleError::Tls(error.to_string());
    let chain: Vec<CertificateDer<'static>> =
        CertificateDer::pem_slice_iter(&pem.cert).collect::<Result<_, _>>().map_err(|error| bad(&error))?;
    let key = PrivateKeyDer::from_pem_slice(&pem.key).map_err(|error| bad(&error))?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .and_then(|builder| builder.with_no_client_auth().with_single_cert(chain, key))
        .map_err(|error| bad(&error))?;
    Ok(TlsAcceptor::from(Arc::new(config)))
}
