//! From an accepted socket to a flow: whose it is, where it was going and who opened it.
//!
//! Nothing here reads a byte the agent sent: identity comes from the gate whose listener accepted, the rest from the
//! record the kernel filed with the socket. No record, no service.

pub mod caller;
pub mod forbidden;

use std::io;
use std::net::{Ipv6Addr, SocketAddr};
use std::os::fd::BorrowedFd;
use std::sync::Arc;

use shield_common::limits::{PROBE_ADDRESS, PROBE_PORT};
use shield_common::original::Original;

use crate::flow::origin::{Caller, Destination};
use crate::names::AgentName;
use forbidden::{Forbidden, ForbiddenAddress};

/// Where the kernel's records of accepted sockets are looked up.
pub trait Originals: Send + Sync {
    /// The record filed with `socket`; `None` when the socket did not come through a gate.
    fn lookup(&self, socket: BorrowedFd<'_>) -> io::Result<Option<Original>>;
}

/// One agent's gate, as the worker serves it.
pub struct Gate {
    /// Whose connections come in here.
    pub agent: AgentName,
    /// The records of this gate.
    pub originals: Arc<dyn Originals>,
}

/// One intercepted connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Flow {
    /// The agent, by its gate.
    pub agent: AgentName,
    /// Who opened it.
    pub caller: Caller,
    /// Where it was going.
    pub original: SocketAddr,
}

impl Flow {
    /// The destination before anything about it was verified.
    pub fn destination(&self) -> Destination {
        Destination { ip: self.original.ip(), port: self.original.port(), verified_name: None }
    }
}

/// What an accepted socket is.
#[derive(Debug, PartialEq, Eq)]
pub enum Accepted {
    /// A connection to serve.
    Flow(Flow),
    /// The launcher asks whether the gate works.
    Probe,
}

/// Why an accepted socket is closed at once.
#[derive(Debug, thiserror::Error)]
pub enum NotServed {
    /// It did not come through the gate.
    #[error("the connection has no record of its destination")]
    NoRecord,
    /// The record could not be read.
    #[error("the record of the connection's destination could not be read")]
    Lookup(#[source] io::Error),
    /// It was going to a place nothing is forwarded to.
    #[error(transparent)]
    Forbidden(#[from] ForbiddenAddress),
}

/// Identifies an accepted socket.
pub fn identify(gate: &Gate, forbidden: &Forbidden, socket: BorrowedFd<'_>) -> Result<Accepted, NotServed> {
    let record = gate.originals.lookup(socket).map_err(NotServed::Lookup)?.ok_or(NotServed::NoRecord)?;
    let original = SocketAddr::new(Ipv6Addr::from(record.address).to_canonical(), record.port);
    if original == SocketAddr::from((PROBE_ADDRESS, PROBE_PORT)) {
        return Ok(Accepted::Probe);
    }
    forbidden.check(original)?;
    Ok(Accepted::Flow(Flow { agent: gate.agent.clone(), caller: caller::describe(&record), original }))
}
