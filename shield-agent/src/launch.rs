//! `shield run`: starts a command as a gated agent.
//!
//! The daemon makes the gated cgroup; a child of ours enters it, sees the host through its own mounts, gives up every
//! privilege and what no gate covers, proves the gate from inside and becomes the command. Nothing is ever run without that proof: any failure
//! before the command starts ends in exit code 125 and no command.

mod child;
pub(crate) mod confine;
mod environment;
mod mounts;
mod probe;
mod runtime;
mod streams;
mod trust;
pub mod user;
mod wait;

use std::ffi::OsString;
use std::os::unix::process::ExitStatusExt as _;
use std::path::PathBuf;
use std::process::ExitStatus;

use nix::unistd::{ForkResult, Uid};

use self::streams::Streams;
use crate::ipc::gate::{AskError, GateClient, GateReply, GateRequest, PreparedRun};
use crate::names::AgentName;
use crate::privileges::PrivilegeError;

pub use self::confine::ConfineError;
pub use self::mounts::JAVA_STORES;
pub use self::trust::DIRECTORY as TRUST_DIRECTORY;

/// Exit code when the command was not started and shield is the reason.
pub const NOT_STARTED: u8 = 125;
/// Exit code when the command exists and cannot be executed.
pub const NOT_EXECUTABLE: u8 = 126;
/// Exit code when there is no such command.
pub const NOT_FOUND: u8 = 127;

/// What to run, and as whom.
#[derive(Clone, Debug)]
pub struct Launch {
    /// `run_dir` of the daemon.
    pub run_dir: PathBuf,
    /// Name of the agent.
    pub agent: AgentName,
    /// User to run as; `None` means whoever called `sudo`, else root.
    pub user: Option<String>,
    /// Variables set for the command, in order; they win over ours.
    pub env: Vec<(String, String)>,
    /// The command and its arguments.
    pub command: Vec<OsString>,
}

/// Why a command was not started.
#[derive(Debug, thiserror::Error)]
pub enum LaunchError {
    /// Not root.
    #[error("starting an agent needs root for now: run it with sudo")]
    NotRoot,
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
    /// The gate does not hold.
    #[error("the gate could not be proved from inside the agent's cgroup: {0}")]
    Unproven(String),
    /// A privilege could not be dropped.
    #[error("privileges could not be dropped: the agent was not started")]
    Privileges(#[from] PrivilegeError),
    /// Something no hook sees could not be taken away.
    #[error("the agent could not be confined and was not started")]
    Confine(#[from] confine::ConfineError),
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
            _ => NOT_STARTED,
        }
    }

    fn setup(act: &'static str, thing: impl Into<PathBuf>) -> impl FnOnce(std::io::Error) -> Self {
        let thing = thing.into();
        move |source| Self::Setup { act, thing, source }
    }
}

/// Runs the command as a gated agent and returns its exit code.
///
/// The calling process must have a single thread: it forks.
pub fn run(launch: &Launch) -> Result<u8, LaunchError> {
    if !Uid::effective().is_root() {
        return Err(LaunchError::NotRoot);
    }
    let user = user::resolve(launch.user.as_deref())?;
    if user.identity.uid.is_root() {
        eprintln!(
            "shield: warning: the agent runs as root of this host, whom no gate can hold for certain; name another user with --user"
        );
    }
    let streams = Streams::examine()?;
    // Open until the agent ends: the daemon removes the gate when this connection and the cgroup's last process are
    // gone.
    let mut gate = GateClient::connect(&launch.run_dir)?;
    let prepared = prepare(&mut gate, launch)?;
    let signals = wait::Signals::block()?;
    // SAFETY: this process has one thread, so the child may use everything the parent could.
    match unsafe { nix::unistd::fork() } {
        Ok(ForkResult::Child) => {
            let Err(error) = child::become_agent(launch, &prepared, &user, &streams, &signals);
            crate::report::error("shield", &error);
            std::process::exit(error.exit_code().into());
        }
        Ok(ForkResult::Parent { child }) => {
            let relays = streams.relay()?;
            let status = signals.forward_until_exit(child)?;
            relays.finish();
            Ok(exit_code(status))
        }
        Err(errno) => Err(LaunchError::setup("starting a process for", launch.agent.as_str())(errno.into())),
    }
}

fn prepare(gate: &mut GateClient, launch: &Launch) -> Result<PreparedRun, LaunchError> {
    match gate.ask(&GateRequest::PrepareRun { agent: launch.agent.clone() })? {
        GateReply::Prepared(prepared) => Ok(prepared),
        other => Err(AskError::unexpected(&other).into()),
    }
}

/// The exit code a shell would show: the command's own, or 128 and the signal that ended it.
fn exit_code(status: ExitStatus) -> u8 {
    let code = status.code().or_else(|| status.signal().map(|signal| 128 + signal));
    code.and_then(|code| u8::try_from(code).ok()).unwrap_or(NOT_STARTED)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_exit_code_is_the_commands_own_or_names_its_signal() {
        assert_eq!(exit_code(ExitStatus::from_raw(3 << 8)), 3);
        assert_eq!(exit_code(ExitStatus::from_raw(15)), 143);
    }

    #[test]
    fn a_missing_command_a_locked_one_and_a_failed_set_up_have_their_own_codes() {
        let exec = |kind: std::io::ErrorKind| LaunchError::Exec { command: "x".into(), source: kind.into() };
        assert_eq!(exec(std::io::ErrorKind::NotFound).exit_code(), 127);
        assert_eq!(exec(std::io::ErrorKind::PermissionDenied).exit_code(), 126);
        assert_eq!(LaunchError::NotRoot.exit_code(), 125);
    }
}
