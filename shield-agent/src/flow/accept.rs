//! From an accepted socket to a flow: whose it is, where it was going and who opened it.
//!
//! Nothing here reads a byte the agent sent: identity comes from the gate whose listener accepted, the rest from the
//! record the kernel filed with the socket. No record, no service.

pub mod callers;
pub mod forbidden;

use std::io;
use std::net::{Ipv6Addr, SocketAddr};
use std::os::fd::BorrowedFd;
use std::sync::Arc;

use shield_common::limits::{PROBE_ADDRESS, PROBE_GREETING, PROBE_PORT};
use shield_common::original::Original;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::sync::Semaphore;

use crate::flow::origin::{Caller, Destination};
use crate::names::AgentName;
use callers::Callers;
use forbidden::{Forbidden, ForbiddenAddress};

const DNS_PORT: u16 = 53;

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
    /// Requests its agent may still have under way.
    pub turns: Arc<Semaphore>,
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
    Flow(Box<Flow>),
    /// The launcher asks whether the gate works.
    Probe,
    /// DNS over TCP, whichever server was asked: our resolver answers.
    Dns,
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
pub async fn identify(
    gate: &Gate,
    (forbidden, callers): (&Forbidden, &Callers),
    socket: BorrowedFd<'_>,
) -> Result<Accepted, NotServed> {
    let record = gate.originals.lookup(socket).map_err(NotServed::Lookup)?.ok_or(NotServed::NoRecord)?;
    let original = SocketAddr::new(Ipv6Addr::from(record.address).to_canonical(), record.port);
    if original == SocketAddr::from((PROBE_ADDRESS, PROBE_PORT)) {
        return Ok(Accepted::Probe);
    }
    if original.port() == DNS_PORT {
        return Ok(Accepted::Dns);
    }
    forbidden.check(original)?;
    let caller = callers.of(&record).await;
    Ok(Accepted::Flow(Box::new(Flow { agent: gate.agent.clone(), caller, original })))
}

/// Tells the launcher that its probe came through the gate of `agent`.
pub async fn answer_probe(mut socket: TcpStream, agent: &AgentName) {
    let line = format!("{PROBE_GREETING}{agent}\n");
    // A launcher that is gone needs no answer.
    let _ = socket.write_all(line.as_bytes()).await;
    let _ = socket.shutdown().await;
}

/// Closes a socket that is not served, at once and with a reset: nothing was read from it.
pub fn turn_away(socket: TcpStream, agent: &AgentName, why: &NotServed) {
    tracing::warn!(%agent, error = why as &dyn std::error::Error, "a connection was closed unserved");
    reset(&socket);
}

/// Makes the coming close of a socket a reset, so that its other side fails at once instead of waiting.
pub fn reset(socket: &TcpStream) {
    // On failure the close is an ordinary one.
    let _ = socket.set_zero_linger();
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd as _;

    use super::*;

    /// Answers every look-up the same.
    struct Records(fn() -> io::Result<Option<Original>>);

    impl Originals for Records {
        fn lookup(&self, _: BorrowedFd<'_>) -> io::Result<Option<Original>> {
            (self.0)()
        }
    }

    async fn identified(records: fn() -> io::Result<Option<Original>>) -> Result<Accepted, NotServed> {
        let gate = Gate {
            agent: "bot".parse().unwrap(),
            originals: Arc::new(Records(records)),
            turns: Arc::new(Semaphore::new(1)),
        };
        let callers = Callers::new(tokio::sync::mpsc::unbounded_channel().0);
        let socket = std::fs::File::open("/dev/null").unwrap();
        identify(&gate, (&Forbidden::default(), &callers), socket.as_fd()).await
    }

    #[tokio::test]
    async fn a_socket_without_a_record_is_not_served() {
        assert!(matches!(identified(|| Ok(None)).await, Err(NotServed::NoRecord)));
    }

    #[tokio::test]
    async fn a_socket_whose_record_cannot_be_read_is_not_served() {
        assert!(matches!(
            identified(|| Err(io::ErrorKind::OutOfMemory.into())).await,
            Err(NotServed::Lookup(_))
        ));
    }
}
