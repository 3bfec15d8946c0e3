//! The approver's state as one handle: what the console, the control socket and the roles' channels work on.
//!
//! It never decides by itself, and nothing it shows contains a secret, but [`Engine::body`].

use std::sync::Arc;

use tokio::sync::broadcast;

use super::error::{DecideError, FindError, FreezeError};
use super::event::Event;
use super::listing::{AgentView, ExchangeFilter, ExchangeView, HeldBody, HoldFilter, Page};
use super::view::{DecisionRequest, HoldView};
use crate::names::{AgentName, HoldId};
use crate::store::{Store, StoreError};

/// Events a slow reader may lag behind before it misses some.
const EVENTS: usize = 256;

/// A handle; cheap to clone.
#[derive(Clone, Debug)]
pub struct Engine {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    store: Store,
    events: broadcast::Sender<Event>,
}

impl Engine {
    /// On an open store.
    pub fn new(store: Store) -> Self {
        let (events, _) = broadcast::channel(EVENTS);
        Self { inner: Arc::new(Inner { store, events }) }
    }

    /// A page of holds: those pending oldest first, others newest first.
    pub async fn holds(&self, _filter: &HoldFilter) -> Result<Page<HoldView>, StoreError> {
        Err(StoreError::Closed)
    }

    /// A hold by its id or a beginning of it that fits no other; upper or lower case.
    pub async fn hold(&self, _id: &str) -> Result<HoldView, FindError> {
        Err(FindError::Store(StoreError::Closed))
    }

    /// The body of a held request, unmasked: for reviewers only.
    pub async fn body(&self, _id: HoldId) -> Result<HeldBody, FindError> {
        Err(FindError::Store(StoreError::Closed))
    }

    /// Approves or denies a hold; returns it as it is then. `by` is the reviewer's name.
    pub async fn decide(
        &self,
        _id: HoldId,
        _request: &DecisionRequest,
        _by: &str,
    ) -> Result<HoldView, DecideError> {
        Err(StoreError::Closed.into())
    }

    /// Takes back an approval whose sending has not begun.
    pub async fn revoke(&self, _id: HoldId, _by: &str) -> Result<HoldView, DecideError> {
        Err(StoreError::Closed.into())
    }

    /// Every agent that is gated or ever asked for something, by name.
    pub async fn agents(&self) -> Result<Vec<AgentView>, StoreError> {
        Err(StoreError::Closed)
    }

    /// Stops or continues an agent's processes, through the supervisor.
    pub async fn freeze(
        &self,
        _agent: &AgentName,
        _frozen: bool,
        _by: &str,
    ) -> Result<AgentView, FreezeError> {
        Err(FreezeError::Store(StoreError::Closed))
    }

    /// A page of journalled exchanges, newest first.
    pub async fn exchanges(&self, _filter: &ExchangeFilter) -> Result<Page<ExchangeView>, StoreError> {
        Err(StoreError::Closed)
    }

    /// What changes from now on.
    pub fn subscribe(&self) -> broadcast::Receiver<Event> {
        self.inner.events.subscribe()
    }

    /// Why the journal cannot be written; `None` while it can.
    pub fn trouble(&self) -> Option<String> {
        self.inner.store.trouble().map(|error| crate::report::Chain(&error).to_string())
    }

    /// Why the running policy is not the newest one; `None` when it is.
    pub fn policy_trouble(&self) -> Option<String> {
        None
    }

    /// Where everything is stored, for tables of other modules.
    pub fn store(&self) -> &Store {
        &self.inner.store
    }
}
