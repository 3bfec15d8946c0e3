//! The certificate authority of this install: its key, its certificate, and the leaves it signs.
//!
//! Created once in a directory only its owner can read; trusted only inside agents' sandboxes, never by the host.

mod files;

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, PublicKeyData, SanType, SerialNumber, SubjectPublicKeyInfo,
};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

use crate::flow::http::host;
use crate::ipc::signer::SignRefused;

/// How long the CA lives. Its certificate is trusted nowhere but in sandboxes of this host, so that an early end
/// would protect nobody and stop every agent on one day.
const CA_LIFE: Duration = Duration::from_hours(10 * 365 * 24);
/// From the leaf's beginning to its end.
const LEAF_LIFE: Duration = Duration::from_hours(24);
/// How far back a certificate begins: clocks of containers and virtual machines differ.
const BACKDATED: Duration = Duration::from_hours(1);
/// Common name of every leaf. The name served is in the subject alternative name, where clients look.
const LEAF_SUBJECT: &str = "agent.shield leaf";

/// The CA: able to sign, unable to show its key.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    certificate: CertificateDer<'static>,
}

/// Why there is no CA.
#[derive(Debug, thiserror::Error)]
pub enum AuthorityError {
    /// A file or directory could not be used.
    #[error("cannot {act} {}", path.display())]
    File {
        /// What was tried.
        act: &'static str,
        /// With which path.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The key can be read by others.
    #[error("{} can be read by other users (mode {mode:o}): replace the CA by removing its directory", path.display())]
    Exposed {
        /// The key's file.
        path: PathBuf,
        /// Its mode.
        mode: u32,
    },
    /// A file does not hold what it should.
    #[error("{} is not {expected}: restore it, or remove its directory to make a new CA", path.display())]
    NotOurs {
        /// The file.
        path: PathBuf,
        /// What was expected in it.
        expected: &'static str,
    },
    /// The library could not make a key or certificate.
    #[error("cannot make the certificate authority")]
    Making(#[source] rcgen::Error),
}

impl Authority {
    /// The CA kept in `directory`, made on first use.
    ///
    /// The key is written before the certificate, each durably and as a whole: after a crash in between, the next
    /// start issues the certificate that is missing.
    pub fn load_or_create(directory: &Path) -> Result<Self, AuthorityError> {
        files::create_private_directory(directory)?;
        let (key_path, certificate_path) = (directory.join("ca.key"), directory.join("ca.pem"));
        let key = match files::read_private(&key_path)? {
            Some(pem) => KeyPair::from_pem(&pem)
                .map_err(|_| AuthorityError::NotOurs { path: key_path, expected: "a private key" })?,
            None => {
                let key = KeyPair::generate().map_err(AuthorityError::Making)?;
                files::write_durably(&key_path, &key.serialize_pem(), files::PRIVATE)?;
                key
            }
        };
        let certificate = match files::read(&certificate_path)? {
            Some(pem) => certificate_of(&key, &pem).ok_or(AuthorityError::NotOurs {
                path: certificate_path,
                expected: "the certificate of the key beside it",
            })?,
            None => {
                let made = issue_ca(&key, SystemTime::now()).map_err(AuthorityError::Making)?;
                files::write_durably(&certificate_path, &made.pem(), files::PUBLIC)?;
                made.der().clone()
            }
        };
        let issuer = Issuer::from_ca_cert_der(&certificate, key).map_err(AuthorityError::Making)?;
        Ok(Self { issuer, certificate })
    }

    /// DER of the CA certificate, for `WorkerConfig` and trust bundles.
    pub fn certificate(&self) -> &CertificateDer<'static> {
        &self.certificate
    }

    /// Signs a leaf for `name` (canonical DNS name or IP address) and the key in `public_key`
    /// (DER SubjectPublicKeyInfo), valid from an hour before `now` for 24 hours.
    pub fn sign(&self, name: &str, public_key: &[u8], now: SystemTime) -> Result<Vec<u8>, SignRefused> {
        let key = SubjectPublicKeyInfo::from_der(public_key).map_err(|_| SignRefused::BadKey)?;
        let mut leaf = begin(LEAF_SUBJECT, now, LEAF_LIFE);
        leaf.subject_alt_names =
            vec![alternative_name(name).ok_or_else(|| SignRefused::BadName(name.to_owned()))?];
        leaf.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        leaf.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        leaf.use_authority_key_identifier_extension = true;
        let signed = leaf.signed_by(&key, &self.issuer).map_err(|_| SignRefused::BadKey)?;
        Ok(signed.der().to_vec())
    }
}

impl std::fmt::Debug for Authority {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Authority").finish_non_exhaustive()
    }
}

/// What `name` is in a certificate; `None` unless it is spelled the one way the flow spells it.
fn alternative_name(name: &str) -> Option<SanType> {
    if let Ok(address) = name.parse::<IpAddr>() {
        return (address.to_canonical().to_string() == name).then_some(SanType::IpAddress(address));
    }
    if host::canonical(name).ok()? != name {
        return None;
    }
    name.try_into().ok().map(SanType::DnsName)
}

fn issue_ca(key: &KeyPair, now: SystemTime) -> Result<rcgen::Certificate, rcgen::Error> {
    let mark: String = serial()[..4].iter().map(|byte| format!("{byte:02x}")).collect();
    let mut ca = begin(&format!("agent.shield CA {mark}"), now, CA_LIFE);
    ca.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    ca.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    ca.self_signed(key)
}

fn begin(subject: &str, now: SystemTime, life: Duration) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.not_before = (now - BACKDATED).into();
    params.not_after = (now - BACKDATED + life).into();
    params.serial_number = Some(SerialNumber::from_slice(&serial()));
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, subject);
    params
}

/// A positive serial nobody can guess. Leaves share a key, so the library's default (a digest of the key) would
/// give all of them the same one, which some clients refuse.
fn serial() -> [u8; 16] {
    let mut serial: [u8; 16] = rand::random();
    serial[0] = serial[0] & 0x7f | 0x40;
    serial
}

fn certificate_of(key: &KeyPair, pem: &str) -> Option<CertificateDer<'static>> {
    let certificate = CertificateDer::from_pem_slice(pem.as_bytes()).ok()?;
    let (_, parsed) = x509_parser::parse_x509_certificate(&certificate).ok()?;
    (parsed.public_key().raw == key.subject_public_key_info()).then_some(())?;
    Some(certificate)
}
