//! An agent that says on each connection exactly what it was told to, and tells what was answered.
//!
//! It knows no HTTP but where an answer on the first stream of HTTP/2 ends.

use std::io::{BufRead as _, Write as _};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use shield_tests::speech::{Heard, Protocol, Saying};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

/// Connections at a time.
const AT_ONCE: usize = 24;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let connectors = Arc::new([connector(b"http/1.1")?, connector(b"h2")?]);
    let places = Arc::new(Semaphore::new(AT_ONCE));
    let mut speaking = JoinSet::new();
    for (number, line) in std::io::stdin().lock().lines().enumerate() {
        let saying: Saying = serde_json::from_str(&line?)?;
        let (connectors, places) = (Arc::clone(&connectors), Arc::clone(&places));
        speaking.spawn(async move {
            let _place = places.acquire().await;
            let mut answer = Vec::new();
            let error = say(&saying, &connectors, &mut answer).await.err();
            Heard { number, answer, error: error.map(|error| format!("{error:#}")) }
        });
    }
    let mut out = std::io::stdout().lock();
    while let Some(heard) = speaking.join_next().await {
        serde_json::to_writer(&mut out, &heard?)?;
        out.write_all(b"\n")?;
    }
    Ok(())
}

/// A client that trusts what `shield run` tells agents to trust.
fn connector(protocol: &[u8]) -> Result<TlsConnector> {
    let bundle = std::env::var_os("SSL_CERT_FILE").context("SSL_CERT_FILE is not set: nothing is trusted")?;
    let mut roots = rustls::RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(bundle)? {
        roots.add(certificate?)?;
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![protocol.to_vec()];
    Ok(TlsConnector::from(Arc::new(config)))
}

async fn say(saying: &Saying, connectors: &[TlsConnector; 2], answer: &mut Vec<u8>) -> Result<()> {
    let stream = TcpStream::connect(saying.to).await.context("cannot connect")?;
    let Some((name, protocol)) = &saying.tls else { return converse(stream, saying, false, answer).await };
    let h2 = *protocol == Protocol::H2;
    let name = ServerName::try_from(name.clone())?;
    let stream = connectors[usize::from(h2)].connect(name, stream).await.context("no TLS session")?;
    converse(stream, saying, h2, answer).await
}

async fn converse(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    saying: &Saying,
    h2: bool,
    answer: &mut Vec<u8>,
) -> Result<()> {
    stream.write_all(&saying.bytes).await.context("cannot write")?;
    stream.flush().await.context("cannot write")?;
    loop {
        let patience = if answer.is_empty() || h2 { saying.patience } else { saying.between };
        let Ok(read) = timeout(Duration::from_millis(patience), stream.read_buf(answer)).await else {
            return Ok(());
        };
        if read.context("cannot read")? == 0 || (h2 && is_over(answer)) {
            return Ok(());
        }
    }
}

/// Whether frames say that stream 1, or the connection, ended.
fn is_over(mut frames: &[u8]) -> bool {
    const HEADER: usize = 9;
    const END_STREAM: u8 = 1;
    while let Some((header, rest)) = frames.split_at_checked(HEADER) {
        let length = u32::from_be_bytes([0, header[0], header[1], header[2]]) as usize;
        let Some((_, rest)) = rest.split_at_checked(length) else { return false };
        let (kind, flags, first_stream) = (header[3], header[4], header[5..] == [0, 0, 0, 1]);
        match kind {
            0 | 1 if first_stream && flags & END_STREAM != 0 => return true,
            3 if first_stream => return true,
            7 => return true,
            _ => frames = rest,
        }
    }
    false
}
