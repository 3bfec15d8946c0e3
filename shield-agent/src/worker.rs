//! The worker role: serves the agents' gates with what its channels bring it.
//!
//! It opens no file and decides nothing by itself: sockets, policy and trust come from the supervisor, signatures from
//! the signer, and leave to send from the approver's journal or a reviewer.

mod gates;
mod lanes;

use std::io;
use std::num::NonZero;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use shield_common::original::Original;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::UnixStream;
use tokio::sync::mpsc;
use tokio_util::task::TaskTracker;

use crate::capture::originals;
use crate::flow::accept::Originals;
use crate::flow::accept::callers::Callers;
use crate::flow::decrypt::signer::Signer;
use crate::flow::judge::Judge;
use crate::flow::review::approver::{Approver, Orders};
use crate::flow::review::order;
use crate::flow::services::Services;
use crate::ipc::fds;
use crate::ipc::frame::FrameError;
use crate::ipc::worker::{FromWorker, PolicyText, ToWorker, WorkerConfig};
use gates::{Descriptors, Gates};
pub use lanes::Count;
use lanes::Lanes;

/// Why the worker stops before it is told to.
#[derive(Debug, thiserror::Error)]
pub enum WorkerError {
    /// The supervisor's channel failed.
    #[error("the supervisor's channel failed")]
    Supervisor(#[source] FrameError),
    /// The supervisor did not begin with the configuration, or sent it twice.
    #[error("the supervisor sent {0} out of turn")]
    OutOfTurn(&'static str),
    /// Threads could not be started.
    #[error("threads for connections could not be started")]
    Lanes(#[source] io::Error),
    /// TLS cannot be set up.
    #[error("TLS cannot be set up")]
    Tls(#[source] rustls::Error),
    /// A gate came with other descriptors than it announced, or with ones that are no sockets.
    #[error("the descriptors of a gate cannot be used")]
    Descriptors(#[source] io::Error),
}

/// What reaches the worker from outside its channels; tests stand in this doorway.
pub struct Outside {
    /// Opens the records of a gate from the map that came with it.
    pub originals: fn(OwnedFd) -> Arc<dyn Originals>,
    /// Compiles policy files; the error is for the operator.
    pub compile: fn(&PolicyText) -> Result<Box<dyn Judge>, String>,
    /// Threads that serve connections beside the calling one.
    pub lanes: Count,
}

/// Runs the role over its inherited channels until it was drained or the supervisor is gone.
///
/// # Errors
/// When the supervisor's channel or what came over it cannot be used.
pub async fn run(
    supervisor: UnixStream,
    approver: impl AsyncRead + AsyncWrite + Send + 'static,
    signer: impl AsyncRead + AsyncWrite + Send + 'static,
    outside: Outside,
) -> Result<(), WorkerError> {
    let Some((ToWorker::Configure(config), _)) = receive(&supervisor).await? else {
        return Err(WorkerError::OutOfTurn("something before the configuration"));
    };
    let supervisor = Arc::new(supervisor);
    let (outbox, said) = mpsc::unbounded_channel();
    let speaking = tokio::spawn(say_all(Arc::clone(&supervisor), said));
    let (approver, orders) = Approver::start(approver);
    let callers = Callers::new(outbox.clone());
    let services = services(*config, approver, Signer::start(signer), callers)?;
    let mut gates =
        Gates::new(Arc::clone(&services), Lanes::open(outside.lanes).map_err(WorkerError::Lanes)?);
    tokio::spawn(carry_out(Arc::clone(&services), orders, gates.under_way().clone()));
    say(&outbox, FromWorker::Ready);
    while let Some((message, descriptors)) = receive(&supervisor).await? {
        match message {
            ToWorker::Configure(_) => return Err(WorkerError::OutOfTurn("the configuration twice")),
            ToWorker::Policy(text) => take_policy(&services, &text, &outside, &outbox),
            ToWorker::AddGate { agent, netns, listeners, dns } => {
                let sockets =
                    Descriptors::new(descriptors, listeners, dns).map_err(WorkerError::Descriptors)?;
                gates
                    .add((agent.clone(), netns), sockets, outside.originals)
                    .map_err(WorkerError::Descriptors)?;
                say(&outbox, FromWorker::Serving { agent });
            }
            ToWorker::RemoveGate { agent } => gates.remove(&agent),
            ToWorker::RemoveNamespace { agent, netns } => gates.remove_namespace(&agent, netns),
            ToWorker::Caller { ask, facts } => services.callers.answered(ask, facts),
            ToWorker::Drain { within } => {
                gates.drain(within).await;
                say(&outbox, FromWorker::Drained);
                // Ends when the word was said.
                let _ = speaking.await;
                return Ok(());
            }
        }
    }
    Ok(())
}

/// Agents with many connections that have lanes of their own for them.
const SHARES: usize = 8;

/// Most processors such an agent can keep busy.
const LANES_OF_ONE: usize = 4;

impl Outside {
    /// The kernel's records, policy as it is written, and lanes for agents.
    pub fn real(compile: fn(&PolicyText) -> Result<Box<dyn Judge>, String>) -> Self {
        let processors = std::thread::available_parallelism().map_or(1, NonZero::get);
        let lanes = Count { beside: processors - 1, shares: SHARES, each: processors.min(LANES_OF_ONE) };
        Self { originals: |map| Arc::new(KernelRecords(map)), compile, lanes }
    }
}

/// The socket-storage map of a gate.
struct KernelRecords(OwnedFd);

impl Originals for KernelRecords {
    fn lookup(&self, socket: BorrowedFd<'_>) -> io::Result<Option<Original>> {
        originals::lookup(self.0.as_fd(), socket)
    }
}

fn services(
    config: WorkerConfig,
    approver: Arc<Approver>,
    signer: Signer,
    callers: Callers,
) -> Result<Arc<Services>, WorkerError> {
    Services::new(config, approver, signer, callers).map(Arc::new).map_err(WorkerError::Tls)
}

/// Sends what the approver orders, each order in a task of its own, until the approver is gone.
async fn carry_out(services: Arc<Services>, mut orders: Orders, under_way: TaskTracker) {
    while let Some(order) = orders.recv().await {
        let services = Arc::clone(&services);
        under_way.spawn(async move {
            order::carry_out(&services, *order).await;
        });
    }
}

/// The next message and its descriptors; `None` when the supervisor is gone.
async fn receive(supervisor: &UnixStream) -> Result<Option<(ToWorker, Vec<OwnedFd>)>, WorkerError> {
    match fds::receive(supervisor).await {
        Ok(message) => Ok(Some(message)),
        Err(FrameError::Closed) => Ok(None),
        Err(error) => Err(WorkerError::Supervisor(error)),
    }
}

/// Says something to the supervisor. One that is gone is noticed where its messages are read.
fn say(outbox: &mpsc::UnboundedSender<FromWorker>, message: FromWorker) {
    let _ = outbox.send(message);
}

/// Says things to the supervisor, one after the other; `Drained` is the last.
async fn say_all(supervisor: Arc<UnixStream>, mut said: mpsc::UnboundedReceiver<FromWorker>) {
    while let Some(message) = said.recv().await {
        let last = matches!(message, FromWorker::Drained);
        if fds::send(&supervisor, &message, &[]).await.is_err() || last {
            return;
        }
    }
}

fn take_policy(
    services: &Services,
    text: &PolicyText,
    outside: &Outside,
    outbox: &mpsc::UnboundedSender<FromWorker>,
) {
    match (outside.compile)(text) {
        Ok(policy) => {
            services.forbidden.set_networks(policy.networks());
            services.policy.store(Some(Arc::new(policy)));
        }
        Err(reason) => say(outbox, FromWorker::PolicyRefused { reason }),
    }
}
