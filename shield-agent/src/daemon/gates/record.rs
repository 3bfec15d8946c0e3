//! What is written down about each gate, because its pins do not say it: whose cgroup it is, and where its processes
//! came from.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::GateError;
use crate::daemon::cgroup;
use crate::ipc::gate::AgentKind;
use crate::names::AgentName;

/// What must be known to adopt or remove a gate.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Record {
    pub(super) cgroup: PathBuf,
    pub(super) kind: AgentKind,
    /// The cgroup the processes were taken from, when they were moved into one of ours.
    #[serde(default)]
    pub(super) home: Option<PathBuf>,
    /// User who had it made; root, where it was not written.
    #[serde(default)]
    pub(super) owner: u32,
}

impl Record {
    /// Whether nobody is left to hold back.
    pub(super) fn is_over(&self) -> bool {
        match (self.kind, &self.home) {
            (AgentKind::Attached, None) => !self.cgroup.exists(),
            (AgentKind::Run, _) | (AgentKind::Attached, Some(_)) => !cgroup::is_populated(&self.cgroup),
        }
    }
}

/// The directory of the records, root's alone.
#[derive(Debug)]
pub(super) struct Records(PathBuf);

impl Records {
    pub(super) fn in_directory(directory: PathBuf) -> Self {
        Self(directory)
    }

    /// What was written about a gate, if it can be read.
    pub(super) fn read(&self, agent: &AgentName) -> Option<Record> {
        serde_json::from_slice(&fs::read(self.path(agent)).ok()?).ok()
    }

    pub(super) fn write(&self, agent: &AgentName, record: &Record) -> Result<(), GateError> {
        let path = self.path(agent);
        let text = serde_json::to_vec(record).map_err(io::Error::other);
        text.and_then(|text| fs::write(&path, text)).map_err(GateError::file("write", &path))
    }

    pub(super) fn remove(&self, agent: &AgentName) -> Result<(), GateError> {
        let path = self.path(agent);
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(GateError::file("remove", &path)(error))
            }
            _ => Ok(()),
        }
    }

    fn path(&self, agent: &AgentName) -> PathBuf {
        let name = format!("{agent}.json");
        Path::new(&self.0).join(name)
    }
}
