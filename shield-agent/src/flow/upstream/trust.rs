//! Whom upstream connections trust and who we are on them: for each host the given roots and nothing else, and no word of
//! the agent's in it.
//!
//! An identity is shown to the hosts it is for and to nobody else, after their certificate was verified.

use std::sync::Arc;

use rustls::client::{Resumption, WebPkiServerVerifier};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::PrivateKeyDer;
use rustls::server::VerifierBuilderError;
use rustls::{ClientConfig, Error, RootCertStore};
use tokio_rustls::TlsConnector;

use crate::flow::policy::host::HostPattern;
use crate::ipc::worker::HostTrust;

/// The client side of TLS for every host.
pub struct Trust {
    usual: Connectors,
    /// The first that is meant counts.
    hosts: Vec<(Vec<HostPattern>, Connectors)>,
}

/// The client side of TLS for some hosts.
struct Connectors {
    /// Offers HTTP/2 and HTTP/1.1.
    both: TlsConnector,
    /// Offers HTTP/1.1 alone.
    http1: TlsConnector,
}

impl Trust {
    /// Trusts `roots` (DER), but for `hosts` what they say.
    ///
    /// # Errors
    /// When a list of revocations or an identity cannot be used.
    pub fn new(
        roots: &[Vec<u8>],
        hosts: &[HostTrust],
        provider: &Arc<CryptoProvider>,
    ) -> Result<Self, Error> {
        let usual = HostTrust { roots: roots.to_vec(), ..HostTrust::default() };
        let special = hosts.iter().map(|host| {
            let own = Connectors::new(host, &usual.roots, provider)?;
            Ok((host.host.clone(), own))
        });
        Ok(Self {
            hosts: special.collect::<Result<_, Error>>()?,
            usual: Connectors::new(&usual, &[], provider)?,
        })
    }

    /// What connects to a canonical host; with `http1`, offering nothing newer.
    pub fn connector(&self, host: &str, http1: bool) -> &TlsConnector {
        let meant = self.hosts.iter().find(|(patterns, _)| patterns.iter().any(|it| it.matches(host)));
        let connectors = meant.map_or(&self.usual, |(_, connectors)| connectors);
        if http1 { &connectors.http1 } else { &connectors.both }
    }
}

impl Connectors {
    fn new(trust: &HostTrust, usual: &[Vec<u8>], provider: &Arc<CryptoProvider>) -> Result<Self, Error> {
        let both = client_config(trust, usual, provider)?;
        let mut http1 = both.clone();
        http1.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Self { both: Arc::new(both).into(), http1: Arc::new(http1).into() })
    }
}

/// The client side of TLS for one host; with the `usual` roots when it has none of its own. Roots that cannot be read are
/// left out and named in the log.
///
/// # Errors
/// When a list of revocations or the identity cannot be used.
pub fn client_config(
    trust: &HostTrust,
    usual: &[Vec<u8>],
    provider: &Arc<CryptoProvider>,
) -> Result<ClientConfig, Error> {
    let store = store(if trust.roots.is_empty() { usual } else { &trust.roots });
    let builder =
        ClientConfig::builder_with_provider(Arc::clone(provider)).with_safe_default_protocol_versions()?;
    let builder = if trust.crls.is_empty() {
        builder.with_root_certificates(store)
    } else {
        // A certificate no list covers is refused, and so is a list that ran out.
        let verifier = WebPkiServerVerifier::builder_with_provider(store.into(), Arc::clone(provider))
            .with_crls(trust.crls.iter().map(|list| list.clone().into()))
            .enforce_revocation_expiration()
            .build()
            .map_err(no_verifier)?;
        builder.with_webpki_verifier(verifier)
    };
    let mut config = match &trust.identity {
        None => builder.with_no_client_auth(),
        Some(identity) => {
            let chain = identity.chain.iter().map(|certificate| certificate.clone().into()).collect();
            let key = PrivateKeyDer::try_from(identity.key.clone());
            let key = key.map_err(|reason| Error::General(format!("the private key: {reason}")))?;
            builder.with_client_auth_cert(chain, key)?
        }
    };
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    // Early data can be replayed: a request would be executed twice.
    config.enable_early_data = false;
    // A resumed session is not verified: what was revoked or ran out since would pass. And rustls keeps sessions by name:
    // one that another server of that name does not know can end its handshake.
    config.resumption = Resumption::disabled();
    Ok(config)
}

fn store(roots: &[Vec<u8>]) -> RootCertStore {
    let mut store = RootCertStore::empty();
    let (_, unreadable) = store.add_parsable_certificates(roots.iter().map(|root| root.as_slice().into()));
    if unreadable > 0 {
        tracing::warn!(unreadable, "some root certificates cannot be read and are not trusted");
    }
    store
}

fn no_verifier(error: VerifierBuilderError) -> Error {
    match error {
        VerifierBuilderError::InvalidCrl(reason) => Error::InvalidCertRevocationList(reason),
        other => Error::General(other.to_string()),
    }
}

#[cfg(test)]
mod tests;
