//! One daemon an instance: two would take each other's gates over.
//!
//! The lock is on a directory of the instance in cgroupfs, because that is what two daemons would share: their
//! `state_dir` and `run_dir` may differ. The approver holds a copy. The kernel lets go when both have ended, however
//! they end, so that two approvers never write one store, not even for the moment a killed one takes to die. The
//! directory stays: one that was removed and made again would be another lock.

use std::fs::{self, File, TryLockError};
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Directory below the instance's.
const NAME: &str = "daemon";

/// Between two looks at a lock that is held.
const PAUSE: Duration = Duration::from_millis(20);

/// Held as long as the daemon runs.
#[derive(Debug)]
pub struct InstanceLock {
    held: File,
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
    /// Takes the lock of the instance whose cgroups are below `directory`, waiting for as long as `patience`.
    pub fn take(instance: &str, directory: &Path, patience: Duration) -> Result<Self, LockError> {
        let deadline = Instant::now() + patience;
        loop {
            match Self::try_take(directory)? {
                Some(lock) => return Ok(lock),
                None if Instant::now() < deadline => std::thread::sleep(PAUSE),
                None => return Err(LockError::Running(instance.to_owned())),
            }
        }
    }

    /// The lock, or `None` when somebody has it.
    fn try_take(directory: &Path) -> Result<Option<Self>, LockError> {
        let place = directory.join(NAME);
        let failed = |error| LockError::Directory(place.clone(), error);
        fs::create_dir_all(&place).map_err(failed)?;
        let file = File::open(&place).map_err(failed)?;
        match file.try_lock() {
            Ok(()) => Ok(Some(Self { held: file })),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(error)) => Err(failed(error)),
        }
    }
}

impl AsFd for InstanceLock {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.held.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_second_daemon_of_an_instance_is_refused_until_the_first_has_ended() {
        let dir = tempfile::tempdir().unwrap();
        let take = || InstanceLock::take("test", dir.path(), Duration::ZERO);
        let first = take().unwrap();
        assert!(matches!(take(), Err(LockError::Running(_))));
        let copy = first.held.try_clone().unwrap();
        drop(first);
        assert!(take().is_err(), "the approver's copy holds it");
        drop(copy);
        take().unwrap();
    }
}
