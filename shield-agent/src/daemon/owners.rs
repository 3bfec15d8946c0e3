//! Whose a name of an agent is: its holds, its grants and their results must not be had by calling an agent of one's own
//! the same.
//!
//! The first to use a name owns it until nobody has used it for a long time. Root may use any, and never owns what
//! somebody else did.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use crate::names::AgentName;

/// Far longer than a hold, a grant or a result lasts.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(30 * 24 * 3600);

/// The owners of all names, one file each.
#[derive(Debug)]
pub struct Owners {
    directory: PathBuf,
}

impl Owners {
    /// `directory` is root's; forgets names nobody has used for a long time.
    pub fn new(directory: PathBuf) -> Self {
        let owners = Self { directory };
        owners.forget(SystemTime::now());
        owners
    }

    /// Where they are kept.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Lets a user have a name; whether it may.
    pub fn claim(&self, agent: &AgentName, uid: u32) -> io::Result<bool> {
        let path = self.directory.join(agent.as_str());
        let owner = match fs::read_to_string(&path) {
            // What cannot be read belongs to nobody but root.
            Ok(text) => text.trim().parse().unwrap_or(0),
            Err(error) if error.kind() == io::ErrorKind::NotFound => uid,
            Err(error) => return Err(error),
        };
        if uid != 0 && uid != owner {
            return Ok(false);
        }
        // Written each time: that is also when it was last used.
        fs::write(&path, owner.to_string()).map(|()| true)
    }

    fn forget(&self, now: SystemTime) {
        for entry in fs::read_dir(&self.directory).into_iter().flatten().flatten() {
            let used = entry.metadata().and_then(|metadata| metadata.modified());
            if used.is_ok_and(|used| now.duration_since(used).is_ok_and(|age| age > FORGOTTEN_AFTER)) {
                // It stays owned, which is the safe side.
                let _: io::Result<()> = fs::remove_file(entry.path());
            }
        }
    }
}

/// Where the owners are kept, beside the gates' records.
pub fn directory(gates: &Path) -> PathBuf {
    gates.join("owners")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_its_first_users_and_roots() {
        let dir = tempfile::tempdir().unwrap();
        let owners = Owners::new(dir.path().to_owned());
        let name = |text: &str| text.parse::<AgentName>().unwrap();
        assert!(owners.claim(&name("bot"), 1000).unwrap());
        assert!(owners.claim(&name("bot"), 1000).unwrap());
        assert!(!owners.claim(&name("bot"), 1001).unwrap());
        assert!(owners.claim(&name("bot"), 0).unwrap());
        assert!(!owners.claim(&name("bot"), 1001).unwrap(), "root left it whose it was");
        assert!(owners.claim(&name("roots"), 0).unwrap());
        assert!(!owners.claim(&name("roots"), 1000).unwrap());
    }

    #[test]
    fn a_name_nobody_uses_is_forgotten_in_time() {
        let dir = tempfile::tempdir().unwrap();
        let owners = Owners::new(dir.path().to_owned());
        let name: AgentName = "bot".parse().unwrap();
        owners.claim(&name, 1000).unwrap();
        owners.forget(SystemTime::now());
        assert!(!owners.claim(&name, 1001).unwrap());
        owners.forget(SystemTime::now() + 2 * FORGOTTEN_AFTER);
        assert!(owners.claim(&name, 1001).unwrap());
    }
}
