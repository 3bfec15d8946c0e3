//! Why a gate could not be made, found or removed.

use std::io;
use std::path::{Path, PathBuf};

use crate::capture::CaptureError;
use crate::daemon::cgroup::UnfitCgroup;
use crate::daemon::socket::MAX_PER_USER;
use crate::names::AgentName;

/// Why a gate could not be made, found or removed.
#[derive(Debug, thiserror::Error)]
pub enum GateError {
    /// Another agent has the name.
    #[error("agent {0} exists already: choose another name, or detach it first")]
    NameInUse(AgentName),
    /// Another user's agents are called that.
    #[error("the name {0} belongs to agents of another user: choose another name")]
    NameOwned(AgentName),
    /// A user has as many agents as one may have.
    #[error("you have {MAX_PER_USER} agents, which is all: end some first")]
    TooMany,
    /// There is no agent by that name.
    #[error("there is no agent {0}: see `shield agents`")]
    NoSuchAgent(AgentName),
    /// The cgroup cannot be gated.
    #[error(transparent)]
    Unfit(#[from] UnfitCgroup),
    /// The cgroup, one above or one below it is gated.
    #[error("cgroup {} is gated already, as agent {agent}: detach that first", cgroup.display())]
    AlreadyGated {
        /// The cgroup.
        cgroup: PathBuf,
        /// Its agent.
        agent: AgentName,
    },
    /// There is no such process.
    #[error("there is no process {0}: see `ps`")]
    NoSuchProcess(u32),
    /// A process that must not be gated.
    #[error("process {pid} cannot be gated: {why}")]
    UnfitProcess {
        /// Which.
        pid: u32,
        /// Why.
        why: &'static str,
    },
    /// It keeps starting processes faster than they can be moved.
    #[error(
        "process {0} starts others faster than they can be moved: stop it with `kill -STOP`, and attach it again"
    )]
    Restless(u32),
    /// An agent started by `shield run` ends with its processes.
    #[error("agent {0} was started by `shield run`: its gate ends when its last process does")]
    NotAttached(AgentName),
    /// It was stopped for a reason that still stands.
    #[error("agent {agent} stays stopped, because {what}: {remedy}")]
    StaysStopped {
        /// The agent.
        agent: AgentName,
        /// What is wrong.
        what: String,
        /// What mends it.
        remedy: String,
    },
    /// A process moved on before its namespace was served.
    #[error("the process is in another network namespace by now: its next connection is looked at again")]
    OtherNamespace,
    /// Kernel, cgroup or sockets.
    #[error(transparent)]
    Capture(#[from] CaptureError),
    /// A file.
    #[error("cannot {act} {}", path.display())]
    File {
        /// What was tried.
        act: &'static str,
        /// On which.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

impl GateError {
    pub(super) fn file(act: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::File { act, path, source }
    }
}
