//! A server that keeps a ledger of everything it received.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use ::http::{HeaderMap, Method, Request, Response, Version};
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use rcgen::{CertificateParams, CertifiedIssuer, KeyPair};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{RootCertStore, ServerConfig};
use tokio::net::TcpListener;
use tokio::sync::{Mutex, mpsc};
use tokio_rustls::TlsAcceptor;

/// One request as the origin saw it.
#[derive(Debug)]
pub(in crate::flow::tests) struct Received {
    pub(in crate::flow::tests) method: String,
    pub(in crate::flow::tests) uri: String,
    pub(in crate::flow::tests) version: Version,
    pub(in crate::flow::tests) headers: HeaderMap,
    pub(in crate::flow::tests) body: Bytes,
    /// Which connection it came over.
    pub(in crate::flow::tests) connection: usize,
}

pub(in crate::flow::tests) struct Origin {
    pub(in crate::flow::tests) address: SocketAddr,
    /// The certificate to trust.
    pub(in crate::flow::tests) root: CertificateDer<'static>,
    ledger: Mutex<mpsc::UnboundedReceiver<Received>>,
    connections: Arc<AtomicUsize>,
}

impl Origin {
    /// HTTPS as `localhost`, HTTP/2 and HTTP/1.1.
    pub(in crate::flow::tests) async fn https() -> Self {
        Self::https_with(&[b"h2", b"http/1.1"]).await
    }

    /// HTTPS as `localhost` with these protocols.
    pub(in crate::flow::tests) async fn https_with(protocols: &[&[u8]]) -> Self {
        let (root, chain, key) = certificate_for("localhost", |_| {});
        Self::start(root, Some(tls(chain, key, protocols))).await
    }

    /// HTTPS with a certificate of the test's own making.
    pub(in crate::flow::tests) async fn certified(
        root: CertificateDer<'static>,
        chain: Vec<CertificateDer<'static>>,
        key: PrivatePkcs8KeyDer<'static>,
    ) -> Self {
        Self::certified_at([127, 0, 0, 1].into(), root, chain, key).await
    }

    /// The same at an address of the test's own.
    pub(in crate::flow::tests) async fn certified_at(
        address: std::net::IpAddr,
        root: CertificateDer<'static>,
        chain: Vec<CertificateDer<'static>>,
        key: PrivatePkcs8KeyDer<'static>,
    ) -> Self {
        Self::start_at(address, root, Some(tls(chain, key, &[b"http/1.1"]))).await
    }

    /// The same, for clients that show a certificate below `clients`.
    pub(in crate::flow::tests) async fn for_known_clients(
        clients: CertificateDer<'static>,
        (root, chain, key): (
            CertificateDer<'static>,
            Vec<CertificateDer<'static>>,
            PrivatePkcs8KeyDer<'static>,
        ),
    ) -> Self {
        let mut known = RootCertStore::empty();
        known.add(clients).unwrap();
        let verifier = WebPkiClientVerifier::builder_with_provider(known.into(), provider()).build().unwrap();
        let config =
            ServerConfig::builder_with_provider(provider()).with_safe_default_protocol_versions().unwrap();
        let config = config.with_client_cert_verifier(verifier).with_single_cert(chain, key.into()).unwrap();
        Self::start(root, Some(Arc::new(config).into())).await
    }

    /// Plain HTTP, whichever the client begins with.
    pub(in crate::flow::tests) async fn http() -> Self {
        Self::start(certificate_for("localhost", |_| {}).0, None).await
    }

    async fn start(root: CertificateDer<'static>, tls: Option<TlsAcceptor>) -> Self {
        Self::start_at([127, 0, 0, 1].into(), root, tls).await
    }

    async fn start_at(
        address: std::net::IpAddr,
        root: CertificateDer<'static>,
        tls: Option<TlsAcceptor>,
    ) -> Self {
        let listener = TcpListener::bind((address, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let (to_ledger, ledger) = mpsc::unbounded_channel();
        let connections = Arc::new(AtomicUsize::new(0));
        let counter = Arc::clone(&connections);
        tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                let connection = counter.fetch_add(1, Ordering::SeqCst) + 1;
                let (tls, ledger) = (tls.clone(), to_ledger.clone());
                tokio::spawn(async move {
                    let service = service_fn(move |request| answer(request, connection, ledger.clone()));
                    let _ = match tls {
                        None if speaks_h2(&socket).await => {
                            h2_server().serve_connection(TokioIo::new(socket), service).await
                        }
                        None => http1::Builder::new().serve_connection(TokioIo::new(socket), service).await,
                        Some(tls) => match tls.accept(socket).await {
                            Ok(stream) if stream.get_ref().1.alpn_protocol() == Some(b"h2") => {
                                h2_server().serve_connection(TokioIo::new(stream), service).await
                            }
                            Ok(stream) => {
                                http1::Builder::new().serve_connection(TokioIo::new(stream), service).await
                            }
                            Err(_) => return,
                        },
                    };
                });
            }
        });
        Self { address, root, ledger: Mutex::new(ledger), connections }
    }

    /// `localhost` and the port.
    pub(in crate::flow::tests) fn host(&self) -> String {
        format!("localhost:{}", self.address.port())
    }

    /// The next request it received.
    pub(in crate::flow::tests) async fn received(&self) -> Received {
        self.ledger.lock().await.recv().await.expect("a request")
    }

    /// Whether it received nothing further.
    pub(in crate::flow::tests) async fn is_quiet(&self) -> bool {
        self.ledger.lock().await.try_recv().is_err()
    }

    /// How many connections it accepted so far.
    pub(in crate::flow::tests) fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }
}

