//! What the agent trusts: the daemon's files, and whatever roots the caller's environment named before.
//!
//! Only certificates are ever copied: a variable that names a private file cannot leak it to the agent.

use std::collections::BTreeSet;
use std::fs;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use super::environment::{ADDING, REPLACING, ROOTS_DIRECTORY};
use crate::ipc::gate::TrustFiles;

/// Directory of the trust files inside `run_dir`, the same for the agent as for the host.
pub const DIRECTORY: &str = "trust";

/// Longest file read as a list of roots: a host's whole bundle is a quarter of it.
const MAX_ROOTS: u64 = 4 << 20;

const BEGIN: &str = "-----BEGIN CERTIFICATE-----";
const END: &str = "-----END CERTIFICATE-----";

/// The trust files' content, read while the host's files can still be seen.
#[derive(Debug)]
pub(super) struct TrustContent {
    ca: Vec<u8>,
    bundle: Vec<u8>,
    java: Option<Vec<u8>>,
}

/// Where the agent finds what it trusts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Trusted {
    /// Our CA alone.
    pub(super) ca: PathBuf,
    /// The host's roots, those of the caller's environment, and our CA.
    pub(super) bundle: PathBuf,
    /// The Java trust store with our CA.
    pub(super) java: Option<PathBuf>,
    /// An empty file: what the agent finds in the place of what it may not reach.
    pub(super) nothing: PathBuf,
}

impl TrustContent {
    /// Reads the daemon's files.
    pub(super) fn read(files: &TrustFiles) -> io::Result<Self> {
        let java = files.java.as_ref().map(fs::read).transpose()?;
        Ok(Self { ca: fs::read(&files.ca)?, bundle: fs::read(&files.bundle)?, java })
    }

    /// Adds the certificates of a text, and nothing else of it.
    pub(super) fn add(&mut self, roots: &str) {
        self.bundle.extend_from_slice(certificates_in(roots).as_bytes());
    }

    /// Writes the files into `directory`, which the agent can read.
    pub(super) fn write(&self, directory: &Path) -> io::Result<Trusted> {
        let write = |name: &str, content: &[u8]| {
            let path = directory.join(name);
            fs::write(&path, content).map(|()| path)
        };
        Ok(Trusted {
            ca: write("ca.pem", &self.ca)?,
            bundle: write("bundle.pem", &self.bundle)?,
            java: self.java.as_deref().map(|store| write("cacerts", store)).transpose()?,
            nothing: write("nothing", &[])?,
        })
    }
}

/// The certificates of the files that `variable`, a look-up in the caller's environment, names as roots. For the caller:
/// files are read with its rights alone.
pub(super) fn named_roots(variable: impl Fn(&str) -> Option<PathBuf>) -> String {
    let directory = variable(ROOTS_DIRECTORY).and_then(|directory| fs::read_dir(directory).ok());
    let entries = directory.into_iter().flatten().flatten().map(|entry| entry.path());
    let named = REPLACING.iter().chain(ADDING).filter_map(|name| variable(name)).chain(entries);
    let files: BTreeSet<PathBuf> = named.collect();
    let mut roots = String::new();
    for path in files {
        // A file that cannot be read gave its program no roots before either.
        let found = certificates(&path).unwrap_or_default();
        if roots.len() + found.len() <= MAX_ROOTS as usize {
            roots.push_str(&found);
        }
    }
    roots
}

fn certificates(path: &Path) -> io::Result<String> {
    let mut text = String::new();
    fs::File::open(path)?.take(MAX_ROOTS).read_to_string(&mut text)?;
    Ok(certificates_in(&text))
}

/// The PEM certificates of a text, and nothing else of it.
fn certificates_in(text: &str) -> String {
    let mut found = String::new();
    let mut inside = false;
    for line in text.lines().map(str::trim_end) {
        inside |= line == BEGIN;
        if inside {
            found.push_str(line);
            found.push('\n');
        }
        inside &= line != END;
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn roots_the_environment_named_are_kept_and_secrets_beside_them_are_not() {
        let dir = tempfile::tempdir().unwrap();
        let file = |name: &str, content: &str| {
            let path = dir.path().join(name);
            fs::write(&path, content).unwrap();
            path
        };
        let pem = |body: &str| format!("{BEGIN}\n{body}\n{END}\n");
        let files = TrustFiles {
            ca: file("ca.pem", &pem("OURS")),
            bundle: file("bundle.pem", &(pem("HOST") + &pem("OURS"))),
            java: None,
        };
        let before = file("corp.pem", &format!("key: SECRET\n{}-----BEGIN PRIVATE KEY-----\n", pem("CORP")));
        let mut content = TrustContent::read(&files).unwrap();
        content.add(&named_roots(|name| (name == "SSL_CERT_FILE").then(|| before.clone())));
        let bundle = String::from_utf8(content.bundle).unwrap();
        assert_eq!(bundle, pem("HOST") + &pem("OURS") + &pem("CORP"));
    }
}
