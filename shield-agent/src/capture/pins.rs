//! Where a gate is kept while nobody runs: `/sys/fs/bpf/agent-shield/v<ABI>/<instance>/<agent>/{links,maps,hooks}`.
//!
//! `hooks` is a symbolic link whose text names the hooks that are attached: written last, so that a gate that has it was
//! finished, and a hook that is named there and missing was taken away. Every directory is root's alone: who can remove
//! a pin can open the gate.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use shield_common::limits::ABI;

use super::error::CaptureError;
use crate::names::AgentName;

/// Where the BPF file system is mounted.
pub(super) const BPFFS: &str = "/sys/fs/bpf";

const TOP: &str = "agent-shield";

/// Nobody but root may list, open or remove a pin.
const ROOT_ONLY: u32 = 0o700;

const MANIFEST: &str = "hooks";
const MANIFEST_TO_BE: &str = "hooks_to_be";
const SEPARATOR: &str = ",";

/// The pin directory of one gate.
#[derive(Clone, Debug)]
pub(super) struct Pins {
    dir: PathBuf,
}

impl Pins {
    pub(super) fn of(instance: &str, agent: &AgentName) -> Result<Self, CaptureError> {
        Ok(Self { dir: instance_dir(instance)?.join(agent.as_str()) })
    }

    /// The pins of the same gate made for other maps: by an earlier version, or a later one. The newest first.
    pub(super) fn of_other_versions(instance: &str, agent: &AgentName) -> Result<Vec<Self>, CaptureError> {
        let instance = instance_name(instance)?;
        let mut others: Vec<u32> = versions()?.into_iter().filter(|version| *version != ABI).collect();
        others.sort_unstable_by(|a, b| b.cmp(a));
        let at = |version| Self { dir: version_dir(version).join(instance).join(agent.as_str()) };
        Ok(others.into_iter().map(at).filter(Self::exist).collect())
    }

    /// Name of the instance.
    pub(super) fn instance(&self) -> &str {
        let name = self.dir.parent().and_then(Path::file_name).and_then(OsStr::to_str);
        name.expect("made of the names of an instance and an agent, which are text")
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

    /// Names of the links that are pinned.
    pub(super) fn links(&self) -> Vec<String> {
        let entries = fs::read_dir(self.dir.join("links")).into_iter().flatten();
        entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok()).collect()
    }

    /// The hooks that were attached when the gate was finished; `None` when it never was.
    pub(super) fn hooks(&self) -> Option<Vec<String>> {
        let text = fs::read_link(self.dir.join(MANIFEST)).ok()?.into_os_string().into_string().ok()?;
        Some(text.split(SEPARATOR).map(str::to_owned).collect())
    }

    /// Says that the gate is finished, and with which hooks.
    pub(super) fn write_hooks(&self, names: &[&str]) -> Result<(), CaptureError> {
        let (place, fresh) = (self.dir.join(MANIFEST), self.dir.join(MANIFEST_TO_BE));
        let _ = fs::remove_file(&fresh);
        symlink(names.join(SEPARATOR), &fresh)
            .and_then(|()| fs::rename(&fresh, &place))
            .map_err(pin_error("write", &place))
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

/// The agents of an instance that have pins, whole or not, of whatever version.
pub(super) fn pinned(instance: &str) -> Result<Vec<AgentName>, CaptureError> {
    let instance = instance_name(instance)?;
    let mut names = BTreeSet::new();
    for version in versions()? {
        let gates = list(&version_dir(version).join(instance))?;
        names.extend(gates.iter().filter_map(|name| name.parse().ok()));
    }
    Ok(names.into_iter().collect())
}

/// Every version that ever pinned a gate on this host.
fn versions() -> Result<Vec<u32>, CaptureError> {
    let names = list(&Path::new(BPFFS).join(TOP))?;
    Ok(names.iter().filter_map(|name| name.strip_prefix('v')?.parse().ok()).collect())
}

/// The names in a directory; none when it is not there.
fn list(dir: &Path) -> Result<Vec<String>, CaptureError> {
    match fs::read_dir(dir) {
        Ok(entries) => Ok(entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok()).collect()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(pin_error("list", dir)(error)),
    }
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
    Ok(version_dir(ABI).join(instance_name(instance)?))
}

fn version_dir(version: u32) -> PathBuf {
    Path::new(BPFFS).join(TOP).join(format!("v{version}"))
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
        assert_eq!(pins.dir(), version_dir(ABI).join("default/deploy-bot"));
    }
}
