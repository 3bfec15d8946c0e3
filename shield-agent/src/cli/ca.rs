//! `shield ca`: what agents are made to trust.

use std::io::Write as _;
use std::path::{Path, PathBuf};

use clap::Subcommand;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;

use super::{Failure, code};
use crate::config::Config;
use crate::launch::TRUST_DIRECTORY;
use crate::names::Digest;

/// `shield ca …`
#[derive(Debug, Subcommand)]
pub(super) enum CaVerb {
    /// Print the CA's certificate, and its particulars to standard error
    Show,
    /// Print the host's roots and the CA, for programs that take one file
    Bundle,
}

pub(super) fn run(config: &Path, verb: &CaVerb) -> Result<u8, Failure> {
    let directory = Config::load(config)?.run_dir.join(TRUST_DIRECTORY);
    match verb {
        CaVerb::Show => show(&directory.join("ca.pem")),
        CaVerb::Bundle => print(&read(&directory.join("bundle.pem"))?),
    }
}

fn show(path: &Path) -> Result<u8, Failure> {
    let pem = read(path)?;
    let der = CertificateDer::from_pem_slice(&pem)?;
    let (_, certificate) = x509_parser::parse_x509_certificate(&der)?;
    eprintln!("subject      {}", certificate.subject());
    eprintln!("valid until  {}", certificate.validity().not_after);
    eprintln!("fingerprint  {}", Digest::of(&der));
    print(&pem)
}

fn read(path: &Path) -> Result<Vec<u8>, Failure> {
    std::fs::read(path).map_err(|error| NoTrustFile(path.to_owned(), error).into())
}

fn print(pem: &[u8]) -> Result<u8, Failure> {
    std::io::stdout().write_all(pem)?;
    Ok(code::OK)
}

/// The daemon writes the files when it starts.
#[derive(Debug, thiserror::Error)]
#[error("trust file {} could not be read: the daemon writes it when it starts", .0.display())]
struct NoTrustFile(PathBuf, #[source] std::io::Error);
