//! What no hook of a cgroup can see, taken from the agent before it starts: other families of sockets, rings that do
//! system calls for it, and other processes of its user.
//!
//! Irreversible, inherited by everything the agent starts, and free of privilege. The system calls it takes away are
//! listed in [`syscalls`], each group with its reason; nothing is ever added to what the agent may do.

mod reach;
pub(crate) mod syscalls;

pub(crate) use self::reach::Caveat;

/// Why an agent could not be confined.
#[derive(Debug, thiserror::Error)]
pub enum ConfineError {
    /// The filter of system calls could not be built for this processor, or the kernel has none.
    #[error(
        "system calls could not be filtered: use a kernel with CONFIG_SECCOMP_FILTER=y on x86-64 or arm64"
    )]
    Syscalls(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// Landlock exists and refused.
    #[error("other processes of the agent's user could not be put out of its reach")]
    Reach(#[from] landlock::RulesetError),
    /// The directory all paths begin with.
    #[error("/ could not be opened")]
    Root(#[from] landlock::PathFdError),
}

/// Confines the calling thread and everything it starts; says what this kernel could not take away.
///
/// It must be the only thread of its process, with `no_new_privs` set.
pub(super) fn confine() -> Result<Option<Caveat>, ConfineError> {
    let caveat = reach::limit()?;
    syscalls::refuse()?;
    Ok(caveat)
}
