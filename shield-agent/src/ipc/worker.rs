//! Supervisor ⇄ worker: what to serve, and how far it got.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::dns::limits::Limits;
use crate::flow::limits::Limits as FlowLimits;
use crate::flow::origin::Ancestor;
use crate::flow::policy::host::HostPattern;
use crate::names::AgentName;

/// From the supervisor to the worker. File descriptors travel with `AddGate`, in the order its fields name them.
#[derive(Debug, Serialize, Deserialize)]
pub enum ToWorker {
    /// First message, once.
    Configure(Box<WorkerConfig>),
    /// Policy files as read, already checked by the supervisor. Replaces the running policy as a whole.
    Policy(PolicyText),
    /// Serve an agent in a network namespace, beside those it is served in. Descriptors: its TCP listeners, then its UDP DNS sockets, then the socket-storage map
    /// (opened read-only) to look originals up in.
    AddGate {
        /// The agent these sockets belong to: identity comes from here.
        agent: AgentName,
        /// Cookie of the namespace; sockets that served it before are closed.
        netns: u64,
        /// Number of TCP listener descriptors.
        listeners: u8,
        /// Number of UDP socket descriptors for DNS.
        dns: u8,
    },
    /// Stop serving an agent and close its sockets.
    RemoveGate {
        /// Which.
        agent: AgentName,
    },
    /// Stop serving an agent in one network namespace and close its sockets there.
    RemoveNamespace {
        /// Which.
        agent: AgentName,
        /// Cookie of the namespace.
        netns: u64,
    },
    /// Answer to `FromWorker::WhichCaller`.
    Caller {
        /// Which question.
        ask: u64,
        /// What is known of the process.
        facts: Box<CallerFacts>,
    },
    /// Stop accepting, finish what is under way, then answer `Drained`.
    Drain {
        /// How long exchanges under way may take.
        within: Duration,
    },
}

/// What the supervisor read of a process; empty where it could not be told. Never of another process than was asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CallerFacts {
    /// Path of the executable.
    pub exe: String,
    /// Arguments.
    pub cmdline: Vec<String>,
    /// When it began.
    pub start_time: Option<Timestamp>,
    /// Its working directory.
    pub cwd: String,
    /// Its parent, the parent of that, and so on.
    pub ancestry: Arc<[Ancestor]>,
    /// Id of the container it is in.
    pub container: Option<String>,
    /// The systemd unit it is in.
    pub unit: Option<String>,
    /// Whether it was gone when it was looked for.
    pub exited: bool,
}

/// Everything the worker needs from disk, because it opens no file.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct WorkerConfig {
    /// DER of the CA certificate leaves are signed by.
    pub ca_certificate: Vec<u8>,
    /// DER of every root upstream certificates may chain to: the host's and `upstream.extra_roots`.
    pub upstream_roots: Vec<Vec<u8>>,
    /// Hosts with roots or an identity of their own; the first that is meant counts.
    pub upstream_hosts: Vec<HostTrust>,
    /// How long dialling an upstream may take.
    pub connect_timeout: Duration,
    /// Resolvers DNS questions are forwarded to.
    pub resolvers: Vec<SocketAddr>,
    /// Which of them, and how many.
    pub names: Limits,
    /// Addresses nothing may be forwarded to: our console, metrics and listeners.
    pub own_addresses: Vec<SocketAddr>,
    /// `hold.wait`.
    pub hold_wait: Duration,
    /// `hold.max_body`, in bytes.
    pub max_body: u64,
    /// How much agents may ask for.
    pub limits: FlowLimits,
}

/// `upstream.hosts`, as read from disk. Everything is DER.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct HostTrust {
    /// Which hosts.
    pub host: Vec<HostPattern>,
    /// The only roots trusted for them; the usual ones when empty.
    pub roots: Vec<Vec<u8>>,
    /// Lists of revoked certificates.
    pub crls: Vec<Vec<u8>>,
    /// What we show when they ask who we are.
    pub identity: Option<Identity>,
    /// Where they are in plain HTTP, beside the addresses their names resolve to.
    pub addresses: Vec<IpNet>,
}

/// A client certificate and its key.
#[derive(Clone, Serialize, Deserialize)]
pub struct Identity {
    /// The chain.
    pub chain: Vec<Vec<u8>>,
    /// The private key.
    pub key: Vec<u8>,
}

impl std::fmt::Debug for Identity {
    /// Leaves the key out.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Identity(…)")
    }
}

/// Policy files as text, in the order they were listed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PolicyText {
    /// Path (for messages) and content of each file.
    pub files: Vec<(String, String)>,
}

/// From the worker to the supervisor.
#[derive(Debug, Serialize, Deserialize)]
pub enum FromWorker {
    /// Configured and sandboxed: gates may be added.
    Ready,
    /// The agent's sockets are being served.
    Serving {
        /// Which.
        agent: AgentName,
    },
    /// The policy could not be compiled; the one before stays in force.
    PolicyRefused {
        /// Why, for the operator.
        reason: String,
    },
    /// Which process made this connection? For display and rules about programs. As the kernel recorded it.
    WhichCaller {
        /// Number of the question; the answer carries it.
        ask: u64,
        /// Process id.
        pid: u32,
        /// `CLOCK_MONOTONIC` nanoseconds of the connection.
        connected_at_ns: u64,
        /// Id of the cgroup the process was in.
        cgroup_id: u64,
    },
    /// Nothing is under way any more.
    Drained,
}
