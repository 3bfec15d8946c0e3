//! `upstream.hosts`: reads what single hosts have of their own and tries it, so that a mistake in it ends the start with a
//! sentence and not the worker.
//!
//! A private key that others can read is refused. It goes to the worker, which uses it, and to nobody else.

use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer, PrivateKeyDer};

use crate::config::{TlsFiles, UpstreamHost};
use crate::flow::upstream::trust::client_config;
use crate::ipc::worker::{HostTrust, Identity};

/// Why what a host has of its own cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum UpstreamHostError {
    /// Nothing of that kind is in the file.
    #[error("upstream.hosts: no {kind} in PEM could be read from {}", path.display())]
    Read {
        /// What should be in it.
        kind: &'static str,
        /// The file.
        path: PathBuf,
        /// Why.
        source: pem::Error,
    },
    /// The key's file is gone.
    #[error("upstream.hosts: {} could not be looked at", .0.display())]
    Key(PathBuf, #[source] io::Error),
    /// The key can be read by others.
    #[error("upstream.hosts: the private key {} can be read by other users (mode {mode:o}): chmod 600", path.display())]
    Exposed {
        /// The file.
        path: PathBuf,
        /// Its mode.
        mode: u32,
    },
    /// The files do not make a TLS client.
    #[error("upstream.hosts: its number {number} cannot be used")]
    Unusable {
        /// Which, from 1.
        number: usize,
        /// Why.
        source: rustls::Error,
    },
}

/// Reads the files of `hosts`; `roots` are the usual ones.
pub fn read(
    hosts: &[UpstreamHost],
    roots: &[CertificateDer<'_>],
) -> Result<Vec<HostTrust>, UpstreamHostError> {
    let usual: Vec<Vec<u8>> = roots.iter().map(|root| root.to_vec()).collect();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let read = |(number, host): (usize, &UpstreamHost)| {
        let trust = HostTrust {
            host: host.host.clone(),
            roots: all("certificate", &host.roots, |root: CertificateDer<'_>| root.to_vec())?,
            crls: all("revocation list", &host.crls, |list: CertificateRevocationListDer<'_>| list.to_vec())?,
            identity: host.identity.as_ref().map(identity).transpose()?,
            addresses: host.addresses.clone(),
        };
        let unusable = |source| UpstreamHostError::Unusable { number: number + 1, source };
        client_config(&trust, &usual, &provider).map_err(unusable)?;
        Ok(trust)
    };
    hosts.iter().enumerate().map(read).collect()
}

fn identity(files: &TlsFiles) -> Result<Identity, UpstreamHostError> {
    let key = |error| UpstreamHostError::Key(files.key.clone(), error);
    let mode = std::fs::metadata(&files.key).map_err(key)?.mode() & 0o777;
    if mode & 0o077 != 0 {
        return Err(UpstreamHostError::Exposed { path: files.key.clone(), mode });
    }
    let failed = |source| UpstreamHostError::Read { kind: "private key", path: files.key.clone(), source };
    let key = PrivateKeyDer::from_pem_file(&files.key).map_err(failed)?;
    let chain =
        one_or_more("certificate", &files.cert, |certificate: CertificateDer<'_>| certificate.to_vec())?;
    Ok(Identity { chain, key: key.secret_der().to_vec() })
}

fn all<T: PemObject>(
    kind: &'static str,
    paths: &[PathBuf],
    der: impl Fn(T) -> Vec<u8>,
) -> Result<Vec<Vec<u8>>, UpstreamHostError> {
    let mut all = Vec::new();
    for path in paths {
        all.extend(one_or_more(kind, path, &der)?);
    }
    Ok(all)
}

fn one_or_more<T: PemObject>(
    kind: &'static str,
    path: &Path,
    der: impl Fn(T) -> Vec<u8>,
) -> Result<Vec<Vec<u8>>, UpstreamHostError> {
    let failed = |source| UpstreamHostError::Read { kind, path: path.to_owned(), source };
    let items = T::pem_file_iter(path).map_err(failed)?;
    let items = items.map(|item| item.map(&der)).collect::<Result<Vec<_>, _>>().map_err(failed)?;
    if items.is_empty() { Err(failed(pem::Error::NoItemsFound)) } else { Ok(items) }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;
    use crate::flow::policy::host::HostPattern;

    /// What a host with this certificate and this key becomes.
    fn with(certificate: &str, key: &str, mode: u32) -> Result<Vec<HostTrust>, UpstreamHostError> {
        let dir = tempfile::tempdir().unwrap();
        let files = TlsFiles { cert: dir.path().join("c.pem"), key: dir.path().join("k.pem") };
        fs::write(&files.cert, certificate).unwrap();
        fs::write(&files.key, key).unwrap();
        fs::set_permissions(&files.key, fs::Permissions::from_mode(mode)).unwrap();
        let roots = vec![files.cert.clone()];
        read(
            &[UpstreamHost {
                host: vec![HostPattern::Any],
                roots,
                crls: vec![],
                identity: Some(files),
                addresses: vec![],
            }],
            &[],
        )
    }

    #[test]
    fn an_identity_is_read_only_when_its_key_is_private_and_its_own() {
        let key = rcgen::KeyPair::generate().unwrap();
        let params = rcgen::CertificateParams::new(vec!["bot.example".to_owned()]).unwrap();
        let certificate = params.self_signed(&key).unwrap().pem();
        let read = with(&certificate, &key.serialize_pem(), 0o600).unwrap();
        assert_eq!(read[0].identity.as_ref().unwrap().key, key.serialize_der());
        assert!(!format!("{read:?}").contains(&format!("{:?}", key.serialize_der())), "a key is never shown");

        let exposed = with(&certificate, &key.serialize_pem(), 0o640);
        assert!(matches!(exposed, Err(UpstreamHostError::Exposed { mode: 0o640, .. })), "{exposed:?}");
        let other = with(&certificate, &rcgen::KeyPair::generate().unwrap().serialize_pem(), 0o600);
        assert!(matches!(other, Err(UpstreamHostError::Unusable { number: 1, .. })), "{other:?}");
        let empty = with("", &key.serialize_pem(), 0o600);
        assert!(matches!(empty, Err(UpstreamHostError::Read { kind: "certificate", .. })), "{empty:?}");
    }
}
