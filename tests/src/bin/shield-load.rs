//! A load client: HTTPS requests, as many as asked, and how long each took, as JSON. It opens its connections, says `ready`
//! and waits for a line on standard input before it begins.
//!
//! Usage: shield-load HOST ADDRESS PATH CONNECTIONS REQUESTS [WORD…]. Trusts the roots in `SSL_CERT_FILE`. Words:
//!
//! * `rate=N`: N requests a second are due at fixed times, and waiting to be sent counts as taking long;
//! * `h2=N`: HTTP/2 with N requests under way on each connection, else HTTP/1.1;
//! * `fresh`: a connection for each request; `{}` in HOST is then its number;
//! * `send=BYTES`: requests are POSTs with so long a body;
//! * `via=ADDRESS`: through a proxy there that is asked to CONNECT and shows a certificate nobody checks;
//! * `keep`: afterwards waits for another line with its connections open.

use std::io::BufRead as _;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{DigitallySignedStruct, SignatureScheme};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

#[derive(Default)]
struct Options {
    /// Time between two requests' due times; `None` means each follows the one before.
    every: Option<Duration>,
    streams: Option<usize>,
    fresh: bool,
    send: Option<usize>,
    via: Option<SocketAddr>,
    keep: bool,
}

struct Load {
    host: String,
    address: SocketAddr,
    path: String,
    requests: usize,
    options: Options,
    body: Bytes,
    tls: TlsConnector,
    begun: AtomicUsize,
}

/// Sends requests over one connection.
#[derive(Clone)]
enum Sender {
    H1(Arc<tokio::sync::Mutex<http1::SendRequest<Full<Bytes>>>>),
    H2(http2::SendRequest<Full<Bytes>>),
}

fn main() -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(run())
}

async fn run() -> Result<()> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let [host, address, path, connections, requests, options @ ..] = &words[..] else {
        bail!("usage: shield-load HOST ADDRESS PATH CONNECTIONS REQUESTS [WORD...]");
    };
    let options = read(options)?;
    let load = Arc::new(Load {
        host: host.clone(),
        address: address.parse()?,
        path: path.clone(),
        requests: requests.parse()?,
        body: Bytes::from(vec![b'x'; options.send.unwrap_or(0)]),
        tls: connector(options.streams.is_some(), options.via.is_some())?,
        options,
        begun: AtomicUsize::new(0),
    });
    let mut senders = Vec::new();
    for _ in 0..connections.parse()? {
        let sender = if load.options.fresh { None } else { Some(load.connect(&load.host).await?) };
        senders.extend(vec![sender; load.options.streams.unwrap_or(1)]);
    }
    // Whoever started this measures from here on.
    println!("ready");
    a_word().await?;
    let started = Instant::now();
    let running = senders.iter().map(|sender| tokio::spawn(Arc::clone(&load).drive(sender.clone(), started)));
    let mut times = Vec::with_capacity(load.requests);
    for connection in running.collect::<Vec<_>>() {
        times.extend(connection.await??);
    }
    let seconds = started.elapsed().as_secs_f64();
    times.sort_unstable();
    let at = |part: f64| times[((times.len() - 1) as f64 * part) as usize].as_micros();
    println!(
        "{}",
        serde_json::json!({ "requests": times.len(), "seconds": seconds, "p50_us": at(0.5), "p99_us": at(0.99) })
    );
    if load.options.keep {
        // Whoever started this looks at the other side meanwhile.
        a_word().await?;
    }
    Ok(())
}

/// Waits for a line.
async fn a_word() -> Result<()> {
    tokio::task::spawn_blocking(|| std::io::stdin().lock().read_line(&mut String::new())).await??;
    Ok(())
}

fn read(words: &[String]) -> Result<Options> {
    let mut options = Options::default();
    for word in words {
        match word.split_once('=').unwrap_or((word, "")) {
            ("rate", rate) => options.every = Some(Duration::from_secs_f64(1.0 / rate.parse::<f64>()?)),
            ("h2", streams) => options.streams = Some(streams.parse()?),
            ("fresh", _) => options.fresh = true,
            ("send", bytes) => options.send = Some(bytes.parse()?),
            ("via", proxy) => options.via = Some(proxy.parse()?),
            ("keep", _) => options.keep = true,
            _ => bail!("`{word}` is not known"),
        }
    }
    Ok(options)
}

