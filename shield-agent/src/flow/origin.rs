//! Where a flow was going and who opened it.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

/// The process that opened a flow, as the kernel saw it and as `/proc` described it at accept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Caller {
    /// Process id in the initial pid namespace.
    pub pid: u32,
    /// Effective user id in the initial user namespace.
    pub uid: u32,
    /// Path of the executable; empty when the process was already gone.
    pub exe: String,
    /// Process name; chosen by the process.
    pub comm: String,
    /// Arguments; empty when the process was already gone.
    pub cmdline: Vec<String>,
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
