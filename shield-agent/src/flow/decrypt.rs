//! From bytes to plaintext: TLS ended with a leaf for the name the agent asked for, plain HTTP as it is, and
//! everything else named opaque.
//!
//! Never says what becomes of what it cannot read, and never sees the CA's key: leaves come from the signer.

pub mod hello;
pub mod leaf;
pub mod signer;

use std::error::Error;
use std::io;
use std::net::IpAddr;
use std::time::Duration;

use rustls::AlertDescription;
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout_at};
use tokio_rustls::server::{StartHandshake, TlsStream};

use crate::flow::accept::Flow;
use crate::flow::http::host::{self, BadHost};
use leaf::{Leaves, NoLeaf};

/// What a flow turned out to be.
pub enum Opened {
    /// It can be read.
    Readable(Readable),
    /// Not TLS and perhaps not HTTP, or TLS that is not to be opened: policy says what becomes of it.
    Opaque(Opaque),
    /// It began like TLS and is none; it was told so.
    Unreadable {
        /// The connection.
        stream: TcpStream,
        /// What is wrong.
        why: String,
    },
}

/// A connection to look into.
pub enum Readable {
    /// TLS, ended here.
    Tls {
        /// The plaintext.
        stream: Box<TlsStream<TcpStream>>,
        /// Canonical name (or IP literal) the leaf was made for.
        name: String,
        /// Whether the two sides agreed on HTTP/2.
        h2: bool,
    },
    /// Not TLS; perhaps HTTP.
    Plain {
        /// The connection.
        stream: TcpStream,
        /// Whether it begins like HTTP/2, as clients do that know what their server speaks.
        h2: bool,
    },
}

/// A connection nobody looks into.
pub struct Opaque {
    /// The connection, nothing answered.
    pub stream: TcpStream,
    /// What was read of it; nothing when its client waits for the server to speak first.
    pub first: Vec<u8>,
    /// The name of the TLS session, when it is one.
    pub tls_name: Option<String>,
    /// What it looks like.
    pub why: String,
}

/// How long a flow may take to say what it is.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Until its first byte: a client that waits for the server's greeting does not speak HTTP.
    pub first_byte: Duration,
    /// Until the TLS handshake is complete.
    pub handshake: Duration,
}

/// How every HTTP/2 client begins (RFC 9113, 3.4).
const HTTP2_PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// See [`Limits::first_byte`].
pub const FIRST_BYTE: Duration = Duration::from_secs(3);

