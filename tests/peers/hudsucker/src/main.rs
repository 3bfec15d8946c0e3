//! hudsucker as it comes: terminates TLS with certificates of its own, forwards what was asked, looks at nothing.
//!
//! Usage: hudsucker-peer PORT CA-CERTIFICATE CA-KEY UPSTREAM-CA, all of them PEM files.

use std::error::Error;
use std::fs::read_to_string;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use hudsucker::Proxy;
use hudsucker::certificate_authority::RcgenAuthority;
use hudsucker::rcgen::{Issuer, KeyPair};
use hudsucker::rustls::crypto::aws_lc_rs;
use hudsucker::rustls::pki_types::{CertificateDer, pem::PemObject as _};
use hudsucker::rustls::{ClientConfig, RootCertStore};
use hyper_rustls::HttpsConnectorBuilder;

/// Certificates it keeps.
const CERTIFICATES: u64 = 1_000;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let [port, certificate, key, upstream] = words.as_slice() else {
        return Err("usage: hudsucker-peer PORT CA-CERTIFICATE CA-KEY UPSTREAM-CA".into());
    };
    let provider = aws_lc_rs::default_provider;
    let key = KeyPair::from_pem(&read_to_string(key)?)?;
    let issuer = Issuer::from_ca_cert_pem(&read_to_string(certificate)?, key)?;
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(upstream)?)?;
    let trust = ClientConfig::builder_with_provider(Arc::new(provider()))
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    let connector = HttpsConnectorBuilder::new().with_tls_config(trust).https_or_http();
    let proxy = Proxy::builder()
        .with_addr(SocketAddr::from((Ipv4Addr::LOCALHOST, port.parse()?)))
        .with_ca(RcgenAuthority::new(issuer, CERTIFICATES, provider()))
        .with_http_connector(connector.enable_http1().enable_http2().build())
        .build()?;
    Ok(proxy.start().await?)
}