impl Load {
    /// Sends requests until all are begun; how long each took.
    async fn drive(self: Arc<Self>, sender: Option<Sender>, started: Instant) -> Result<Vec<Duration>> {
        let mut times = Vec::new();
        loop {
            let number = self.begun.fetch_add(1, Ordering::Relaxed);
            if number >= self.requests {
                return Ok(times);
            }
            let mut due = Instant::now();
            if let Some(every) = self.options.every {
                due = started + every * u32::try_from(number)?;
                tokio::time::sleep_until(due.into()).await;
            }
            match &sender {
                Some(sender) => self.ask(sender, &self.host).await?,
                None => {
                    let host = self.host.replace("{}", &number.to_string());
                    self.ask(&self.connect(&host).await?, &host).await?;
                }
            }
            times.push(due.elapsed());
        }
    }

    async fn ask(&self, sender: &Sender, host: &str) -> Result<()> {
        let method = if self.options.send.is_some() { "POST" } else { "GET" };
        let request = Request::builder().method(method);
        let body = Full::new(self.body.clone());
        let answer = match sender {
            Sender::H1(sender) => {
                let request = request.uri(&self.path).header("host", host).body(body)?;
                let mut sender = sender.lock().await;
                sender.ready().await?;
                sender.send_request(request).await?
            }
            Sender::H2(sender) => {
                let request = request.uri(format!("https://{host}{}", self.path)).body(body)?;
                let mut sender = sender.clone();
                sender.ready().await?;
                sender.send_request(request).await?
            }
        };
        ensure!(answer.status() == 200, "answered {}", answer.status());
        let mut body = answer.into_body();
        while let Some(frame) = body.frame().await {
            frame?;
        }
        Ok(())
    }

    async fn connect(&self, host: &str) -> Result<Sender> {
        let mut stream = TcpStream::connect(self.options.via.unwrap_or(self.address)).await?;
        stream.set_nodelay(true)?;
        if self.options.via.is_some() {
            ask_for_tunnel(&mut stream, self.address).await?;
        }
        let stream =
            self.tls.connect(ServerName::try_from(host.to_owned())?, stream).await.context("TLS failed")?;
        // How a connection ends shows in its requests.
        if self.options.streams.is_some() {
            ensure!(stream.get_ref().1.alpn_protocol() == Some(b"h2"), "the other side speaks no HTTP/2");
            let (sender, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await?;
            tokio::spawn(connection);
            return Ok(Sender::H2(sender));
        }
        let (sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        tokio::spawn(connection);
        Ok(Sender::H1(Arc::new(sender.into())))
    }
}

async fn ask_for_tunnel(stream: &mut TcpStream, to: SocketAddr) -> Result<()> {
    stream.write_all(format!("CONNECT {to} HTTP/1.1\r\nHost: {to}\r\n\r\n").as_bytes()).await?;
    let mut answer = Vec::new();
    while !answer.ends_with(b"\r\n\r\n") {
        answer.push(stream.read_u8().await?);
    }
    ensure!(answer.starts_with(b"HTTP/1.1 200"), "no tunnel: {}", String::from_utf8_lossy(&answer));
    Ok(())
}

fn connector(h2: bool, unchecked: bool) -> Result<TlsConnector> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let tls = rustls::ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()?;
    let mut tls = if unchecked {
        tls.dangerous().with_custom_certificate_verifier(Arc::new(Unchecked(provider))).with_no_client_auth()
    } else {
        tls.with_root_certificates(roots()?).with_no_client_auth()
    };
    // Every connection pays for a whole handshake, as one from another program would.
    tls.resumption = rustls::client::Resumption::disabled();
    tls.alpn_protocols = vec![if h2 { b"h2".to_vec() } else { b"http/1.1".to_vec() }];
    Ok(TlsConnector::from(Arc::new(tls)))
}

fn roots() -> Result<rustls::RootCertStore> {
    let file = std::env::var("SSL_CERT_FILE").context("SSL_CERT_FILE is not set")?;
    let mut roots = rustls::RootCertStore::empty();
    for root in CertificateDer::pem_file_iter(&file)? {
        // A root this library does not understand verifies nothing here.
        let _ = roots.add(root?);
    }
    Ok(roots)
}

/// Takes any certificate: that of a proxy in a measurement, which is for another name.
#[derive(Debug)]
struct Unchecked(Arc<CryptoProvider>);

impl ServerCertVerifier for Unchecked {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let known = &self.0.signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, certificate, signed, known)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let known = &self.0.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, certificate, signed, known)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
