//! One daemon an instance: two would take each other's gates over.
//!
//! The lock is on a directory of the instance in cgroupfs, because that is what two daemons would share: their
//! `state_dir` and `run_dir` may differ. The kernel lets go of it when the process ends, however it ends.

use std::fs::{self, File, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};

/// Directory below the instance's.
const NAME: &str = "daemon";

/// Held as long as the daemon runs.
#[derive(Debug)]
pub struct InstanceLock {
    held: Flock<File>,
    place: PathBuf,
}

/// Why the lock is not ours.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// Another daemon has it.
    #[error("a daemon runs already for instance {0:?}: stop it, or choose another instance")]
    Running(String),
    /// The directory cannot be used.
    #[error("the instance's directory {} could not be locked", .0.display())]
    Directory(PathBuf, #[source] io::Error),
}

impl InstanceLock {
    /// Takes the lock of the instance whose cgroups are below `directory`.
    pub fn take(instance: &str, directory: &Path) -> Result<Self, LockError> {
        let place = directory.join(NAME);
        let failed = |error| LockError::Directory(directory.join(NAME), error);
        fs::create_dir_all(&place).map_err(failed)?;
        let file = File::open(&place).map_err(failed)?;
        let running = || LockError::Running(instance.to_owned());
        let held = match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            Ok(held) => held,
            Err((_, Errno::EWOULDBLOCK)) => return Err(running()),
            Err((_, errno)) => return Err(failed(errno.into())),
        };
        let lock = Self { held, place };
        if lock.is_current() { Ok(lock) } else { Err(running()) }
    }

    /// Whether the directory is still the one we locked: the daemon before us removes it when it ends.
    fn is_current(&self) -> bool {
        let inode = |metadata: io::Result<Metadata>| metadata.map(|metadata| metadata.ino()).ok();
        inode(self.held.metadata()) == inode(fs::metadata(&self.place))
    }
}

impl Drop for InstanceLock {
    fn drop(&mut self) {
        // The instance's directory stays while it has agents.
        let _ = fs::remove_dir(&self.place);
        let _ = self.place.parent().map(fs::remove_dir);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_second_daemon_of_an_instance_is_refused_until_the_first_has_ended() {
        let dir = tempfile::tempdir().unwrap();
        let first = InstanceLock::take("test", dir.path()).unwrap();
        assert!(matches!(InstanceLock::take("test", dir.path()), Err(LockError::Running(_))));
        drop(first);
        InstanceLock::take("test", dir.path()).unwrap();
    }
}
