//! Leaves: one TLS configuration per name, made once, bounded in number, sharing one key for a while.
//!
//! The key is the worker's own and new every few hours; the signature comes from the signer.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use quick_cache::sync::Cache;
use rcgen::PublicKeyData;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer};
use rustls::server::ResolvesServerCert;
use rustls::sign::{CertifiedKey, SigningKey};
use rustls::{ServerConfig, server::ClientHello};
use tokio::sync::Mutex;
use tokio::time::Instant;

use super::signer::{NotSigned, Signer};

/// Names whose configuration is kept.
const KEPT_NAMES: usize = 1000;

/// How long a key and the leaves for it are used; well below a leaf's life of a day.
const EPOCH: Duration = Duration::from_secs(6 * 60 * 60);

/// Why there is no leaf.
#[derive(Clone, Debug, thiserror::Error)]
pub enum NoLeaf {
    /// No key of our own.
    #[error("a key could not be made")]
    Key(#[source] Arc<dyn std::error::Error + Send + Sync>),
    /// The signer did not sign.
    #[error("the leaf was not signed")]
    NotSigned(#[source] Arc<NotSigned>),
}

/// Makes and keeps TLS configurations.
pub struct Leaves {
    signer: Signer,
    ca: CertificateDer<'static>,
    /// Everything but the certificate; its session store and ticket keys are shared by all names.
    base: ServerConfig,
    provider: Arc<CryptoProvider>,
    epoch: Mutex<Option<Epoch>>,
}

#[derive(Clone)]
struct Epoch {
    began: Instant,
    key: Arc<dyn SigningKey>,
    public_key: Arc<[u8]>,
    configs: Arc<Cache<String, Arc<ServerConfig>>>,
}

impl Leaves {
    /// Leaves signed by `signer` under the CA certificate `ca` (DER).
    pub fn new(signer: Signer, ca: Vec<u8>, provider: Arc<CryptoProvider>) -> Result<Self, rustls::Error> {
        let mut base = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_cert_resolver(Arc::new(NoCertificate));
        base.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        // Ours knows which suite is cheap here; clients list them by habit.
        base.ignore_client_order = true;
        base.ticketer = rustls::crypto::aws_lc_rs::Ticketer::new()?;
        // Early data could be replayed by whoever saw it.
        base.max_early_data_size = 0;
        Ok(Self { signer, ca: ca.into(), base, provider, epoch: Mutex::new(None) })
    }

    /// The configuration for a canonical name or IP literal; concurrent questions for one name are asked once.
    pub async fn config_for(&self, name: &str) -> Result<Arc<ServerConfig>, NoLeaf> {
        let epoch = self.epoch().await?;
        match epoch.configs.get_value_or_guard_async(name).await {
            Ok(config) => Ok(config),
            Err(place) => {
                let config = self.make(name, &epoch).await?;
                // The place may have been given away meanwhile; this answer is good all the same.
                let _ = place.insert(Arc::clone(&config));
                Ok(config)
            }
        }
    }

    async fn make(&self, name: &str, epoch: &Epoch) -> Result<Arc<ServerConfig>, NoLeaf> {
        let signed = self.signer.sign(name, &epoch.public_key).await;
        let leaf = signed.map_err(|error| NoLeaf::NotSigned(Arc::new(error)))?;
        let certified = CertifiedKey::new(vec![leaf.into(), self.ca.clone()], Arc::clone(&epoch.key));
        let mut config = self.base.clone();
        config.cert_resolver = Arc::new(rustls::sign::SingleCertAndKey::from(certified));
        Ok(Arc::new(config))
    }

    async fn epoch(&self) -> Result<Epoch, NoLeaf> {
        let mut current = self.epoch.lock().await;
        if let Some(epoch) = current.as_ref().filter(|epoch| epoch.began.elapsed() < EPOCH) {
            return Ok(epoch.clone());
        }
        Ok(current.insert(new_epoch(&self.provider)?).clone())
    }
}

fn new_epoch(provider: &CryptoProvider) -> Result<Epoch, NoLeaf> {
    let pair = rcgen::KeyPair::generate().map_err(|error| NoLeaf::Key(Arc::new(error)))?;
    let private = PrivatePkcs8KeyDer::from(pair.serialize_der());
    let key = provider.key_provider.load_private_key(private.into());
    Ok(Epoch {
        began: Instant::now(),
        key: key.map_err(|error| NoLeaf::Key(Arc::new(error)))?,
        public_key: pair.subject_public_key_info().into(),
        configs: Arc::new(Cache::new(KEPT_NAMES)),
    })
}

/// Stands where each name's certificate is put.
struct NoCertificate;

impl fmt::Debug for NoCertificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("NoCertificate")
    }
}

impl ResolvesServerCert for NoCertificate {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        None
    }
}
