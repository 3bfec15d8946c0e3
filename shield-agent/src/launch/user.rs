//! Whom the agent runs as.

use std::ffi::CString;
use std::path::PathBuf;

use nix::errno::Errno;
use nix::unistd::{Gid, Uid, User, getgrouplist};

use crate::ipc::launch::Whom;
use crate::privileges::Identity;

/// Whom an agent runs as.
#[derive(Clone, Debug)]
pub(super) struct AgentUser {
    /// Ids.
    pub(super) identity: Identity,
    /// What its environment says of it; `None` where that stays the caller's.
    pub(super) account: Option<Account>,
}

/// An entry of the user database.
#[derive(Clone, Debug)]
pub(super) struct Account {
    /// Login name.
    pub(super) name: String,
    /// Home directory.
    pub(super) home: PathBuf,
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

/// Id of the user called `name`, or whose id it is; without a name the caller's own, or that of whoever called `sudo`.
pub(super) fn wanted(name: Option<&str>) -> Result<Uid, UserError> {
    let ourselves = Uid::effective();
    let invoker = std::env::var("SUDO_UID").ok().filter(|_| ourselves.is_root());
    match name.or(invoker.as_deref()) {
        None => Ok(ourselves),
        Some(name) => match name.parse() {
            Ok(uid) => Ok(Uid::from_raw(uid)),
            Err(_) => Ok(found(name, User::from_name(name))?.uid),
        },
    }
}

/// Who an order means, with the groups the user database knows.
pub(super) fn meant(whom: &Whom) -> Result<AgentUser, UserError> {
    let uid = match whom {
        Whom::Caller { uid, gid, groups } => {
            let groups = groups.iter().copied().map(Gid::from_raw).collect();
            let identity = Identity { uid: Uid::from_raw(*uid), gid: Gid::from_raw(*gid), groups };
            return Ok(AgentUser { identity, account: None });
        }
        Whom::User(uid) => *uid,
    };
    let name = uid.to_string();
    let user = found(&name, User::from_uid(Uid::from_raw(uid)))?;
    let login = CString::new(user.name.as_str()).map_err(|_| UserError::Unknown(name.clone()))?;
    let groups = getgrouplist(&login, user.gid).map_err(|errno| UserError::Lookup(name, errno))?;
    let identity = Identity { uid: user.uid, gid: user.gid, groups };
    Ok(AgentUser { identity, account: Some(Account { name: user.name, home: user.dir }) })
}

fn found(name: &str, user: nix::Result<Option<User>>) -> Result<User, UserError> {
    let user = user.map_err(|errno| UserError::Lookup(name.to_owned(), errno))?;
    user.ok_or_else(|| UserError::Unknown(name.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_is_found_by_name_and_by_id() {
        assert!(wanted(Some("root")).unwrap().is_root());
        let nobody = wanted(Some("nobody")).unwrap();
        assert_eq!(meant(&Whom::User(nobody.as_raw())).unwrap().account.unwrap().name, "nobody");
        assert_eq!(wanted(None).unwrap(), Uid::effective());
        assert!(matches!(wanted(Some("no such user")), Err(UserError::Unknown(_))));
        assert!(matches!(meant(&Whom::User(4_000_000)), Err(UserError::Unknown(_))));
    }

    #[test]
    fn a_caller_stays_who_the_kernel_says_it_is() {
        let meant = meant(&Whom::Caller { uid: 4_000_000, gid: 7, groups: vec![8] }).unwrap();
        assert_eq!(meant.identity.groups, [Gid::from_raw(8)]);
        assert!(meant.account.is_none());
    }
}
