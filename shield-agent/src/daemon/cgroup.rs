//! Reading and freezing cgroups that are or will be gated.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use crate::capture::cgroup::cgroup2_mount;

/// `statfs` type of cgroup2.
const CGROUP2_MAGIC: i64 = 0x6367_7270;

/// Why a cgroup cannot be gated.
#[derive(Debug, thiserror::Error)]
pub enum UnfitCgroup {
    /// It is not there.
    #[error("cgroup {} does not exist", .0.display())]
    Missing(PathBuf, #[source] io::Error),
    /// Not of the unified hierarchy.
    #[error("{} is not a cgroup of the unified hierarchy (cgroup2)", .0.display())]
    NotV2(PathBuf),
    /// The whole host.
    #[error("{} is the root cgroup: gating it would gate the whole host", .0.display())]
    Root(PathBuf),
    /// Somebody else may move processes.
    #[error(
        "cgroup {} is delegated to user {uid}, who can move processes out of what is below it: attach the one above \
         that belongs to root",
        cgroup.display()
    )]
    Delegated {
        /// The cgroup that is theirs.
        cgroup: PathBuf,
        /// Whose it is.
        uid: u32,
    },
    /// We are inside.
    #[error("the daemon itself runs in cgroup {}: gating it would cut the daemon off", .0.display())]
    Ours(PathBuf),
}

/// The cgroup at `path`, with links resolved, if it can be gated.
pub fn fit(path: &Path) -> Result<PathBuf, UnfitCgroup> {
    let missing = |error| UnfitCgroup::Missing(path.to_owned(), error);
    let place = fs::canonicalize(path).map_err(missing)?;
    let kind = nix::sys::statfs::statfs(&place).map_err(|errno| missing(errno.into()))?;
    if kind.filesystem_type().0 != CGROUP2_MAGIC || !place.join("cgroup.procs").is_file() {
        return Err(UnfitCgroup::NotV2(place));
    }
    // Only the root has no events.
    if !place.join("cgroup.events").is_file() {
        return Err(UnfitCgroup::Root(place));
    }
    if let Some((cgroup, uid)) = delegated(&place) {
        return Err(UnfitCgroup::Delegated { cgroup, uid });
    }
    let ourselves = std::process::id();
    if processes(&place).map_err(missing)?.contains(&ourselves) {
        return Err(UnfitCgroup::Ours(place));
    }
    Ok(place)
}

/// Whether a directory is a cgroup of the unified hierarchy, its root included.
pub fn is_cgroup(place: &Path) -> bool {
    place.parent().is_some()
        && nix::sys::statfs::statfs(place).is_ok_and(|kind| kind.filesystem_type().0 == CGROUP2_MAGIC)
}

/// The cgroup at or above `place` that is not root's, and whose it is: its owner moves what is below as it likes.
fn delegated(place: &Path) -> Option<(PathBuf, u32)> {
    let cgroups = place.ancestors().take_while(|above| above.join("cgroup.events").is_file());
    cgroups.into_iter().find_map(|above| {
        let owners = [above.to_owned(), above.join("cgroup.procs")];
        let owner =
            owners.iter().filter_map(|file| Some(fs::metadata(file).ok()?.uid())).find(|uid| *uid != 0)?;
        Some((above.to_owned(), owner))
    })
}

/// Whether one of two cgroups contains the other.
pub fn overlap(one: &Path, other: &Path) -> bool {
    one.starts_with(other) || other.starts_with(one)
}

/// Whether a process lives in the cgroup or below it; one that is gone has none.
pub fn is_populated(cgroup: &Path) -> bool {
    flag(&cgroup.join("cgroup.events"), "populated ").unwrap_or(false)
}

/// Whether the cgroup's processes are stopped or being stopped.
pub fn is_frozen(cgroup: &Path) -> bool {
    fs::read_to_string(cgroup.join("cgroup.freeze")).is_ok_and(|text| text.trim() == "1")
}

/// Stops or continues every process in the cgroup and below it.
pub fn set_frozen(cgroup: &Path, frozen: bool) -> io::Result<()> {
    fs::write(cgroup.join("cgroup.freeze"), if frozen { "1" } else { "0" })
}

/// Process ids in the cgroup and below it.
pub fn processes(cgroup: &Path) -> io::Result<Vec<u32>> {
    Ok(inhabitants(cgroup)?.into_keys().collect())
}

/// Processes in the cgroup and below it, each with the cgroup it is in.
pub fn inhabitants(cgroup: &Path) -> io::Result<BTreeMap<u32, PathBuf>> {
    let members = fs::read_to_string(cgroup.join("cgroup.procs"))?;
    let pids = members.lines().filter_map(|line| line.parse().ok());
    let mut found: BTreeMap<u32, PathBuf> = pids.map(|pid| (pid, cgroup.to_owned())).collect();
    for entry in fs::read_dir(cgroup)?.flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            // A cgroup removed meanwhile has no processes.
            found.extend(inhabitants(&entry.path()).unwrap_or_default());
        }
    }
    Ok(found)
}

/// Whether a process is in the cgroup or below it.
pub fn contains(cgroup: &Path, pid: u32) -> bool {
    of_process(pid).is_some_and(|place| place.starts_with(cgroup))
}

/// Directory of the cgroup a process is in.
pub fn of_process(pid: u32) -> Option<PathBuf> {
    let membership = fs::read_to_string(format!("/proc/{pid}/cgroup")).ok()?;
    let cgroup = membership.lines().find_map(|line| line.strip_prefix("0::/"))?;
    Some(cgroup2_mount().ok()?.join(cgroup))
}

fn flag(path: &Path, name: &str) -> Option<bool> {
    let text = fs::read_to_string(path).ok()?;
    text.lines().find_map(|line| line.strip_prefix(name)).map(|value| value == "1")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_cgroup2_is_refused_with_the_reason() {
        assert!(matches!(fit(Path::new("/no/such/place")), Err(UnfitCgroup::Missing(..))));
        assert!(matches!(fit(Path::new("/proc")), Err(UnfitCgroup::NotV2(_))));
        let root = crate::capture::cgroup::cgroup2_mount().unwrap();
        assert!(matches!(fit(&root), Err(UnfitCgroup::Root(_) | UnfitCgroup::Ours(_))));
    }

    #[test]
    fn cgroups_overlap_when_one_is_inside_the_other() {
        assert!(overlap(Path::new("/c/a"), Path::new("/c/a/b")));
        assert!(overlap(Path::new("/c/a"), Path::new("/c/a")));
        assert!(!overlap(Path::new("/c/a"), Path::new("/c/ab")));
    }
}
