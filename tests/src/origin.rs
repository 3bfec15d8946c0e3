//! A real HTTPS service in a network namespace of its own, with its own CA and DNS, that remembers what it received.

pub mod git;
pub mod ledger;
mod names;

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::{Context as _, Result};
use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, UdpSocket};
use tokio::sync::watch;
use tokio_rustls::TlsAcceptor;

pub use self::ledger::{Ledger, Receipt};
pub use self::names::{Asked, NOBODY};
use crate::netns::Netns;

/// Names the origin serves, all at its one address.
pub const NAMES: [&str; 3] = ["crm.acme.internal", "git.acme.internal", "api.acme.internal"];
/// What else its certificate is for.
const ANY_NAME: &str = "*.acme.internal";
/// What is sent here is not kept.
pub const SINK_PATH: &str = "/sink";
/// Requests under this path are answered only while the origin is not paused.
pub const PATIENT_PATH: &str = "/patient/";

/// The origin, serving until dropped.
#[derive(Debug)]
pub struct Origin {
    /// What arrived.
    pub ledger: Ledger,
    /// Which names were asked for.
    pub asked: Asked,
    /// Where it listens.
    pub address: Ipv4Addr,
    /// PEM of the CA its certificate chains to.
    pub ca_pem: String,
    /// PEM of its certificate and key, for servers that stand in for it.
    pub identity_pem: String,
    /// Folder its git repositories are in.
    pub repositories: PathBuf,
    connections: Arc<AtomicU64>,
    paused: watch::Sender<bool>,
    _running: watch::Sender<()>,
}

impl Origin {
    /// Starts serving HTTPS on 443, HTTP on 80 and DNS on 53 of `address` inside `netns`.
    pub fn start(netns: &Netns, address: Ipv4Addr, repositories: &Path) -> Result<Self> {
        let (tls, ca_pem, identity_pem) = make_identity(address)?;
        let (paused, is_paused) = watch::channel(false);
        let (running, stop) = watch::channel(());
        let service = Service {
            ledger: Ledger::default(),
            asked: Asked::default(),
            connections: Arc::default(),
            repositories: repositories.into(),
            paused: is_paused,
        };
        let (ledger, connections) = (service.ledger.clone(), Arc::clone(&service.connections));
        let asked = service.asked.clone();
        let (ready, is_ready) = std::sync::mpsc::channel();
        netns.enter(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            let Ok(runtime) = runtime else { return };
            runtime.block_on(async move {
                let outcome = service.listen(address, tls).await;
                // Whoever starts us waits for exactly this message.
                let _ = ready.send(outcome);
                let mut stop = stop;
                // Ends when the origin is dropped.
                let _ = stop.changed().await;
            });
        })?;
        is_ready.recv().context("the origin's thread died")??;
        Ok(Self {
            ledger,
            asked,
            address,
            ca_pem,
            identity_pem,
            repositories: repositories.into(),
            connections,
            paused,
            _running: running,
        })
    }

    /// How many connections were ever accepted.
    pub fn connections(&self) -> u64 {
        self.connections.load(Ordering::Relaxed)
    }

    /// From now on requests under [`PATIENT_PATH`] arrive but are not answered.
    pub fn pause(&self) {
        self.paused.send_replace(true);
    }

    /// Answers what waits, and everything from now on.
    pub fn resume(&self) {
        self.paused.send_replace(false);
    }
}

#[derive(Clone)]
struct Service {
    ledger: Ledger,
    asked: Asked,
    connections: Arc<AtomicU64>,
    repositories: Arc<Path>,
    paused: watch::Receiver<bool>,
}

impl Service {
    async fn listen(&self, address: Ipv4Addr, tls: TlsAcceptor) -> Result<()> {
        let at = |port: u16| SocketAddr::from((address, port));
        let (https, http) = (TcpListener::bind(at(443)).await?, TcpListener::bind(at(80)).await?);
        let (dns, dns_over_tcp) = (UdpSocket::bind(at(53)).await?, TcpListener::bind(at(53)).await?);
        tokio::spawn(names::serve(dns, address, self.asked.clone()));
        tokio::spawn(names::serve_tcp(dns_over_tcp, address, self.asked.clone()));
        let (plain, secure) = (self.clone(), self.clone());
        tokio::spawn(async move {
            while let Ok((stream, _)) = http.accept().await {
                let connection = plain.connections.fetch_add(1, Ordering::Relaxed);
                tokio::spawn(plain.clone().serve(connection, stream, false));
            }
        });
        tokio::spawn(async move {
            while let Ok((stream, _)) = https.accept().await {
                // Small answers at once, as servers do.
                let _ = stream.set_nodelay(true);
                let (tls, service) = (tls.clone(), secure.clone());
                let connection = service.connections.fetch_add(1, Ordering::Relaxed);
                tokio::spawn(async move {
                    // A client that fails its handshake is that client's test's business.
                    let Ok(stream) = tls.accept(stream).await else { return };
                    let h2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
                    service.serve(connection, stream, h2).await;
                });
            }
        });
        Ok(())
    }

