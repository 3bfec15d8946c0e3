//! `shield run`: starts a command as a gated agent, for anybody the daemon's socket lets in.
//!
//! ```text
//! caller (shield run, no privilege) ── gate.sock ──► supervisor: makes the gate, starts a launcher
//!    │  belongings: streams, environment, directory        │
//!    └──────────────── the same connection ──────────► launcher (root, one for each agent)
//!         ◄─ started, stopped, ended                       └─ fork ─► the agent: inside the gate first, then nobody
//!         ─► signals                                                 but the caller, then the command
//! ```
//! Who the agent is comes from the kernel's word about the caller, what it gets from the caller itself, and nothing the
//! caller says is used before privileges are gone, but the descriptors of its streams and certificates to trust. Nothing is ever run without
//! a proof of the gate from inside: any failure before the command starts ends in exit code 125 and no command.

mod borrowed;
mod caller;
mod child;
pub(crate) mod confine;
mod deputies;
mod environment;
pub mod launcher;
mod mounts;
pub mod probe;
mod runtime;
mod signals;
mod streams;
mod terminal;
mod trust;
pub mod user;

use std::ffi::OsString;
use std::path::PathBuf;

use crate::ipc::frame::FrameError;
use crate::ipc::gate::AskError;
use crate::names::AgentName;
use crate::privileges::PrivilegeError;

pub use self::caller::run;
pub use self::confine::ConfineError;
pub use self::environment::trust_variables;
pub use self::mounts::JAVA_STORES;
pub use self::trust::DIRECTORY as TRUST_DIRECTORY;

/// Exit code when the command was not started and shield is the reason.
pub const NOT_STARTED: u8 = 125;
/// Exit code when the command exists and cannot be executed.
pub const NOT_EXECUTABLE: u8 = 126;
/// Exit code when there is no such command.
pub const NOT_FOUND: u8 = 127;
/// Exit code when the caller may not start agents, or not as that user.
const NOT_PERMITTED: u8 = 77;

/// What to run, and as whom.
#[derive(Clone, Debug)]
pub struct Launch {
    /// `run_dir` of the daemon.
    pub run_dir: PathBuf,
    /// Name of the agent.
    pub agent: AgentName,
    /// User to run as; `None` means the caller, or whoever called `sudo`.
    pub user: Option<String>,
    /// Whether it gets a network namespace of its own.
    pub strict: bool,
    /// Variables set for the command, in order; they win over ours.
    pub env: Vec<(String, String)>,
    /// Local sockets outside `/run` that are not hidden from it.
    pub allowed_sockets: Vec<PathBuf>,
    /// Whether to say what was hidden.
    pub verbose: bool,
    /// The command and its arguments.
    pub command: Vec<OsString>,
}

/// Why a command was not started.
#[derive(Debug, thiserror::Error)]
pub enum LaunchError {
    /// The daemon did not prepare the gate.
    #[error(transparent)]
    Gate(#[from] AskError),
    /// The user to run as does not exist or cannot be looked up.
    #[error(transparent)]
    User(#[from] user::UserError),
    /// A step of the set-up failed.
    #[error("{act} {}: the agent was not started", thing.display())]
    Setup {
        /// What was tried.
        act: &'static str,
        /// On what.
        thing: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A standard stream of ours would be a way out.
    #[error("{0} is a socket of the network, which no gate covers: redirect it to a file or a pipe")]
    SocketStream(&'static str),
    /// A standard stream is nothing the launcher hands on.
    #[error("{0} is neither a file, a pipe nor a terminal: redirect it")]
    StrangeStream(&'static str),
    /// The caller is somewhere the launcher cannot follow.
    #[error("{0}: the agent was not started")]
    Caller(&'static str),
    /// Root of the host would be root inside as well.
    #[error("--strict does not hold root of this host: name an ordinary user with --user")]
    StrictRoot,
    /// The kernel lacks what strict mode promises.
    #[error("--strict cannot keep its promise on this host: {0}")]
    Strict(String),
    /// The gate does not hold.
    #[error("the gate could not be proved from inside the agent's cgroup: {0}")]
    Unproven(String),
    /// A privilege could not be dropped.
    #[error("privileges could not be dropped: the agent was not started")]
    Privileges(#[from] PrivilegeError),
    /// Something no hook sees could not be taken away.
    #[error("the agent could not be confined and was not started")]
    Confine(#[from] confine::ConfineError),
    /// The other end of the connection is gone or talks nonsense.
    #[error("the connection between `shield run` and its launcher broke: {0}")]
    Line(&'static str, #[source] FrameError),
    /// The launcher did not start it.
    #[error("{reason}")]
    NotStarted {
        /// The exit code that says so.
        code: u8,
        /// What the launcher said.
        reason: String,
    },
    /// The command itself could not be executed.
    #[error("{} could not be executed", command.display())]
    Exec {
        /// The command.
        command: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
}

impl LaunchError {
    /// The exit code that says so, by the convention of `env`, `timeout` and container runtimes.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Exec { source, .. } if source.kind() == std::io::ErrorKind::NotFound => NOT_FOUND,
            Self::Exec { .. } => NOT_EXECUTABLE,
            Self::Gate(AskError::NotPermitted(..) | AskError::Forbidden(_)) => NOT_PERMITTED,
            Self::NotStarted { code, .. } => *code,
            _ => NOT_STARTED,
        }
    }

    fn setup(act: &'static str, thing: impl Into<PathBuf>) -> impl FnOnce(std::io::Error) -> Self {
        let thing = thing.into();
        move |source| Self::Setup { act, thing, source }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_command_a_locked_one_a_forbidden_and_a_failed_set_up_have_their_own_codes() {
        let exec = |kind: std::io::ErrorKind| LaunchError::Exec { command: "x".into(), source: kind.into() };
        assert_eq!(exec(std::io::ErrorKind::NotFound).exit_code(), 127);
        assert_eq!(exec(std::io::ErrorKind::PermissionDenied).exit_code(), 126);
        assert_eq!(LaunchError::from(AskError::Forbidden("no".into())).exit_code(), 77);
        assert_eq!(LaunchError::StrictRoot.exit_code(), 125);
    }
}
