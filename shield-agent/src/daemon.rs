//! The supervisor: the only wiring of the daemon.
//!
//! It prepares the premises, starts the crew, takes over the gates of an earlier daemon and says `ready`; then one loop
//! owns everything. Capture comes last and is given up only on purpose: whatever happens to this process, what is
//! gated stays gated. It parses nothing that came from a network.
//!
//! One thread, because the roles die with the thread that started them; a second one does nothing but read `/proc`.

pub mod backoff;
mod callers;
pub mod cgroup;
pub mod crew;
pub mod family;
pub mod folders;
pub mod gates;
pub mod kept;
pub mod kernel_events;
#[cfg(feature = "ebpf-log")]
mod kernel_log;
pub mod launchers;
pub mod lock;
pub mod netns;
pub mod notify;
pub mod old_sockets;
pub mod open_sockets;
pub mod owners;
pub mod peer;
pub mod policy_files;
pub mod premises;
pub mod resolvers;
pub mod roles;
pub mod signals;
pub mod socket;
pub mod strays;
pub mod trust;
pub mod upstream_hosts;
pub mod users;
pub mod watch;

mod answer;

use std::collections::BTreeMap;
use std::io;
use std::os::unix::net::UnixListener;
use std::time::Duration;

use nix::sys::signal::SigSet;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, MissedTickBehavior};

use self::backoff::Backoff;
use self::callers::{Asked, Callers};
use self::crew::{Crew, FromCrew};
use self::gates::{GateError, Gates, NamespaceChange};
use self::kept::Kept;
use self::kernel_events::KernelEvents;
use self::lock::{InstanceLock, LockError};
use self::premises::{Premises, PremisesError};
use self::roles::RoleError;
use self::signals::Signals;
use self::socket::FromSocket;
use self::trust::TrustError;
use crate::capture::{CaptureError, Cgroups, check_host};
use crate::config::Config;
use crate::ipc::gate::{GateReply, TrustFiles};
use crate::ipc::supervisor::{FromApproverRole, ToApproverRole};
use crate::ipc::worker::FromWorker;
use crate::names::AgentName;
use crate::report::Chain;

/// How long exchanges under way may take when the daemon ends.
const DRAIN_TIME: Duration = Duration::from_secs(10);

/// How long the roles of a daemon that was just killed may take to die.
const LOCK_PATIENCE: Duration = Duration::from_secs(3);

/// How often gates are looked over.
const SWEEP: Duration = Duration::from_secs(1);

/// Sweeps between two looks at the policy files.
const SWEEPS_PER_POLICY_LOOK: u32 = 2;

/// Sweeps between two readings of the hooks' counters.
const SWEEPS_PER_COUNTING: u32 = 2;

/// Questions that may wait.
const QUEUE: usize = 64;

