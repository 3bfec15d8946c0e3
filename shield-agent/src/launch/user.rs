//! Whom the agent runs as.

use std::ffi::CString;
use std::path::PathBuf;

use nix::errno::Errno;
use nix::unistd::{Uid, User, getgrouplist};

use crate::privileges::Identity;

/// A user of this host, as the agent will be it.
#[derive(Clone, Debug)]
pub struct AgentUser {
    /// Ids.
    pub identity: Identity,
    /// Login name.
    pub name: String,
    /// Home directory.
    pub home: PathBuf,
}

/// Why there is no such user.
#[derive(Debug, thiserror::Error)]
pub enum UserError {
    /// Nobody by that name or id.
    #[error("there is no user {0:?} on this host: name one with --user")]
    Unknown(String),
    /// The user database failed.
    #[error("user {0:?} could not be looked up")]
    Lookup(String, #[source] Errno),
}

/// The user called `name` (or whose id it is); without a name whoever called `sudo`, else root.
pub fn resolve(name: Option<&str>) -> Result<AgentUser, UserError> {
    let caller = std::env::var("SUDO_UID").ok();
    let wanted = name.or(caller.as_deref()).unwrap_or("0");
    let lookup = |errno| UserError::Lookup(wanted.to_owned(), errno);
    let found = match wanted.parse() {
        Ok(uid) => User::from_uid(Uid::from_raw(uid)),
        Err(_) => User::from_name(wanted),
    };
    let user = found.map_err(lookup)?.ok_or_else(|| UserError::Unknown(wanted.to_owned()))?;
    let login = CString::new(user.name.as_str()).map_err(|_| UserError::Unknown(wanted.to_owned()))?;
    let groups = getgrouplist(&login, user.gid).map_err(lookup)?;
    let identity = Identity { uid: user.uid, gid: user.gid, groups };
    Ok(AgentUser { identity, name: user.name, home: user.dir })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_is_found_by_name_and_by_id() {
        assert!(resolve(Some("root")).unwrap().identity.uid.is_root());
        let nobody = resolve(Some("nobody")).unwrap();
        assert_eq!(resolve(Some(&nobody.identity.uid.to_string())).unwrap().name, "nobody");
        assert!(matches!(resolve(Some("no such user")), Err(UserError::Unknown(_))));
    }
}
