//! Supervisor → every role: who you are; and supervisor ⇄ approver: what changes while it runs.
//!
//! A role inherits one socket, as its standard input. Everything else it may ever own arrives over it with [`Start`].

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::config::Config;
use crate::finding::Finding;
use crate::ipc::attempt::Attempt;
use crate::ipc::worker::PolicyText;
use crate::names::AgentName;

/// First message to a role, before it does anything. Its descriptors, in order:
///
/// * worker: the approver's channel, the signer's channel;
/// * approver: the worker's channel, the console's listener, the control socket's listener, the instance's lock (to
///   be kept open);
/// * signer: the worker's channel.
#[derive(Debug, Serialize, Deserialize)]
pub struct Start {
    /// User the role becomes.
    pub uid: u32,
    /// Group the role becomes; its only one.
    pub gid: u32,
    /// Process id of the supervisor: a role whose parent is another process has outlived it.
    pub supervisor: u32,
    /// What the role is to do.
    pub duty: Duty,
}

/// What a role is to do.
#[derive(Debug, Serialize, Deserialize)]
pub enum Duty {
    /// Serve agents; configured by `ipc::worker::ToWorker`.
    Work,
    /// Keep holds, decisions and the journal.
    Approve(Box<ApproverConfig>),
    /// Sign leaves with the CA in this directory.
    Sign {
        /// Directory of the CA's key, owned by the role's user.
        ca_dir: PathBuf,
        /// Certificates signed per second at most.
        names_per_second: u32,
    },
}

/// What the approver needs to know before it starts.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ApproverConfig {
    /// The daemon's configuration.
    pub config: Config,
    /// PEM of the console's certificate chain and key, when it is served over TLS.
    pub tls: Option<TlsPem>,
    /// The policy in force.
    pub policy: PolicyText,
}

/// A certificate chain and its key, as read from disk by the supervisor.
#[derive(Clone, Serialize, Deserialize)]
pub struct TlsPem {
    /// PEM of the chain.
    pub cert: Vec<u8>,
    /// PEM of the private key.
    pub key: Vec<u8>,
}

impl std::fmt::Debug for TlsPem {
    /// Leaves the key out.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("TlsPem(…)")
    }
}

/// From the signer to the supervisor, once: it is ready.
#[derive(Debug, Serialize, Deserialize)]
pub struct SignerReady {
    /// DER of the CA's certificate.
    pub certificate: Vec<u8>,
}

/// From the supervisor to the approver.
#[derive(Debug, Serialize, Deserialize)]
pub enum ToApproverRole {
    /// Policy files as read, already checked by the supervisor. Replaces the running policy as a whole.
    Policy(PolicyText),
    /// Why newer policy files are not in force; the policy before stays.
    PolicyTrouble {
        /// For people who look at the console.
        reason: String,
    },
    /// An agent is gated; also sent for every gate when the approver has started again.
    AgentAttached {
        /// Which.
        agent: AgentName,
    },
    /// An agent's gate was removed.
    AgentDetached {
        /// Which.
        agent: AgentName,
    },
    /// Answer to `FromApproverRole::Freeze`; also said when somebody at the host stopped or continued an agent.
    Frozen {
        /// Which agent.
        agent: AgentName,
        /// Whether its processes are stopped now, or why that could not be changed.
        result: Result<bool, String>,
    },
    /// What the hooks of an agent's gate redirected and refused.
    Attempts {
        /// Whose.
        agent: AgentName,
        /// In the order they happened.
        attempts: Vec<Attempt>,
    },
    /// How often each thing happened since the agent was gated; said when something changed.
    Counters {
        /// Which agent.
        agent: AgentName,
        /// In the order of `Reason::ALL`.
        counts: Vec<u64>,
    },
    /// Something was found about an agent's protection, or the host's.
    Finding {
        /// What.
        finding: Finding,
        /// Whether the agent's processes are stopped.
        stopped: bool,
    },
    /// Write what is not yet durable, then answer `Drained`.
    Drain,
}

/// From the approver to the supervisor.
#[derive(Debug, Serialize, Deserialize)]
pub enum FromApproverRole {
    /// The store is open and the console serves.
    Ready,
    /// A reviewer stops or continues an agent.
    Freeze {
        /// Which.
        agent: AgentName,
        /// Stop (`true`) or continue.
        frozen: bool,
    },
    /// Everything is durable.
    Drained,
}