/// Why the daemon ends with an error.
#[derive(Debug, thiserror::Error)]
pub enum DaemonError {
    /// The host cannot gate agents.
    #[error(transparent)]
    Host(#[from] CaptureError),
    /// Another daemon runs.
    #[error(transparent)]
    Lock(#[from] LockError),
    /// Something is missing before the first role.
    #[error(transparent)]
    Premises(#[from] PremisesError),
    /// Trust files could not be written.
    #[error(transparent)]
    Trust(#[from] TrustError),
    /// A role did not start.
    #[error("the daemon did not start")]
    Crew(#[source] RoleError),
    /// The instance's gates could not be looked at.
    #[error(transparent)]
    Gates(#[from] GateError),
    /// The process itself.
    #[error("the supervisor could not set itself up")]
    Process(#[source] io::Error),
}

/// Runs the daemon until it is told to end. The calling process must have one thread.
pub fn run(config: Config) -> Result<(), DaemonError> {
    let kept = Kept::receive();
    check_host()?;
    // Whoever starts us may have blocked the signals that end us.
    SigSet::all().thread_unblock().map_err(|errno| DaemonError::Process(errno.into()))?;
    nix::sys::prctl::set_dumpable(false).map_err(|errno| DaemonError::Process(errno.into()))?;
    let cgroups = Cgroups::find(&config.instance)?.guarded_by(config.gate.guard.as_deref())?;
    let lock = InstanceLock::take(&config.instance, cgroups.instance(), LOCK_PATIENCE)?;
    let (premises, gate_socket) = Premises::prepare(config, lock)?;
    let (listening, kernel) = kernel_events::channel();
    let networks = premises.policy_files.networks().clone();
    let records = premises.folders.gates.clone();
    let gates = Gates::new(&premises.config.instance, cgroups, records, networks, listening);
    let callers = Callers::start().map_err(DaemonError::Process)?;
    let awaiting = BTreeMap::new();
    let supervisor = Supervisor { premises, gates, kernel, callers, trust: None, awaiting, sweeps: 0 };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.map_err(DaemonError::Process)?.block_on(supervisor.run(gate_socket, kept))
}

struct Supervisor {
    premises: Premises,
    gates: Gates,
    kernel: KernelEvents,
    callers: Callers,
    /// Known as soon as the signer has said what the CA is.
    trust: Option<TrustFiles>,
    /// Answers that wait for the worker to serve an agent.
    awaiting: BTreeMap<AgentName, (oneshot::Sender<GateReply>, GateReply)>,
    sweeps: u32,
}

impl Supervisor {
    async fn run(mut self, gate_socket: UnixListener, kept: Kept) -> Result<(), DaemonError> {
        let mut signals = Signals::listen().map_err(DaemonError::Process)?;
        let crew = tokio::select! {
            crew = Crew::start(self.premises.crew_plan()) => crew.map_err(DaemonError::Crew)?,
            () = signals.end() => return Ok(()),
        };
        self.trust = Some(self.premises.write_trust(&crew.ca_certificate)?);
        for (agent, error) in self.gates.adopt_all(kept)? {
            tracing::error!(%agent, "a gate of an earlier daemon could not be taken over, so the agent stays blocked: {}", Chain(&error));
        }
        let listener = tokio::net::UnixListener::from_std(gate_socket).map_err(DaemonError::Process)?;
        let (asks, asked) = mpsc::channel(QUEUE);
        let socket = tokio::spawn(socket::serve(listener, asks));
        let crew = self.keep_crewed(crew, &mut signals, asked).await;
        socket.abort();
        notify::stopping();
        if let Some(crew) = crew {
            crew.drain(DRAIN_TIME).await;
        }
        tracing::info!("ended; agents stay gated and are blocked until the daemon runs again");
        Ok(())
    }

    /// Runs with one crew after the other until the daemon is to end. Returns the last crew, when it is alive.
    async fn keep_crewed(
        &mut self,
        mut crew: Crew,
        signals: &mut Signals,
        mut asked: mpsc::Receiver<FromSocket>,
    ) -> Option<Crew> {
        let mut backoff = Backoff::default();
        let mut ready = false;
        loop {
            let since = Instant::now();
            let lost = match self.add_all_gates(&mut crew).await {
                Ok(()) => {
                    if !std::mem::replace(&mut ready, true) {
                        notify::ready();
                    }
                    self.work(&mut crew, signals, &mut asked).await
                }
                Err(error) => Err(error),
            };
            let Err(error) = lost else { return Some(crew) };
            tracing::error!("{}; agents are blocked until all roles run again", Chain(&error));
            crew.end().await;
            crew = self.next_crew(signals, &mut backoff, since).await?;
            tracing::info!("all roles run again");
        }
    }

    /// Starts crews until one is ready; `None` when the daemon is to end.
    async fn next_crew(&self, signals: &mut Signals, backoff: &mut Backoff, since: Instant) -> Option<Crew> {
        let mut lived = since.elapsed();
        loop {
            let start = async {
                tokio::time::sleep(backoff.after(lived)).await;
                Crew::start(self.premises.crew_plan()).await
            };
            let started = tokio::select! {
                started = start => started,
                () = signals.end() => return None,
            };
            match started {
                Ok(crew) => return Some(crew),
                Err(error) => tracing::error!("the roles did not start: {}", Chain(&error)),
            }
            lived = Duration::ZERO;
        }
    }

    /// The loop. Ends with `Ok` when the daemon is to end, with an error when the crew is lost.
    async fn work(
        &mut self,
        crew: &mut Crew,
        signals: &mut Signals,
        asked: &mut mpsc::Receiver<FromSocket>,
    ) -> Result<(), RoleError> {
        let mut sweep = tokio::time::interval(SWEEP);
        sweep.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                said = crew.next() => self.hear(crew, said).await?,
                Some(from) = asked.recv() => self.serve_socket(crew, from).await?,
                Some(found) = self.callers.next() => self.tell_caller(crew, found).await?,
                Some(told) = self.kernel.next() => self.hear_kernel(crew, told).await?,
                _ = sweep.tick() => self.look_around(crew).await?,
                end = signals.next() => match end {
                    true => return Ok(()),
                    false => drop(self.reload_policy(crew).await?),
                },
            }
        }
    }

    async fn hear(&mut self, crew: &mut Crew, said: FromCrew) -> Result<(), RoleError> {
        match said {
            FromCrew::Lost(kind, error) => return Err(crew.fate(kind, error).await),
            FromCrew::Worker(FromWorker::Serving { agent }) => {
                if let Some((reply, answer)) = self.awaiting.remove(&agent)
                    && reply.send(answer).is_err()
                {
                    // Whoever asked has gone.
                    self.gates.client_gone(&agent);
                }
            }
            FromCrew::Worker(FromWorker::WhichCaller { ask, pid, connected_at_ns, cgroup_id }) => {
                self.callers.ask(Asked { ask, pid, connected_at_ns, cgroup_id });
            }
            FromCrew::Worker(FromWorker::PolicyRefused { reason }) => {
                tracing::error!("the worker keeps its policy: {reason}");
            }
            FromCrew::Approver(FromApproverRole::Freeze { agent, frozen }) => {
                let changed = self.gates.set_frozen(&agent, frozen);
                let result = changed.map(|()| frozen).map_err(|error| Chain(&error).to_string());
                crew.tell_approver(ToApproverRole::Frozen { agent, result }).await?;
            }
            FromCrew::Worker(FromWorker::Ready | FromWorker::Drained)
            | FromCrew::Approver(FromApproverRole::Ready | FromApproverRole::Drained) => {
                tracing::warn!("a role repeated itself");
            }
        }
        Ok(())
    }

    async fn serve_socket(&mut self, crew: &mut Crew, from: FromSocket) -> Result<(), RoleError> {
        match from {
            FromSocket::Gone { agent, cleared } => {
                self.awaiting.remove(&agent);
                self.gates.client_gone(&agent);
                self.sweep_gates(crew).await?;
                drop(cleared);
                Ok(())
            }
            FromSocket::Ask { request, asker, netns, cgroup, reply } => {
                if reply.is_closed() {
                    return Ok(());
                }
                if self.gates.owner_of(&cgroup).is_some() {
                    let reason = peer::NotPermitted::Agent.to_string();
                    let _ = reply.send(GateReply::Forbidden { reason });
                    return Ok(());
                }
                self.answer(crew, request, asker, &netns, reply).await
            }
        }
    }

    async fn look_around(&mut self, crew: &mut Crew) -> Result<(), RoleError> {
        self.sweeps = self.sweeps.wrapping_add(1);
        if self.sweeps.is_multiple_of(SWEEPS_PER_POLICY_LOOK) && self.premises.policy_files.changed() {
            self.reload_policy(crew).await?;
        }
        if self.sweeps.is_multiple_of(SWEEPS_PER_COUNTING) {
            self.tell_counters(crew).await?;
        }
        self.sweep_gates(crew).await?;
        for (agent, change) in self.gates.sweep_namespaces() {
            self.apply(crew, &agent, &change).await?;
        }
        Ok(())
    }

    /// Has the worker follow an agent into network namespaces and out of them.
    async fn apply(
        &self,
        crew: &mut Crew,
        agent: &AgentName,
        change: &NamespaceChange,
    ) -> Result<(), RoleError> {
        match *change {
            NamespaceChange::Served(cookie) => {
                match self.gates.sockets(agent).iter().find(|add| add.sockets.netns_cookie == cookie) {
                    Some(sockets) => crew.add_namespace(agent, sockets).await,
                    None => Ok(()),
                }
            }
            NamespaceChange::GivenUp(cookie) => crew.remove_namespace(agent, cookie).await,
        }
    }

    async fn sweep_gates(&mut self, crew: &mut Crew) -> Result<(), RoleError> {
        let given_up = self.awaiting.extract_if(.., |_, (reply, _)| reply.is_closed());
        for (agent, _) in given_up {
            self.gates.client_gone(&agent);
        }
        for agent in self.gates.sweep() {
            tracing::info!(%agent, "gone");
            crew.remove_gate(&agent).await?;
        }
        for raised in self.gates.watch() {
            crew.raise(raised).await?;
        }
        Ok(())
    }

    async fn add_all_gates(&mut self, crew: &mut Crew) -> Result<(), RoleError> {
        self.kernel.forget();
        for agent in self.gates.agents() {
            crew.add_gate(&agent, &self.gates.sockets(&agent)).await?;
        }
        for raised in self.gates.standing() {
            crew.raise(raised).await?;
        }
        Ok(())
    }
}
