//! Whom upstream connections trust: the given roots and nothing else, and no word of the agent's in it.

use std::sync::Arc;

use rustls::crypto::CryptoProvider;
use rustls::{ClientConfig, RootCertStore};

/// The client side of TLS for these roots (DER). Roots that cannot be read are left out and named in the log.
pub fn client_config(
    roots: &[Vec<u8>],
    provider: Arc<CryptoProvider>,
) -> Result<ClientConfig, rustls::Error> {
    let mut store = RootCertStore::empty();
    let (_, unreadable) = store.add_parsable_certificates(roots.iter().map(|root| root.as_slice().into()));
    if unreadable > 0 {
        tracing::warn!(unreadable, "some root certificates cannot be read and are not trusted");
    }
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(store)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    // Early data can be replayed: a request would be executed twice.
    config.enable_early_data = false;
    Ok(config)
}
