//! What is said while an agent is started: supervisor → launcher, caller → launcher, launcher → caller.
//!
//! The caller is whoever ran `shield run`, with no privilege; the launcher is root. So the caller says what the *agent*
//! gets, and who the agent is comes from the kernel's word about the caller, in the supervisor's order.

use serde::{Deserialize, Serialize};

use super::gate::PreparedRun;
use crate::names::AgentName;

/// Supervisor → launcher, once. Its descriptors: the connection to the caller, the caller's pidfd, the network namespace
/// the agent lives in.
#[derive(Debug, Serialize, Deserialize)]
pub struct Order {
    /// Name of the agent.
    pub agent: AgentName,
    /// The gate, and what the agent is shown.
    pub prepared: PreparedRun,
    /// Whom the agent runs as.
    pub whom: Whom,
    /// The caller's process, as the supervisor sees it.
    pub caller: u32,
    /// Whether the network namespace is the agent's alone.
    pub strict: bool,
}

/// Whom an agent runs as.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Whom {
    /// As the caller: its ids, as the kernel knows them.
    Caller {
        /// User.
        uid: u32,
        /// Primary group.
        gid: u32,
        /// Supplementary groups.
        groups: Vec<u32>,
    },
    /// As another user, with the groups of the user database. Only root asks for this.
    User(u32),
}

/// Caller → launcher, once: what the agent gets from it. Its descriptors: the three standard streams.
#[derive(Debug, Serialize, Deserialize)]
pub struct Belongings {
    /// The command and its arguments.
    pub command: Vec<Vec<u8>>,
    /// The caller's environment.
    pub env: Vec<(Vec<u8>, Vec<u8>)>,
    /// Variables set for the command; they win over everything.
    pub wishes: Vec<(String, String)>,
    /// The caller's working directory.
    pub directory: Vec<u8>,
    /// The caller's mask of file modes.
    pub umask: u32,
    /// Certificates the caller's environment named, PEM.
    pub roots: String,
    /// Which of the streams is the agent's own terminal, if one is.
    pub terminal: Option<u8>,
    /// Local sockets outside `/run` the agent may reach.
    pub allowed_sockets: Vec<Vec<u8>>,
}

/// Caller → launcher, while the agent runs.
#[derive(Debug, Serialize, Deserialize)]
pub struct Signal {
    /// Its number.
    pub number: i32,
    /// For the command's process group, as a terminal signals; else for its first process.
    pub group: bool,
}

/// Launcher → caller.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum News {
    /// The command runs.
    Started {
        /// What the caller should know.
        warnings: Vec<String>,
        /// Sockets that were hidden.
        hidden: Vec<String>,
    },
    /// The command was not started.
    NotStarted {
        /// The exit code that says so.
        code: u8,
        /// Why.
        reason: String,
    },
    /// The command was stopped, as by Ctrl-Z.
    Stopped,
    /// The command ended.
    Ended {
        /// As `waitpid` tells it.
        status: i32,
    },
}