/// Why there is no plaintext. The agent sees a TLS alert or a closed connection.
#[derive(Debug, thiserror::Error)]
pub enum DecryptError {
    /// The agent closed before it said anything.
    #[error("the connection was closed before it said anything")]
    Closed,
    /// The socket failed.
    #[error("the connection failed before it said anything")]
    Socket(#[source] io::Error),
    /// The name in the handshake has more than one reading.
    #[error("the TLS name is not usable")]
    Name(#[from] BadHost),
    /// No leaf for the name.
    #[error("no certificate could be made for {name}")]
    Leaf {
        /// The name.
        name: String,
        /// Why.
        #[source]
        source: NoLeaf,
    },
    /// The handshake failed, most often because the agent does not trust our CA or pins another certificate.
    #[error("the TLS handshake for {name} failed")]
    Handshake {
        /// The name.
        name: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The handshake took too long.
    #[error("the TLS handshake took longer than {0:?}")]
    TooSlow(Duration),
}

impl DecryptError {
    /// The name, when the program left in the handshake without a word.
    pub fn left(&self) -> Option<&str> {
        let Self::Handshake { name, source } = self else { return None };
        let is_gone = matches!(source.kind(), io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset);
        is_gone.then_some(name)
    }

    /// The name and TLS's word for it, when the program ended the handshake because of our certificate.
    pub fn distrust(&self) -> Option<(&str, AlertDescription)> {
        use AlertDescription as Alert;
        let Self::Handshake { name, source } = self else { return None };
        let inner = source.get_ref()?.downcast_ref::<rustls::Error>()?;
        let rustls::Error::AlertReceived(alert) = inner else { return None };
        let about_certificates = [
            Alert::BadCertificate,
            Alert::UnsupportedCertificate,
            Alert::CertificateRevoked,
            Alert::CertificateExpired,
            Alert::CertificateUnknown,
            Alert::UnknownCA,
        ];
        about_certificates.contains(alert).then_some((name, *alert))
    }
}

/// Finds out what a flow to `original` speaks and takes TLS off it, unless it is for a name that is `kept` shut. A client
/// that names no server in its handshake connects to an address by number: the leaf is for that address.
pub async fn open(
    stream: TcpStream,
    original: IpAddr,
    leaves: &Leaves,
    limits: Limits,
    kept: impl Fn(&str) -> bool,
) -> Result<Opened, DecryptError> {
    let start = Instant::now();
    // Clients write the preface at once; one that comes in pieces begins like no HTTP.
    let mut first = [0; HTTP2_PREFACE.len()];
    match timeout_at(start + limits.first_byte, stream.peek(&mut first)).await {
        Err(_) => {
            let why = "the client waits for the server to speak first".to_owned();
            return Ok(Opened::Opaque(Opaque { stream, first: vec![], tls_name: None, why }));
        }
        Ok(Ok(0)) => return Err(DecryptError::Closed),
        Ok(Ok(_)) if first[0] != hello::HANDSHAKE_RECORD => {
            return Ok(Opened::Readable(Readable::Plain { stream, h2: first == *HTTP2_PREFACE }));
        }
        Ok(Ok(_)) => {}
        Ok(Err(error)) => return Err(DecryptError::Socket(error)),
    }
    timeout_at(start + limits.handshake, end_tls(stream, original, leaves, kept))
        .await
        .unwrap_or(Err(DecryptError::TooSlow(limits.handshake)))
}

async fn end_tls(
    mut stream: TcpStream,
    original: IpAddr,
    leaves: &Leaves,
    kept: impl Fn(&str) -> bool,
) -> Result<Opened, DecryptError> {
    let (accepted, first) = match hello::read(&mut stream).await {
        Ok(read) => read,
        Err(hello::NotTls::Socket(error)) => return Err(DecryptError::Socket(error)),
        Err(hello::NotTls::Unreadable(why)) => return Ok(Opened::Unreadable { stream, why }),
    };
    let name = match accepted.client_hello().server_name() {
        Some(name) => host::canonical(name)?,
        None => original.to_string(),
    };
    if kept(&name) {
        let why = format!("the TLS session for {name} is not opened");
        return Ok(Opened::Opaque(Opaque { stream, first, tls_name: Some(name), why }));
    }
    finish(stream, accepted, name, leaves).await
}

async fn finish(
    stream: TcpStream,
    accepted: rustls::server::Accepted,
    name: String,
    leaves: &Leaves,
) -> Result<Opened, DecryptError> {
    let config = match leaves.config_for(&name).await {
        Ok(config) => config,
        Err(source) => return Err(DecryptError::Leaf { name, source }),
    };
    match StartHandshake::from_parts(accepted, stream).into_stream(config).await {
        Ok(stream) => {
            let h2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
            Ok(Opened::Readable(Readable::Tls { stream: Box::new(stream), name, h2 }))
        }
        Err(source) => Err(DecryptError::Handshake { name, source }),
    }
}

/// Says in the log why a flow was not served. The agent sees an alert or a closed connection.
pub fn report(flow: &Flow, why: &DecryptError) {
    let (agent, original) = (&flow.agent, flow.original);
    match why {
        DecryptError::Closed | DecryptError::Socket(_) => {
            tracing::debug!(%agent, %original, error = why as &dyn Error, "a connection ended early");
        }
        DecryptError::Leaf { .. } => {
            tracing::error!(%agent, %original, error = why as &dyn Error, "a connection was not served");
        }
        _ => tracing::info!(%agent, %original, error = why as &dyn Error, "a connection was not served"),
    }
}
