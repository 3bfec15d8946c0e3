//! The three roles together: they start as one and end as one.
//!
//! The roles share channels, so one that dies leaves the others talking to nobody; whatever matters is durable. The
//! simplest correct answer to any death is therefore a new crew. Agents' sockets stay open in the supervisor:
//! connections queue until the new worker serves them, and nothing leaves meanwhile.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream as StdStream;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use serde::de::DeserializeOwned;
use tokio::net::UnixStream;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::roles::{Role, RoleError};
use super::users::RoleUsers;
use super::watch::Raised;
use crate::capture::Listeners;
use crate::ipc::fds;
use crate::ipc::frame::FrameError;
use crate::ipc::supervisor::{ApproverConfig, Duty, FromApproverRole, SignerReady, ToApproverRole};
use crate::ipc::worker::{CallerFacts, FromWorker, PolicyText, ToWorker, WorkerConfig};
use crate::names::AgentName;
use crate::role::RoleKind;

/// How long a role may take until it is ready; the approver may have to recover its store.
const START_TIMEOUT: Duration = Duration::from_secs(30);

/// Messages of roles that wait for the supervisor.
const QUEUE: usize = 64;

/// What it takes to start a crew.
#[derive(Debug)]
pub struct CrewPlan<'a> {
    /// Whom the roles run as.
    pub users: RoleUsers,
    /// Where the signer keeps the CA.
    pub ca_dir: &'a Path,
    /// The approver's configuration, the running policy included.
    pub approver: ApproverConfig,
    /// The console's listener.
    pub console: BorrowedFd<'a>,
    /// The control socket's listener.
    pub control: BorrowedFd<'a>,
    /// The instance's lock, held by the approver too.
    pub lock: BorrowedFd<'a>,
    /// Everything the worker needs but the CA's certificate.
    pub worker: WorkerConfig,
}

/// The running roles. Dropping it kills them.
#[derive(Debug)]
pub struct Crew {
    worker: Role,
    approver: Role,
    signer: Role,
    heard: mpsc::Receiver<FromCrew>,
    /// DER of the CA's certificate.
    pub ca_certificate: Vec<u8>,
    _ears: JoinSet<()>,
}

/// What the crew says.
#[derive(Debug)]
pub enum FromCrew {
    /// The worker.
    Worker(FromWorker),
    /// The approver.
    Approver(FromApproverRole),
    /// A role is gone or talks nonsense, so the crew is lost; [`Crew::fate`] knows more.
    Lost(RoleKind, FrameError),
}

/// An agent's sockets in one network namespace, as the worker gets them.
#[derive(Debug)]
pub struct AgentSockets<'a> {
    /// The sockets.
    pub sockets: &'a Listeners,
    /// The map originals are looked up in.
    pub originals: BorrowedFd<'a>,
}

impl Crew {
    /// Starts signer, approver and worker, in this order, and waits until each is ready.
    pub async fn start(plan: CrewPlan<'_>) -> Result<Self, RoleError> {
        let (worker_to_signer, signer_to_worker) = pair(RoleKind::Signer)?;
        let (worker_to_approver, approver_to_worker) = pair(RoleKind::Approver)?;

        let names_per_second = plan.worker.limits.certificates;
        let sign = Duty::Sign { ca_dir: plan.ca_dir.to_owned(), names_per_second };
        let mut signer =
            Role::start(RoleKind::Signer, plan.users.signer, sign, &[signer_to_worker.as_fd()]).await?;
        let SignerReady { certificate } = signer.hear_within(START_TIMEOUT).await?;

        let policy = plan.approver.policy.clone();
        let approve = Duty::Approve(Box::new(plan.approver));
        let descriptors = [approver_to_worker.as_fd(), plan.console, plan.control, plan.lock];
        let mut approver =
            Role::start(RoleKind::Approver, plan.users.approver, approve, &descriptors).await?;
        match approver.hear_within(START_TIMEOUT).await? {
            FromApproverRole::Ready => {}
            other => return Err(RoleError::Unexpected(RoleKind::Approver, format!("{other:?}"))),
        }

        let descriptors = [worker_to_approver.as_fd(), worker_to_signer.as_fd()];
        let mut worker = Role::start(RoleKind::Worker, plan.users.worker, Duty::Work, &descriptors).await?;
        let config = WorkerConfig { ca_certificate: certificate.clone(), ..plan.worker };
        worker.say(&ToWorker::Configure(Box::new(config)), &[]).await?;
        worker.say(&ToWorker::Policy(policy), &[]).await?;
        match worker.hear_within(START_TIMEOUT).await? {
            FromWorker::Ready => {}
            other => return Err(RoleError::Unexpected(RoleKind::Worker, format!("{other:?}"))),
        }
        Ok(Self::listening(worker, approver, signer, certificate))
    }

    fn listening(worker: Role, approver: Role, signer: Role, ca_certificate: Vec<u8>) -> Self {
        let (say, heard) = mpsc::channel(QUEUE);
        let mut ears = JoinSet::new();
        ears.spawn(listen(RoleKind::Worker, worker.channel(), say.clone(), FromCrew::Worker));
        ears.spawn(listen(RoleKind::Approver, approver.channel(), say.clone(), FromCrew::Approver));
        ears.spawn(listen_for_the_end(RoleKind::Signer, signer.channel(), say));
        Self { worker, approver, signer, heard, ca_certificate, _ears: ears }
    }

    /// The next thing a role says; `Lost` is the last.
    pub async fn next(&mut self) -> FromCrew {
        self.heard
            .recv()
            .await
            .expect("a listener says `Lost` before it ends, and the crew is not asked again")
    }

