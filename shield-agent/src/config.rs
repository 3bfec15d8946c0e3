//! The daemon's configuration, as meant: every value checked, every default filled in.
//!
//! [`Config::load`] reads it: as written → as meant, all mistakes at once.

mod limits;
mod names;
mod read;
mod upstream;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use crate::dns::limits::Limits;
use crate::flow::limits::Limits as FlowLimits;
use crate::flow::policy::host::HostPattern;
pub use read::ConfigError;

/// Everything in `/etc/shield/shield.yaml`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Config {
    /// Names cgroups, the bpffs directory and sockets; several instances can live on one host.
    pub instance: String,
    /// Where the store, the CA and spooled bodies live.
    pub state_dir: PathBuf,
    /// Where sockets and trust bundles live.
    pub run_dir: PathBuf,
    /// Name or number of the group whose members may start agents.
    pub group: String,
    /// Glob patterns of policy files.
    pub policies: Vec<String>,
    /// The gates of all agents.
    pub gate: GateConfig,
    /// `store.url`; `sqlite://` and an absolute path.
    pub store_url: String,
    /// The console.
    pub console: ConsoleConfig,
    /// How upstreams are reached.
    pub upstream: UpstreamConfig,
    /// How requests are held.
    pub hold: HoldConfig,
    /// How much one agent, connection and request may ask for.
    pub limits: FlowLimits,
    /// Names of fields, parameters and JSON members whose values are secrets, beyond those everybody knows.
    pub mask: Vec<String>,
    /// How names are asked for.
    pub dns: DnsConfig,
}

/// `gate:`
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct GateConfig {
    /// A cgroup above every agent, from which sockets of others in an agent's hands are refused.
    pub guard: Option<PathBuf>,
}

/// `console:`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConsoleConfig {
    /// Address the console listens on.
    pub listen: SocketAddr,
    /// URL a reviewer opens; its authority is the only `Host` the console answers to.
    pub public_url: String,
    /// PEM files of the certificate chain and key; required when `listen` is not loopback.
    pub tls: Option<TlsFiles>,
}

/// A certificate and its key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TlsFiles {
    /// PEM file of the chain.
    pub cert: PathBuf,
    /// PEM file of the private key.
    pub key: PathBuf,
}

/// `upstream:`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UpstreamConfig {
    /// PEM files of roots trusted beside the host's.
    pub extra_roots: Vec<PathBuf>,
    /// How long dialling may take.
    pub connect_timeout: Duration,
    /// Hosts with a trust or an identity of their own; the first that is meant counts.
    pub hosts: Vec<UpstreamHost>,
}

/// One of `upstream.hosts`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UpstreamHost {
    /// Which hosts.
    pub host: Vec<HostPattern>,
    /// PEM files of the only roots trusted for them; the usual ones when empty.
    pub roots: Vec<PathBuf>,
    /// PEM files of revocation lists; when there are any, a certificate no list covers is refused.
    pub crls: Vec<PathBuf>,
    /// What we show when they ask who we are.
    pub identity: Option<TlsFiles>,
    /// Where they are in plain HTTP, beside the addresses their names resolve to.
    pub addresses: Vec<IpNet>,
}

/// `dns:`
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DnsConfig {
    /// Where questions go; empty means the host's own resolvers.
    pub upstream: Vec<SocketAddr>,
    /// Which questions, and how many.
    pub limits: Limits,
}

/// `hold:`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HoldConfig {
    /// How long an agent's connection waits for a decision.
    pub wait: Duration,
    /// How long a decision may take.
    pub expires: Duration,
    /// How long a finished hold's answer can be collected.
    pub result_ttl: Duration,
    /// Largest body that can be held, bytes (at most 64 MiB).
    pub max_body: u64,
    /// Pending holds one agent may have.
    pub max_pending_per_agent: u32,
}
