//! Which user each role runs as.
//!
//! A package makes the users; without them fixed numbers do, so that a first try needs no set-up. It never picks root
//! or a number that belongs to somebody.

use nix::errno::Errno;
use nix::unistd::{Gid, Group, Uid, User};

/// Names of the users a package makes: the worker's, the approver's, the signer's.
pub const NAMES: [&str; 3] = ["shield-proxy", "shield-approver", "shield-signer"];

/// The roles' users.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RoleUsers {
    /// The worker's.
    pub worker: RoleUser,
    /// The approver's.
    pub approver: RoleUser,
    /// The signer's.
    pub signer: RoleUser,
}

/// A user and its group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RoleUser {
    /// User id.
    pub uid: u32,
    /// Group id.
    pub gid: u32,
}

/// Why a role has no user.
#[derive(Debug, thiserror::Error)]
pub enum RoleUserError {
    /// The user database failed.
    #[error("user or group {0:?} could not be looked up")]
    Lookup(String, #[source] Errno),
    /// The fixed number is taken.
    #[error("user id {uid} belongs to {owner:?}: create a system user called {name:?} for shield")]
    Taken {
        /// The number.
        uid: u32,
        /// Whose it is.
        owner: String,
        /// The user that is missing.
        name: &'static str,
    },
    /// The role's user is root.
    #[error("user {0:?} is root: give it an id of its own")]
    Root(&'static str),
}

/// Looks the three users up.
pub fn find() -> Result<RoleUsers, RoleUserError> {
    Ok(RoleUsers {
        worker: role_user(NAMES[0], 64101)?,
        approver: role_user(NAMES[1], 64102)?,
        signer: role_user(NAMES[2], 64103)?,
    })
}

/// Id of the group whose members may start agents: by name or number; `None` when there is none by that name.
pub fn group(name: &str) -> Result<Option<Gid>, RoleUserError> {
    if let Ok(number) = name.parse() {
        return Ok(Some(Gid::from_raw(number)));
    }
    let found = Group::from_name(name).map_err(|errno| RoleUserError::Lookup(name.to_owned(), errno))?;
    if found.is_none() {
        tracing::info!("there is no group {name}: only root may start agents");
    }
    Ok(found.map(|group| group.gid))
}

/// Whether the host has a user of that name.
pub fn exists(name: &str) -> bool {
    User::from_name(name).is_ok_and(|user| user.is_some())
}

fn role_user(name: &'static str, fallback: u32) -> Result<RoleUser, RoleUserError> {
    let lookup = |errno| RoleUserError::Lookup(name.to_owned(), errno);
    if let Some(user) = User::from_name(name).map_err(lookup)? {
        let found = RoleUser { uid: user.uid.as_raw(), gid: user.gid.as_raw() };
        return if user.uid.is_root() { Err(RoleUserError::Root(name)) } else { Ok(found) };
    }
    match User::from_uid(Uid::from_raw(fallback)).map_err(lookup)? {
        Some(owner) => Err(RoleUserError::Taken { uid: fallback, owner: owner.name, name }),
        None => {
            tracing::info!("there is no user {name}: its role runs as user id {fallback}");
            Ok(RoleUser { uid: fallback, gid: fallback })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_is_found_by_name_or_number_and_may_be_missing() {
        assert_eq!(group("root").unwrap(), Some(Gid::from_raw(0)));
        assert_eq!(group("64123").unwrap(), Some(Gid::from_raw(64123)));
        assert_eq!(group("no-such-group").unwrap(), None);
    }

    #[test]
    fn a_missing_user_gets_a_free_number_and_never_somebody_elses() {
        assert_eq!(role_user("no-such-user", 64199).unwrap(), RoleUser { uid: 64199, gid: 64199 });
        assert!(matches!(role_user("no-such-user", 0), Err(RoleUserError::Taken { .. })));
        assert!(matches!(role_user("root", 64199), Err(RoleUserError::Root("root"))));
    }
}
