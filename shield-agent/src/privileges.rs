//! Giving up what a process does not need: descriptors, identity, capabilities.
//!
//! Every step is irreversible and an error in any of them is fatal to the caller. It never takes anything back.

use caps::CapSet;
use nix::errno::Errno;
use nix::unistd::{Gid, Uid};

/// Why a privilege could not be dropped.
#[derive(Debug, thiserror::Error)]
pub enum PrivilegeError {
    /// A system call failed.
    #[error("{0} failed")]
    Call(&'static str, #[source] Errno),
    /// A capability set could not be changed.
    #[error("{0} capabilities could not be dropped")]
    Capabilities(&'static str, #[source] caps::errors::CapsError),
}

/// Who a process is about to become.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// User.
    pub uid: Uid,
    /// Primary group.
    pub gid: Gid,
    /// Supplementary groups, all of them.
    pub groups: Vec<Gid>,
}

/// Marks every descriptor from `first` on to be closed when the process executes a program.
pub fn close_on_exec_from(first: u32) -> Result<(), PrivilegeError> {
    close_range(first, libc::CLOSE_RANGE_CLOEXEC as libc::c_int)
}

/// Closes every descriptor from `first` on, now. Only for a process that owns none of them in a safe wrapper.
pub fn close_from(first: u32) -> Result<(), PrivilegeError> {
    close_range(first, 0)
}

fn close_range(first: u32, flags: libc::c_int) -> Result<(), PrivilegeError> {
    // SAFETY: the call takes plain numbers. Whether a descriptor's owner expects it to be open is the caller's
    // contract, stated above.
    let result = unsafe { libc::close_range(first, u32::MAX, flags) };
    Errno::result(result).map(drop).map_err(|errno| PrivilegeError::Call("close_range", errno))
}

/// Becomes `identity`, with every capability set empty and no way to regain one by executing a program.
///
/// Capabilities belong to a thread: the process must have one.
pub fn become_identity(identity: &Identity) -> Result<(), PrivilegeError> {
    empty_bounding_set()?;
    caps::clear(None, CapSet::Ambient).map_err(|error| PrivilegeError::Capabilities("ambient", error))?;
    let Identity { uid, gid, groups } = identity;
    nix::unistd::setgroups(groups).map_err(|errno| PrivilegeError::Call("setgroups", errno))?;
    nix::unistd::setresgid(*gid, *gid, *gid).map_err(|errno| PrivilegeError::Call("setresgid", errno))?;
    nix::unistd::setresuid(*uid, *uid, *uid).map_err(|errno| PrivilegeError::Call("setresuid", errno))?;
    // `setresuid` empties these for every user but root.
    for (set, name) in [
        (CapSet::Inheritable, "inheritable"),
        (CapSet::Effective, "effective"),
        (CapSet::Permitted, "permitted"),
    ] {
        caps::clear(None, set).map_err(|error| PrivilegeError::Capabilities(name, error))?;
    }
    nix::sys::prctl::set_no_new_privs().map_err(|errno| PrivilegeError::Call("no_new_privs", errno))
}

/// Drops every capability this kernel knows, by number: a list of names would miss those added later.
fn empty_bounding_set() -> Result<(), PrivilegeError> {
    for capability in 0..=libc::c_ulong::from(u8::MAX) {
        // SAFETY: PR_CAPBSET_DROP takes one number and touches no memory.
        let result = unsafe { libc::prctl(libc::PR_CAPBSET_DROP, capability, 0, 0, 0) };
        match Errno::result(result) {
            Ok(_) => {}
            Err(Errno::EINVAL) if capability > 0 => return Ok(()),
            Err(errno) => return Err(PrivilegeError::Call("dropping the bounding set", errno)),
        }
    }
    Ok(())
}
