//! A load client: keep-alive HTTP/1.1 over TLS, as many requests as asked, and how long each took.
//!
//! Usage: shield-load HOST ADDRESS PATH CONNECTIONS REQUESTS [RATE]. Trusts the roots in `SSL_CERT_FILE`. With a rate
//! (requests a second) requests are due at fixed times, and waiting to be sent counts as taking long. Prints JSON.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt as _, Empty};
use hyper::client::conn::http1::SendRequest;
use hyper_util::rt::TokioIo;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

struct Load {
    host: String,
    address: SocketAddr,
    path: String,
    requests: usize,
    /// Time between two requests' due times; `None` means each follows the one before.
    every: Option<Duration>,
    begun: AtomicUsize,
}

fn main() -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(run())
}

async fn run() -> Result<()> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let [host, address, path, connections, requests, rate @ ..] = &words[..] else {
        anyhow::bail!("usage: shield-load HOST ADDRESS PATH CONNECTIONS REQUESTS [RATE]");
    };
    let every = rate.first().map(|rate| rate.parse().map(|rate: f64| Duration::from_secs_f64(1.0 / rate)));
    let load = Arc::new(Load {
        host: host.clone(),
        address: address.parse()?,
        path: path.clone(),
        requests: requests.parse()?,
        every: every.transpose()?,
        begun: AtomicUsize::new(0),
    });
    let tls = connector()?;
    let mut senders = Vec::new();
    for _ in 0..connections.parse()? {
        senders.push(connect(&load, &tls).await?);
    }
    let started = Instant::now();
    let running: Vec<_> =
        senders.into_iter().map(|sender| tokio::spawn(Arc::clone(&load).drive(sender, started))).collect();
    let mut times = Vec::with_capacity(load.requests);
    for connection in running {
        times.extend(connection.await??);
    }
    let seconds = started.elapsed().as_secs_f64();
    times.sort_unstable();
    let at = |part: f64| times[((times.len() - 1) as f64 * part) as usize].as_micros();
    println!(
        "{}",
        serde_json::json!({ "requests": times.len(), "seconds": seconds, "p50_us": at(0.5), "p99_us": at(0.99) })
    );
    Ok(())
}

impl Load {
    /// Sends requests on one connection until all are begun; how long each took.
    async fn drive(
        self: Arc<Self>,
        mut sender: SendRequest<Empty<Bytes>>,
        started: Instant,
    ) -> Result<Vec<Duration>> {
        let mut times = Vec::new();
        loop {
            let number = self.begun.fetch_add(1, Ordering::Relaxed);
            if number >= self.requests {
                return Ok(times);
            }
            let mut due = Instant::now();
            if let Some(every) = self.every {
                due = started + every * u32::try_from(number)?;
                tokio::time::sleep_until(due.into()).await;
            }
            let request = Request::get(&self.path).header("host", &self.host).body(Empty::new())?;
            let answer = sender.send_request(request).await?;
            ensure!(answer.status() == 200, "answered {}", answer.status());
            answer.into_body().collect().await?;
            times.push(due.elapsed());
        }
    }
}

async fn connect(load: &Load, tls: &TlsConnector) -> Result<SendRequest<Empty<Bytes>>> {
    let stream = TcpStream::connect(load.address).await.context("cannot connect")?;
    stream.set_nodelay(true)?;
    let stream = tls.connect(ServerName::try_from(load.host.clone())?, stream).await.context("TLS failed")?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    // How a connection ends shows in its requests.
    tokio::spawn(connection);
    sender.ready().await?;
    Ok(sender)
}

fn connector() -> Result<TlsConnector> {
    let file = std::env::var("SSL_CERT_FILE").context("SSL_CERT_FILE is not set")?;
    let mut roots = rustls::RootCertStore::empty();
    for root in CertificateDer::pem_file_iter(&file)? {
        // A root this library does not understand verifies nothing here.
        let _ = roots.add(root?);
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let tls = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(TlsConnector::from(Arc::new(tls)))
}
