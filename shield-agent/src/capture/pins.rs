//! Where a gate is kept while nobody runs: `/sys/fs/bpf/agent-shield/v<ABI>/<instance>/<agent>/{links,maps}`.
//!
//! Every directory is root's alone: who can remove a pin can open the gate.

use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};

use shield_common::limits::ABI;

use super::error::CaptureError;
use crate::names::AgentName;

/// Where the BPF file system is mounted.
pub(super) const BPFFS: &str = "/sys/fs/bpf";

/// Nobody but root may list, open or remove a pin.
const ROOT_ONLY: u32 = 0o700;

/// The pin directory of one gate.
#[derive(Clone, Debug)]
pub(super) struct Pins {
    dir: PathBuf,
}

impl Pins {
    pub(super) fn of(instance: &str, agent: &AgentName) -> Result<Self, CaptureError> {
        Ok(Self { dir: instance_dir(instance)?.join(agent.as_str()) })
    }

    pub(super) fn dir(&self) -> &Path {
        &self.dir
    }

    pub(super) fn link(&self, name: &str) -> PathBuf {
        self.dir.join("links").join(name)
    }

    pub(super) fn map(&self, name: &str) -> PathBuf {
        self.dir.join("maps").join(name)
    }

    pub(super) fn exist(&self) -> bool {
        self.dir.exists()
    }

    /// Makes the directories, the ones above them too.
    pub(super) fn create(&self) -> Result<(), CaptureError> {
        for dir in [self.dir.join("links"), self.dir.join("maps")] {
            DirBuilder::new()
                .recursive(true)
                .mode(ROOT_ONLY)
                .create(&dir)
                .map_err(pin_error("create", &dir))?;
        }
        // A directory above may be older than this rule.
        for dir in self.dir.ancestors().take_while(|dir| *dir != Path::new(BPFFS)) {
            fs::set_permissions(dir, fs::Permissions::from_mode(ROOT_ONLY))
                .map_err(pin_error("protect", dir))?;
        }
        Ok(())
    }

    /// Removes every pin of the gate and its instance's directory when it becomes empty. What is not there is removed.
    pub(super) fn remove(&self) -> Result<(), CaptureError> {
        match fs::remove_dir_all(&self.dir) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(pin_error("remove", &self.dir)(error));
            }
            _ => {}
        }
        if let Some(instance) = self.dir.parent() {
            // Other gates may be kept there. What is above belongs to all instances and stays.
            let _ = fs::remove_dir(instance);
        }
        Ok(())
    }
}

/// The agents of an instance that have pins, whole or not.
pub(super) fn pinned(instance: &str) -> Result<Vec<AgentName>, CaptureError> {
    let dir = instance_dir(instance)?;
    let entries = match fs::read_dir(&dir) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(pin_error("list", &dir)(error)),
    };
    let names = entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    Ok(names.collect())
}

/// An instance's name, which becomes the name of directories.
pub(super) fn instance_name(name: &str) -> Result<&str, CaptureError> {
    // The same rule as for an agent's name, for the same reason.
    match name.parse::<AgentName>() {
        Ok(_) => Ok(name),
        Err(_) => Err(CaptureError::BadInstance(name.to_owned())),
    }
}

fn instance_dir(instance: &str) -> Result<PathBuf, CaptureError> {
    Ok(Path::new(BPFFS).join("agent-shield").join(format!("v{ABI}")).join(instance_name(instance)?))
}

pub(super) fn pin_error(act: &'static str, path: &Path) -> impl FnOnce(io::Error) -> CaptureError {
    move |source| CaptureError::Pin { act, path: path.to_owned(), source }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_would_climb_out_of_the_directory_is_refused() {
        let agent: AgentName = "deploy-bot".parse().unwrap();
        for instance in ["", "..", ".", "a/b", "../x", "A", "a b"] {
            assert!(Pins::of(instance, &agent).is_err(), "{instance:?}");
        }
        let pins = Pins::of("default", &agent).unwrap();
        assert_eq!(pins.dir(), Path::new("/sys/fs/bpf/agent-shield/v1/default/deploy-bot"));
    }
}