    async fn serve(
        self,
        connection: u64,
        stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
        h2: bool,
    ) {
        let service = service_fn(move |request| {
            let service = self.clone();
            async move { service.answer(connection, request).await }
        });
        let io = TokioIo::new(stream);
        // How a connection ends is seen in the ledger and by the client.
        let _ = if h2 {
            hyper::server::conn::http2::Builder::new(TokioExecutor::new()).serve_connection(io, service).await
        } else {
            hyper::server::conn::http1::Builder::new().serve_connection(io, service).await
        };
    }

    async fn answer(mut self, connection: u64, request: Request<Incoming>) -> Result<Response<Full<Bytes>>> {
        let (head, mut body) = request.into_parts();
        // Measured, and too much to remember.
        if let Some(size) = head.uri.path().strip_prefix("/bytes/") {
            return Ok(Response::new(Full::from(vec![b'x'; size.parse()?])));
        }
        if head.uri.path() == SINK_PATH {
            while let Some(part) = body.frame().await {
                part?;
            }
            return Ok(Response::new(Full::default()));
        }
        let entry = self.ledger.enter(receipt(connection, &head));
        let body = body.collect().await?.to_bytes();
        self.ledger.complete(entry, body.clone());
        let path = head.uri.path();
        if path.starts_with(PATIENT_PATH) {
            self.paused.wait_for(|paused| !paused).await?;
        }
        if path.starts_with(git::PREFIX) {
            return Ok(git::serve(&self.repositories, &head, body).await?.map(Full::new));
        }
        let digest = ledger::hex(&<sha2::Sha256 as sha2::Digest>::digest(&body));
        let text = serde_json::json!({ "served": format!("{} {path}", head.method), "body_sha256": digest });
        let response = Response::builder().status(StatusCode::OK).header("content-type", "application/json");
        // As services that speak HTTP/3 do.
        let response = response.header("alt-svc", r#"h3=":443"; ma=86400"#);
        Ok(response.body(Full::from(format!("{text}\n")))?)
    }
}

fn receipt(connection: u64, head: &http::request::Parts) -> Receipt {
    let text = |value: &http::HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
    let host = head.uri.authority().map(ToString::to_string);
    Receipt {
        connection,
        version: head.version,
        method: head.method.to_string(),
        host: host.or_else(|| head.headers.get("host").map(text)).unwrap_or_default(),
        target: head.uri.path_and_query().map(ToString::to_string).unwrap_or_default(),
        headers: head.headers.iter().map(|(name, value)| (name.to_string(), text(value))).collect(),
        body: None,
    }
}

/// A CA of the origin's own and a certificate for its names.
fn make_identity(address: Ipv4Addr) -> Result<(TlsAcceptor, String, String)> {
    let mut ca = CertificateParams::new([])?;
    ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    // Another name than its leaf's, or some clients take the leaf for self-signed.
    ca.distinguished_name.push(DnType::CommonName, "the origin's CA");
    let ca = CertifiedIssuer::self_signed(ca, KeyPair::generate()?)?;
    let key = KeyPair::generate()?;
    let names = NAMES.map(str::to_owned).into_iter().chain([ANY_NAME.to_owned(), address.to_string()]);
    let leaf = CertificateParams::new(names.collect::<Vec<_>>())?.signed_by(&key, &ca)?;
    let identity_pem = format!("{}{}", leaf.pem(), key.serialize_pem());
    let chain = vec![CertificateDer::from(leaf.der().to_vec())];
    let key = PrivateKeyDer::try_from(key.serialize_der()).map_err(anyhow::Error::msg)?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut tls = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(chain, key)?;
    tls.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok((TlsAcceptor::from(Arc::new(tls)), ca.pem(), identity_pem))
}
