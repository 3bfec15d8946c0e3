//! The policy files: which they are, what they say, and whether that changed.
//!
//! It says whether they are a policy, and judges nothing by it.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use globset::Glob;

use crate::flow::judge::Judge as _;
use crate::flow::policy::Policy;
use crate::ipc::worker::PolicyText;
use crate::networks::Networks;
use crate::yaml::Mistakes;

/// Longest policy file, in bytes.
const MAX_FILE: u64 = 4 << 20;

/// The files behind `policies:`, and what they looked like when they were last read.
#[derive(Debug)]
pub struct PolicyFiles {
    patterns: Vec<String>,
    seen: Vec<Fingerprint>,
    networks: Networks,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Fingerprint {
    path: PathBuf,
    modified: Option<SystemTime>,
    size: u64,
}

/// Why the policy files could not be read.
#[derive(Debug, thiserror::Error)]
pub enum PolicyFilesError {
    /// A pattern is not one.
    #[error("policies: {0:?} is not a pattern: only the file name may hold wildcards")]
    Pattern(String),
    /// A file or directory could not be read.
    #[error("policy file {} could not be read", .0.display())]
    Read(PathBuf, #[source] io::Error),
    /// A file is longer than any policy.
    #[error("policy file {} is longer than {MAX_FILE} bytes", .0.display())]
    TooLong(PathBuf),
    /// They are no policy.
    #[error("the policy has mistakes:\n{0}")]
    Mistakes(Mistakes),
}

impl PolicyFiles {
    /// Reads every file the patterns name now; their order is that of the patterns, then of the names.
    ///
    /// # Errors
    /// When a file cannot be read, and when together they are no policy.
    pub fn read(patterns: &[String]) -> Result<(Self, PolicyText), PolicyFilesError> {
        let mut files = Self::unread(patterns);
        let text = files.read_again()?;
        Ok((files, text))
    }

    /// The files the patterns name, not read yet.
    pub fn unread(patterns: &[String]) -> Self {
        Self { patterns: patterns.to_vec(), seen: vec![], networks: Networks::default() }
    }

    /// Reads them again.
    pub fn read_again(&mut self) -> Result<PolicyText, PolicyFilesError> {
        let text = self.read_text()?;
        let policy = Policy::compile(&text.files).map_err(PolicyFilesError::Mistakes)?;
        self.networks = policy.networks().clone();
        Ok(text)
    }

    /// The networks of the last reading that made a policy.
    pub fn networks(&self) -> &Networks {
        &self.networks
    }

    /// Reads them, whatever they say.
    pub fn read_text(&mut self) -> Result<PolicyText, PolicyFilesError> {
        let found = find(&self.patterns)?;
        self.seen = found.clone();
        let read = |file: &Fingerprint| {
            let name = file.path.display().to_string();
            if file.size > MAX_FILE {
                return Err(PolicyFilesError::TooLong(file.path.clone()));
            }
            let content = fs::read_to_string(&file.path);
            Ok((name, content.map_err(|error| PolicyFilesError::Read(file.path.clone(), error))?))
        };
        Ok(PolicyText { files: found.iter().map(read).collect::<Result<_, _>>()? })
    }

    /// Whether a file was added, removed or changed since the last reading.
    pub fn changed(&self) -> bool {
        // What cannot be listed now will be said when it is read.
        find(&self.patterns).map_or(true, |found| found != self.seen)
    }
}

fn find(patterns: &[String]) -> Result<Vec<Fingerprint>, PolicyFilesError> {
    let mut found: Vec<Fingerprint> = Vec::new();
    for pattern in patterns {
        for path in matching(pattern)? {
            if found.iter().all(|file| file.path != path) {
                found.push(fingerprint(path)?);
            }
        }
    }
    Ok(found)
}

/// Files a pattern names, sorted. A name without wildcards must exist; a pattern may match nothing.
fn matching(pattern: &str) -> Result<Vec<PathBuf>, PolicyFilesError> {
    let bad = || PolicyFilesError::Pattern(pattern.to_owned());
    let wild = |text: &str| text.contains(['*', '?', '[', '{']);
    let (directory, name) = pattern.rsplit_once('/').ok_or_else(bad)?;
    if wild(directory) {
        return Err(bad());
    }
    if !wild(name) {
        return Ok(vec![PathBuf::from(pattern)]);
    }
    let matcher = Glob::new(name).map_err(|_| bad())?.compile_matcher();
    let directory = Path::new(if directory.is_empty() { "/" } else { directory });
    let entries = match fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(vec![]),
        Err(error) => return Err(PolicyFilesError::Read(directory.to_owned(), error)),
    };
    let paths = entries.flatten().filter(|entry| matcher.is_match(entry.file_name()));
    let mut paths: Vec<PathBuf> = paths.map(|entry| entry.path()).filter(|path| path.is_file()).collect();
    paths.sort();
    Ok(paths)
}

fn fingerprint(path: PathBuf) -> Result<Fingerprint, PolicyFilesError> {
    match fs::metadata(&path) {
        Ok(metadata) => Ok(Fingerprint { modified: metadata.modified().ok(), size: metadata.len(), path }),
        Err(error) => Err(PolicyFilesError::Read(path, error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_read_in_order_and_a_change_is_seen() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name).display().to_string();
        fs::write(at("b.yaml"), "version: 1 # two").unwrap();
        fs::write(at("a.yaml"), "version: 1 # one").unwrap();
        fs::write(at("a.txt"), "not a policy").unwrap();
        let (mut files, text) = PolicyFiles::read(&[at("*.yaml"), at("a.yaml")]).unwrap();
        assert_eq!(
            text.files,
            [(at("a.yaml"), "version: 1 # one".into()), (at("b.yaml"), "version: 1 # two".into())]
        );
        assert!(!files.changed());
        fs::write(at("c.yaml"), "version: 1").unwrap();
        assert!(files.changed());
        assert_eq!(files.read_again().unwrap().files.len(), 3);
        assert!(!files.changed());
        fs::write(at("c.yaml"), "version: 1\nrulez: []\n").unwrap();
        assert!(files.changed());
        let Err(PolicyFilesError::Mistakes(mistakes)) = files.read_again() else { panic!("no mistakes") };
        assert!(mistakes.to_string().contains("c.yaml:2:1: unknown key `rulez`"), "{mistakes}");
    }

    #[test]
    fn a_named_file_must_exist_and_a_pattern_need_not_match() {
        let missing = PolicyFiles::read(&["/no/such/policy.yaml".to_owned()]);
        assert!(matches!(missing, Err(PolicyFilesError::Read(..))));
        assert_eq!(PolicyFiles::read(&["/no/such/*.yaml".to_owned()]).unwrap().1.files, []);
        let wild = PolicyFiles::read(&["/etc/*/x.yaml".to_owned()]);
        assert!(matches!(wild, Err(PolicyFilesError::Pattern(_))));
    }
}