    /// Why a role is gone.
    pub async fn fate(&mut self, kind: RoleKind, error: FrameError) -> RoleError {
        match kind {
            RoleKind::Approver => self.approver.fate(error).await,
            RoleKind::Signer => self.signer.fate(error).await,
            RoleKind::Worker | RoleKind::Listeners | RoleKind::Launcher => self.worker.fate(error).await,
        }
    }

    /// Has the worker serve an agent; it answers `Serving` for each namespace.
    pub async fn add_gate(
        &mut self,
        agent: &AgentName,
        sockets: &[AgentSockets<'_>],
    ) -> Result<(), RoleError> {
        for sockets in sockets {
            self.add_namespace(agent, sockets).await?;
        }
        self.tell_approver(ToApproverRole::AgentAttached { agent: agent.clone() }).await
    }

    /// Has the worker serve an agent in a further network namespace.
    pub async fn add_namespace(
        &mut self,
        agent: &AgentName,
        add: &AgentSockets<'_>,
    ) -> Result<(), RoleError> {
        let count = |sockets: &[OwnedFd]| u8::try_from(sockets.len()).expect("a handful of sockets an agent");
        let Listeners { tcp, dns, netns_cookie, .. } = add.sockets;
        let (listeners, names) = (count(tcp), count(dns));
        let message = ToWorker::AddGate { agent: agent.clone(), netns: *netns_cookie, listeners, dns: names };
        let own = tcp.iter().chain(dns).map(AsFd::as_fd);
        let descriptors: Vec<BorrowedFd<'_>> = own.chain([add.originals]).collect();
        self.worker.say(&message, &descriptors).await
    }

    /// Has the worker stop serving an agent in one network namespace.
    pub async fn remove_namespace(&mut self, agent: &AgentName, netns: u64) -> Result<(), RoleError> {
        self.worker.say(&ToWorker::RemoveNamespace { agent: agent.clone(), netns }, &[]).await
    }

    /// Has the worker stop serving an agent.
    pub async fn remove_gate(&mut self, agent: &AgentName) -> Result<(), RoleError> {
        self.worker.say(&ToWorker::RemoveGate { agent: agent.clone() }, &[]).await?;
        self.tell_approver(ToApproverRole::AgentDetached { agent: agent.clone() }).await
    }

    /// Puts a policy into force.
    pub async fn set_policy(&mut self, policy: &PolicyText) -> Result<(), RoleError> {
        self.worker.say(&ToWorker::Policy(policy.clone()), &[]).await?;
        self.tell_approver(ToApproverRole::Policy(policy.clone())).await
    }

    /// Tells the worker what is known of a process.
    pub async fn tell_caller(&mut self, ask: u64, facts: CallerFacts) -> Result<(), RoleError> {
        self.worker.say(&ToWorker::Caller { ask, facts: Box::new(facts) }, &[]).await
    }

    /// Makes a finding known to reviewers.
    pub async fn raise(&mut self, Raised { finding, stopped }: Raised) -> Result<(), RoleError> {
        self.tell_approver(ToApproverRole::Finding { finding, stopped }).await
    }

    /// Says something to the approver.
    pub async fn tell_approver(&mut self, message: ToApproverRole) -> Result<(), RoleError> {
        self.approver.say(&message, &[]).await
    }

    /// Lets exchanges under way end, then makes everything durable; gives up after `within` for each.
    pub async fn drain(mut self, within: Duration) {
        if self.worker.say(&ToWorker::Drain { within }, &[]).await.is_ok() {
            let drained = |said: &FromCrew| matches!(said, FromCrew::Worker(FromWorker::Drained));
            self.hear_from(RoleKind::Worker, within, drained).await;
        }
        if self.tell_approver(ToApproverRole::Drain).await.is_ok() {
            let drained = |said: &FromCrew| matches!(said, FromCrew::Approver(FromApproverRole::Drained));
            self.hear_from(RoleKind::Approver, within, drained).await;
        }
        self.end().await;
    }

    /// Ends every role now; whatever matters is durable.
    pub async fn end(mut self) {
        for role in [&mut self.worker, &mut self.approver, &mut self.signer] {
            role.end().await;
        }
    }

    /// Waits until a role has said what is wanted, or is gone. What others say meanwhile is of no interest any more.
    async fn hear_from(&mut self, kind: RoleKind, within: Duration, wanted: impl Fn(&FromCrew) -> bool) {
        let heard = async {
            loop {
                match self.next().await {
                    FromCrew::Lost(lost, _) if lost == kind => break,
                    said if wanted(&said) => break,
                    _ => {}
                }
            }
        };
        if tokio::time::timeout(within, heard).await.is_err() {
            tracing::warn!("the {kind} did not finish within {within:?}: what was under way is cut off");
        }
    }
}

/// Passes on what a role says until it is gone.
async fn listen<M: DeserializeOwned>(
    kind: RoleKind,
    channel: Arc<UnixStream>,
    say: mpsc::Sender<FromCrew>,
    wrap: impl Fn(M) -> FromCrew,
) {
    loop {
        let (said, last) = match fds::receive(&channel).await {
            Ok((message, _)) => (wrap(message), false),
            Err(error) => (FromCrew::Lost(kind, error), true),
        };
        if say.send(said).await.is_err() || last {
            return;
        }
    }
}

/// For a role that has nothing more to say.
async fn listen_for_the_end(kind: RoleKind, channel: Arc<UnixStream>, say: mpsc::Sender<FromCrew>) {
    let nothing_more = |()| FromCrew::Lost(kind, FrameError::Closed);
    listen(kind, channel, say, nothing_more).await;
}

/// A channel between two roles.
fn pair(kind: RoleKind) -> Result<(StdStream, StdStream), RoleError> {
    StdStream::pair().map_err(|error| RoleError::Spawn(kind, error))
}
