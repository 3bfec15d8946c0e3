//! The daemon's directories: who owns each, and who may look inside.
//!
//! ```text
//! state_dir      root:approver 1771  the approver makes its files here and cannot touch others' (sticky)
//! state_dir/ca   signer        0700  the CA's key
//! state_dir/gates root         0700  which cgroup each gate belongs to
//! run_dir        root          0711  sockets: root's, and that of the gates also its group's
//! run_dir/trust  root          0755  what agents trust: public
//! ```
//! It never widens a directory that exists below these.

use std::fs::{self, DirBuilder, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use nix::unistd::{Gid, Uid, chown};

use super::users::{RoleUser, RoleUsers};
use crate::config::Config;

const STATE: u32 = 0o1771;
const PRIVATE: u32 = 0o700;
const RUN: u32 = 0o711;
const PUBLIC: u32 = 0o755;

const ROOT: RoleUser = RoleUser { uid: 0, gid: 0 };

/// Where things are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Folders {
    /// The CA's directory.
    pub ca: PathBuf,
    /// The directory of the gates' records.
    pub gates: PathBuf,
    /// The trust files' directory.
    pub trust: PathBuf,
}

/// Why a directory is not as it must be.
#[derive(Debug, thiserror::Error)]
pub enum FolderError {
    /// A system call failed.
    #[error("cannot {act} directory {}", path.display())]
    Directory {
        /// What was tried.
        act: &'static str,
        /// On which.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A role could not get to its files.
    #[error("{} cannot be passed by the daemon's own users, who keep their files below it: chmod o+x it, or choose another state_dir", .0.display())]
    Impassable(PathBuf),
}

/// Makes the directories, or sets them right.
pub fn prepare(config: &Config, users: &RoleUsers) -> Result<Folders, FolderError> {
    let folders = Folders {
        ca: config.state_dir.join("ca"),
        gates: config.state_dir.join("gates"),
        trust: config.run_dir.join(crate::launch::TRUST_DIRECTORY),
    };
    let store_keeper = RoleUser { uid: 0, gid: users.approver.gid };
    directory(&config.state_dir, STATE, store_keeper)?;
    directory(&folders.ca, PRIVATE, users.signer)?;
    directory(&folders.gates, PRIVATE, ROOT)?;
    directory(&super::owners::directory(&folders.gates), PRIVATE, ROOT)?;
    if let Some(place) = store_directory(&config.store_url).filter(|place| !place.exists()) {
        directory(&place, PRIVATE, users.approver)?;
    }
    directory(&config.run_dir, RUN, ROOT)?;
    directory(&folders.trust, PUBLIC, ROOT)?;
    passable(&config.state_dir)?;
    Ok(folders)
}

/// Directory of a SQLite file; `None` for a store elsewhere.
fn store_directory(url: &str) -> Option<PathBuf> {
    let path = url.strip_prefix("sqlite://")?;
    Path::new(path.split('?').next()?).parent().map(Path::to_owned)
}

fn directory(path: &Path, mode: u32, owner: RoleUser) -> Result<(), FolderError> {
    let failed = |act| {
        let path = path.to_owned();
        move |source| FolderError::Directory { act, path, source }
    };
    DirBuilder::new().recursive(true).mode(mode & 0o755).create(path).map_err(failed("create"))?;
    let ids = (Some(Uid::from_raw(owner.uid)), Some(Gid::from_raw(owner.gid)));
    chown(path, ids.0, ids.1).map_err(|errno| failed("give away")(errno.into()))?;
    fs::set_permissions(path, Permissions::from_mode(mode)).map_err(failed("set the mode of"))
}

/// Every directory above must let others through: the roles are nobody's group.
fn passable(path: &Path) -> Result<(), FolderError> {
    for above in path.ancestors().skip(1) {
        let mode = fs::metadata(above).map(|metadata| metadata.mode());
        let mode =
            mode.map_err(|source| FolderError::Directory { act: "examine", path: above.to_owned(), source })?;
        if mode & 0o001 == 0 {
            return Err(FolderError::Impassable(above.to_owned()));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_stores_directory_is_read_off_its_url() {
        let expected = Some(PathBuf::from("/var/lib/shield"));
        assert_eq!(store_directory("sqlite:///var/lib/shield/shield.db?mode=rwc"), expected);
        assert_eq!(store_directory("postgres://db/shield"), None);
    }

    #[test]
    fn a_state_directory_the_roles_cannot_reach_is_refused_by_name() {
        let outer = tempfile::tempdir().unwrap();
        let inner = outer.path().join("state");
        fs::create_dir(&inner).unwrap();
        fs::set_permissions(outer.path(), Permissions::from_mode(0o700)).unwrap();
        assert!(matches!(passable(&inner), Err(FolderError::Impassable(path)) if path == outer.path()));
        fs::set_permissions(outer.path(), Permissions::from_mode(0o711)).unwrap();
        passable(&inner).unwrap();
    }
}
