//! The agent's side: an ordinary HTTP client that trusts our CA.

use std::net::SocketAddr;
use std::sync::Arc;

use ::http::{HeaderMap, Request};
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::World;

/// A client connection through the gate.
pub(in crate::flow::tests) enum Client {
    H1(http1::SendRequest<Full<Bytes>>),
    H2(http2::SendRequest<Full<Bytes>>, &'static str),
}

/// An answer, read to its end.
#[derive(Debug)]
pub(in crate::flow::tests) struct Got {
    pub(in crate::flow::tests) status: u16,
    pub(in crate::flow::tests) headers: HeaderMap,
    pub(in crate::flow::tests) body: Bytes,
}

impl Got {
    pub(in crate::flow::tests) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    pub(in crate::flow::tests) fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }
}

impl World {
    /// TLS through the gate; fails as the client's TLS library would.
    pub(in crate::flow::tests) async fn tls(
        &self,
        original: SocketAddr,
        name: &str,
        protocols: &[&[u8]],
    ) -> std::io::Result<TlsStream<TcpStream>> {
        self.tls_with(&self.ca, original, name, protocols).await
    }

    /// The same by a program that trusts another root than ours.
    pub(in crate::flow::tests) async fn tls_trusting(
        &self,
        root: &CertificateDer<'static>,
        original: SocketAddr,
        name: &str,
    ) -> std::io::Result<TlsStream<TcpStream>> {
        self.tls_with(root, original, name, &[]).await
    }

    async fn tls_with(
        &self,
        root: &CertificateDer<'static>,
        original: SocketAddr,
        name: &str,
        protocols: &[&[u8]],
    ) -> std::io::Result<TlsStream<TcpStream>> {
        let mut roots = RootCertStore::empty();
        roots.add(root.clone()).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.alpn_protocols = protocols.iter().map(|protocol| protocol.to_vec()).collect();
        let name = ServerName::try_from(name.to_owned()).unwrap();
        TlsConnector::from(Arc::new(config)).connect(name, self.connect(original).await).await
    }

    /// HTTPS over HTTP/1.1 to `localhost`.
    pub(in crate::flow::tests) async fn https(&self, original: SocketAddr) -> Client {
        self.https_as(original, "localhost").await
    }

    /// HTTPS over HTTP/1.1 to a name or an address.
    pub(in crate::flow::tests) async fn https_as(&self, original: SocketAddr, name: &str) -> Client {
        Client::h1(self.tls(original, name, &[b"http/1.1"]).await.unwrap()).await
    }

    /// HTTPS over HTTP/2 to `localhost`.
    pub(in crate::flow::tests) async fn h2(&self, original: SocketAddr) -> Client {
        let stream = self.tls(original, "localhost", &[b"h2"]).await.unwrap();
        let (sender, connection) =
            http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
        tokio::spawn(connection);
        Client::H2(sender, "https")
    }

    /// Plain HTTP/2.
    pub(in crate::flow::tests) async fn h2_in_the_clear(&self, original: SocketAddr) -> Client {
        let stream = TokioIo::new(self.connect(original).await);
        let (sender, connection) = http2::handshake(TokioExecutor::new(), stream).await.unwrap();
        tokio::spawn(connection);
        Client::H2(sender, "http")
    }

    /// Plain HTTP/1.1.
    pub(in crate::flow::tests) async fn http(&self, original: SocketAddr) -> Client {
        Client::h1(self.connect(original).await).await
    }
}

impl Client {
    async fn h1<S>(stream: S) -> Self
    where
        S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Send + Unpin + 'static,
    {
        let (sender, connection) = http1::handshake(TokioIo::new(stream)).await.unwrap();
        tokio::spawn(connection);
        Self::H1(sender)
    }

    /// Sends a request with a body and reads the answer. `host` is the authority.
    pub(in crate::flow::tests) async fn send(
        &mut self,
        method: &str,
        host: &str,
        target: &str,
        body: &str,
    ) -> Got {
        self.send_with(method, host, target, &[], body).await
    }

    /// The same with further header fields.
    pub(in crate::flow::tests) async fn send_with(
        &mut self,
        method: &str,
        host: &str,
        target: &str,
        fields: &[(&str, &str)],
        body: &str,
    ) -> Got {
        let mut request = Request::builder().method(method);
        request = match self {
            Self::H1(_) => request.uri(target).header("host", host),
            Self::H2(_, scheme) => request.uri(format!("{scheme}://{host}{target}")),
        };
        for (name, value) in fields {
            request = request.header(*name, *value);
        }
        let request = request.body(Full::from(body.to_owned())).unwrap();
        let answer = match self {
            Self::H1(sender) => {
                sender.ready().await.unwrap();
                sender.send_request(request).await.unwrap()
            }
            Self::H2(sender, _) => sender.send_request(request).await.unwrap(),
        };
        let (parts, body) = answer.into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        Got { status: parts.status.as_u16(), headers: parts.headers, body }
    }
}

/// Writes bytes as they are, ends, and returns everything that came back until the connection closed.
pub(in crate::flow::tests) async fn raw(mut stream: TcpStream, bytes: &[u8]) -> std::io::Result<String> {
    stream.write_all(bytes).await?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await?;
    Ok(String::from_utf8_lossy(&answer).into_owned())
}