/// A certificate for `name` under a root of its own: the root, the chain and the key.
pub(in crate::flow::tests) fn certificate_for(
    name: &str,
    change: impl FnOnce(&mut CertificateParams),
) -> (CertificateDer<'static>, Vec<CertificateDer<'static>>, PrivatePkcs8KeyDer<'static>) {
    let mut ca = CertificateParams::new(vec![]).unwrap();
    // Without a name of its own it would be taken for another test's root.
    ca.distinguished_name.push(rcgen::DnType::CommonName, ulid::Ulid::new().to_string());
    ca.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let ca = CertifiedIssuer::self_signed(ca, KeyPair::generate().unwrap()).unwrap();
    let key = KeyPair::generate().unwrap();
    let mut leaf = CertificateParams::new(vec![name.to_owned()]).unwrap();
    change(&mut leaf);
    let leaf = leaf.signed_by(&key, &ca).unwrap();
    (ca.der().clone(), vec![leaf.der().clone()], PrivatePkcs8KeyDer::from(key.serialize_der()))
}

fn tls(
    chain: Vec<CertificateDer<'static>>,
    key: PrivatePkcs8KeyDer<'static>,
    protocols: &[&[u8]],
) -> TlsAcceptor {
    let provider = provider();
    let mut config = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_cert_resolver(unchecked(&provider, chain, key));
    config.alpn_protocols = protocols.iter().map(|protocol| protocol.to_vec()).collect();
    Arc::new(config).into()
}

/// Takes one request at a time and refuses others.
fn h2_server() -> http2::Builder<TokioExecutor> {
    let mut server = http2::Builder::new(TokioExecutor::new());
    server.max_concurrent_streams(1);
    server
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::aws_lc_rs::default_provider())
}

/// Serves these as they are, fitting or not.
fn unchecked(
    provider: &CryptoProvider,
    chain: Vec<CertificateDer<'static>>,
    key: PrivatePkcs8KeyDer<'static>,
) -> Arc<SingleCertAndKey> {
    let key = provider.key_provider.load_private_key(key.into()).unwrap();
    Arc::new(CertifiedKey::new(chain, key).into())
}

/// Answers `200` and the length of the body; `/big?N` answers N bytes; after `/close` the connection is closed.
async fn answer(
    request: Request<Incoming>,
    connection: usize,
    ledger: mpsc::UnboundedSender<Received>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let (parts, body) = request.into_parts();
    let Ok(body) = body.collect().await else { return Ok(Response::new(Full::default())) };
    let body = body.to_bytes();
    let mut text = match parts.uri.query() {
        Some(size) if parts.uri.path() == "/big" => "b".repeat(size.parse().unwrap()),
        _ => format!("{} bytes", body.len()),
    };
    let (method, version) = (parts.method.clone(), parts.version);
    let _ = ledger.send(Received {
        method: parts.method.to_string(),
        uri: parts.uri.to_string(),
        version,
        headers: parts.headers,
        body,
        connection,
    });
    let mut response = Response::builder().header("x-origin", "yes");
    response = response.header("alt-svc", r#"h3=":443"; ma=86400, h2="elsewhere.example:443""#);
    if version == Version::HTTP_11 {
        response = response.header("keep-alive", "timeout=5");
    }
    if parts.uri.path() == "/close" {
        response = response.header("connection", "close");
    }
    if method == Method::HEAD {
        response = response.header("content-length", std::mem::take(&mut text).len());
    }
    Ok(response.body(Full::from(text)).unwrap())
}

/// Whether a client begins like HTTP/2.
async fn speaks_h2(socket: &tokio::net::TcpStream) -> bool {
    let mut first = [0; 3];
    socket.peek(&mut first).await.is_ok() && first == *b"PRI"
}
