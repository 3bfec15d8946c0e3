//! What must be known to adopt a gate of an earlier daemon: pins do not say whose cgroup it is.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::cgroup;
use super::gates::GateError;
use crate::ipc::gate::AgentKind;
use crate::names::AgentName;

/// What is written about a gate.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// The gated cgroup.
    pub cgroup: PathBuf,
    /// Where it comes from.
    pub kind: AgentKind,
    /// User who had it made; root, where it was not written.
    #[serde(default)]
    pub owner: u32,
}

impl Record {
    /// Whether nobody is left to hold back.
    pub fn is_over(&self) -> bool {
        match self.kind {
            AgentKind::Run => !cgroup::is_populated(&self.cgroup),
            AgentKind::Attached => !self.cgroup.exists(),
        }
    }
}

/// A directory of root's with a file for each gate.
#[derive(Debug)]
pub struct Records(PathBuf);

impl Records {
    /// The records in `directory`.
    pub fn new(directory: PathBuf) -> Self {
        Self(directory)
    }

    /// What was written about an agent's gate, if it can be read.
    pub fn read(&self, agent: &AgentName) -> Option<Record> {
        let text = fs::read(self.path(agent)).ok()?;
        serde_json::from_slice(&text).ok()
    }

    /// Writes it.
    pub fn write(&self, agent: &AgentName, record: &Record) -> Result<(), GateError> {
        let path = self.path(agent);
        let text = serde_json::to_vec(record).map_err(io::Error::other);
        text.and_then(|text| fs::write(&path, text)).map_err(GateError::file("write", &path))
    }

    /// Removes it; one that is not there is removed.
    pub fn remove(&self, agent: &AgentName) -> Result<(), GateError> {
        let path: &Path = &self.path(agent);
        match fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(GateError::file("remove", path)(error))
            }
            _ => Ok(()),
        }
    }

    fn path(&self, agent: &AgentName) -> PathBuf {
        self.0.join(format!("{agent}.json"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_read_as_written_and_an_old_one_is_roots() {
        let dir = tempfile::tempdir().unwrap();
        let records = Records::new(dir.path().to_owned());
        let agent: AgentName = "bot".parse().unwrap();
        assert_eq!(records.read(&agent), None);
        let record = Record { cgroup: "/x".into(), kind: AgentKind::Run, owner: 1000 };
        records.write(&agent, &record).unwrap();
        assert_eq!(records.read(&agent), Some(record));
        fs::write(dir.path().join("bot.json"), r#"{"cgroup":"/x","kind":"run"}"#).unwrap();
        assert_eq!(records.read(&agent).unwrap().owner, 0);
        records.remove(&agent).unwrap();
        records.remove(&agent).unwrap();
        assert_eq!(records.read(&agent), None);
    }
}
