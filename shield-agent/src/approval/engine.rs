//! The approver's state as one handle: what the console, the control socket and the roles' channels work on.
//!
//! It never decides by itself, and nothing it shows contains a secret, but [`Engine::body`]. What it does is told in the
//! files beside this one, in the order of a hold's life: take, decide, send; agents and lookup beside them.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwap;
use jiff::Timestamp;
use tokio::sync::{broadcast, mpsc};

use super::agents::Agents;
use super::attempts::Attempts;
use super::event::{Event, EventName};
use super::waiting::Waiting;
use crate::config::HoldConfig;
use crate::flow::judge::Judge as _;
use crate::flow::policy::Policy;
use crate::ipc::approver::FromApprover;
use crate::ipc::supervisor::FromApproverRole;
use crate::ipc::worker::PolicyText;
use crate::journal::body::{self, PolicyLoaded};
use crate::journal::entry::Entry;
use crate::names::{AgentName, HoldId};
use crate::report::Chain;
use crate::store::{Store, StoreError};

/// Events a slow reader may lag behind before it misses some.
const EVENTS: usize = 256;

/// A handle; cheap to clone.
#[derive(Clone, Debug)]
pub struct Engine {
    pub(super) inner: Arc<Inner>,
}

/// What an engine works with.
#[derive(Debug)]
pub struct Setup {
    /// Where everything is stored.
    pub store: Store,
    /// `hold:` of the configuration.
    pub hold: HoldConfig,
    /// The policy in force.
    pub policy: Policy,
    /// Directory of the trust files.
    pub trust: PathBuf,
    /// Tells the time.
    pub clock: Clock,
    /// What the worker is told.
    pub to_worker: mpsc::UnboundedSender<FromApprover>,
    /// What the supervisor is told.
    pub to_supervisor: mpsc::UnboundedSender<FromApproverRole>,
}

/// Tells the time; tests move it by hand.
#[derive(Clone)]
pub struct Clock(pub Arc<dyn Fn() -> Timestamp + Send + Sync>);

#[derive(Debug)]
pub(super) struct Inner {
    pub(super) store: Store,
    pub(super) hold: HoldConfig,
    pub(super) policy: ArcSwap<Policy>,
    pub(super) waiting: Waiting,
    pub(super) agents: Agents,
    pub(super) attempts: Attempts,
    pub(super) trust: PathBuf,
    policy_trouble: Mutex<Option<String>>,
    clock: Clock,
    events: broadcast::Sender<Event>,
    to_worker: mpsc::UnboundedSender<FromApprover>,
    to_supervisor: mpsc::UnboundedSender<FromApproverRole>,
}

impl Clock {
    /// The host's.
    pub fn real() -> Self {
        Self(Arc::new(Timestamp::now))
    }
}

impl std::fmt::Debug for Clock {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Clock")
    }
}

impl Engine {
    /// On an open store.
    pub fn new(setup: Setup) -> Self {
        let Setup { store, hold, policy, trust, clock, to_worker, to_supervisor } = setup;
        let (events, _) = broadcast::channel(EVENTS);
        let inner = Inner {
            store,
            hold,
            policy: ArcSwap::from_pointee(policy),
            waiting: Waiting::default(),
            agents: Agents::default(),
            attempts: Attempts::default(),
            trust,
            policy_trouble: Mutex::default(),
            clock,
            events,
            to_worker,
            to_supervisor,
        };
        Self { inner: Arc::new(inner) }
    }

    /// What changes from now on.
    pub fn subscribe(&self) -> broadcast::Receiver<Event> {
        self.inner.events.subscribe()
    }

    /// Why the journal cannot be written; `None` while it can.
    pub fn trouble(&self) -> Option<String> {
        self.inner.store.trouble().map(|error| Chain(&error).to_string())
    }

    /// Why the running policy is not the newest one; `None` when it is.
    pub fn policy_trouble(&self) -> Option<String> {
        self.inner.policy_trouble.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Where everything is stored, for tables of other modules.
    pub fn store(&self) -> &Store {
        &self.inner.store
    }

    /// Judges by another policy from now on, and records which.
    pub async fn set_policy(&self, policy: Policy, text: &PolicyText) -> Result<(), StoreError> {
        self.inner.policy.store(Arc::new(policy));
        self.set_policy_trouble(None);
        self.record_policy(text).await
    }

    /// Records which policy is in force.
    pub async fn record_policy(&self, text: &PolicyText) -> Result<(), StoreError> {
        let files = text.files.iter().map(|(name, _)| name.clone()).collect();
        let policy = self.inner.policy.load().digest();
        self.record(Entry::new(self.now(), body::POLICY, &PolicyLoaded { policy, files })).await
    }

    /// Remembers why a newer policy is not in force.
    pub fn set_policy_trouble(&self, why: Option<String>) {
        *self.inner.policy_trouble.lock().unwrap_or_else(PoisonError::into_inner) = why;
    }

    /// What time it is.
    pub(super) fn now(&self) -> Timestamp {
        (self.inner.clock.0)()
    }

    /// Records one thing that changes nothing else.
    pub(super) async fn record(&self, entry: Entry) -> Result<(), StoreError> {
        self.inner
            .store
            .run(move |tx| {
                tx.journal(entry);
                Box::pin(async { Ok(()) })
            })
            .await
    }

    /// Tells everybody who follows along.
    pub(super) fn announce(&self, name: EventName, hold: Option<HoldId>, agent: &AgentName) {
        self.announce_to_all(Event { name, hold, agent: Some(agent.clone()) });
    }

    /// Tells whoever follows.
    pub(super) fn announce_to_all(&self, event: Event) {
        // Nobody may be following.
        let _ = self.inner.events.send(event);
    }

    /// Tells the worker. One that is gone has nobody to answer, and what matters is durable.
    pub(super) fn tell_worker(&self, message: FromApprover) {
        let _ = self.inner.to_worker.send(message);
    }

    /// Tells the supervisor; without one this process is about to end.
    pub(super) fn tell_supervisor(&self, message: FromApproverRole) {
        let _ = self.inner.to_supervisor.send(message);
    }
}
