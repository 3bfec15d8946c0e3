//! Where a flow was going and who opened it.

use std::net::IpAddr;
use std::sync::Arc;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// The process that opened a flow, as the kernel saw it and as `/proc` described it at accept.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Caller {
    /// Process id in the initial pid namespace.
    pub pid: u32,
    /// Effective user id in the initial user namespace.
    pub uid: u32,
    /// Path of the executable; empty when it cannot be told.
    pub exe: String,
    /// Process name; chosen by the process.
    pub comm: String,
    /// Arguments; empty when they cannot be told.
    pub cmdline: Vec<String>,
    /// When the process began; with `pid` it names one process for ever.
    #[serde(default)]
    pub start_time: Option<Timestamp>,
    /// Its working directory; empty when it cannot be told.
    #[serde(default)]
    pub cwd: String,
    /// Its parent, the parent of that, and so on.
    #[serde(default)]
    pub ancestry: Arc<[Ancestor]>,
    /// Id of the container it is in.
    #[serde(default)]
    pub container: Option<String>,
    /// The systemd unit it is in.
    #[serde(default)]
    pub unit: Option<String>,
    /// Whether the process was gone when it was looked for.
    #[serde(default)]
    pub exited: bool,
}

/// A process above another.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ancestor {
    /// Process id.
    pub pid: u32,
    /// Process name; chosen by the process.
    pub comm: String,
    /// Path of the executable; empty when it cannot be told.
    pub exe: String,
}

impl Caller {
    /// What a record of one of many requests needs to say: where the process came from is told where somebody decides.
    pub fn brief(&self) -> Self {
        Self { cwd: String::new(), ancestry: Arc::default(), ..self.clone() }
    }
}

/// Where an exchange goes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Destination {
    /// The address the program connected to.
    pub ip: IpAddr,
    /// The port the program connected to.
    pub port: u16,
    /// The name the upstream's certificate was verified for; `None` for plain HTTP and before the first contact.
    pub verified_name: Option<String>,
}
