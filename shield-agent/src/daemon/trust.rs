//! The files that make programs trust the gate, written where every user can read them.
//!
//! The merged bundle is the host's roots, the operator's and ours: replacing a program's roots with it takes nothing
//! away. The host's own stores are never touched.

use std::fs;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;

use crate::config::Config;
use crate::ipc::gate::TrustFiles;
use crate::launch::JAVA_STORES;

/// Password of every Java trust store; it protects nothing.
const STORE_PASSWORD: &str = "changeit";

/// Characters of a PEM line.
const PEM_WIDTH: usize = 64;

/// Why trust could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum TrustError {
    /// The host has no roots, so no upstream could be verified.
    #[error("the host's certificate roots could not be read: install the package ca-certificates")]
    NoRoots(#[source] io::Error),
    /// A file of the operator's.
    #[error("upstream.extra_roots: no certificate could be read from {}", path.display())]
    ExtraRoots {
        /// Which.
        path: PathBuf,
        /// Why.
        source: rustls::pki_types::pem::Error,
    },
    /// A file of ours.
    #[error("trust file {} could not be written", path.display())]
    Write {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

/// DER of every root an upstream's certificate may chain to: the host's and `upstream.extra_roots`.
pub fn upstream_roots(config: &Config) -> Result<Vec<CertificateDer<'static>>, TrustError> {
    let host = rustls_native_certs::load_native_certs();
    if host.certs.is_empty() {
        let reason = host.errors.first().map_or_else(|| "none found".to_owned(), ToString::to_string);
        return Err(TrustError::NoRoots(io::Error::other(reason)));
    }
    let mut roots = host.certs;
    for path in &config.upstream.extra_roots {
        let failed = |source| TrustError::ExtraRoots { path: path.clone(), source };
        let before = roots.len();
        for root in CertificateDer::pem_file_iter(path).map_err(failed)? {
            roots.push(root.map_err(failed)?);
        }
        if roots.len() == before {
            return Err(failed(rustls::pki_types::pem::Error::NoItemsFound));
        }
    }
    Ok(roots)
}

/// Writes the trust files into `directory`.
pub fn write(directory: &Path, ca: &[u8], roots: &[CertificateDer<'_>]) -> Result<TrustFiles, TrustError> {
    let ca_pem = pem(ca);
    let bundle_pem: String = roots.iter().map(|root| pem(root)).chain([ca_pem.clone()]).collect();
    let ca = replace(&directory.join("ca.pem"), ca_pem.as_bytes())?;
    let bundle = replace(&directory.join("bundle.pem"), bundle_pem.as_bytes())?;
    let java = JAVA_STORES.iter().map(Path::new).find(|store| store.is_file());
    Ok(TrustFiles { java: java.and_then(|store| java_store(store, &ca, directory)), ca, bundle })
}

/// A copy of the host's Java trust store with our CA; none without Java's own tool, which alone knows the format.
fn java_store(store: &Path, ca: &Path, directory: &Path) -> Option<PathBuf> {
    let (draft, place) = (directory.join("cacerts.new"), directory.join("cacerts"));
    let content = fs::read(store).ok()?;
    fs::write(&draft, content).ok()?;
    let mut keytool = Command::new("keytool");
    keytool.args(["-importcert", "-noprompt", "-alias", "agent.shield", "-storepass", STORE_PASSWORD]);
    keytool.arg("-keystore").arg(&draft).arg("-file").arg(ca);
    keytool.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let made = keytool.status().is_ok_and(|status| status.success());
    (made && fs::rename(&draft, &place).is_ok()).then_some(place)
}

/// Writes a file as a whole: an agent being started never reads half of it.
fn replace(path: &Path, content: &[u8]) -> Result<PathBuf, TrustError> {
    let draft = path.with_extension("new");
    let write = || {
        let mut file = fs::File::create(&draft)?;
        file.write_all(content)?;
        fs::rename(&draft, path)
    };
    write().map(|()| path.to_owned()).map_err(|source| TrustError::Write { path: path.to_owned(), source })
}

/// A certificate as PEM.
fn pem(der: &[u8]) -> String {
    let text = STANDARD.encode(der);
    let mut pem = String::from("-----BEGIN CERTIFICATE-----\n");
    for start in (0..text.len()).step_by(PEM_WIDTH) {
        pem.push_str(&text[start..text.len().min(start + PEM_WIDTH)]);
        pem.push('\n');
    }
    pem.push_str("-----END CERTIFICATE-----\n");
    pem
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bundle_holds_the_hosts_roots_and_ours_last() {
        let dir = tempfile::tempdir().unwrap();
        let root = CertificateDer::from(vec![7; 100]);
        let files = write(dir.path(), &[9; 100], std::slice::from_ref(&root)).unwrap();
        let read = |path: &Path| -> Vec<_> {
            CertificateDer::pem_file_iter(path).unwrap().map(|der| der.unwrap().to_vec()).collect()
        };
        assert_eq!(read(&files.bundle), [vec![7; 100], vec![9; 100]]);
        assert_eq!(read(&files.ca), [vec![9; 100]]);
    }
}
