//! Agents: which are gated and stopped now, as the supervisor says, and what each did so far, as the journal has it.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use sqlx::Row as _;
use tokio::sync::oneshot;
use tokio::time::timeout;

use super::distrust;
use super::engine::Engine;
use super::error::FreezeError;
use super::event::{Event, EventName};
use super::listing::{AgentDetail, AgentView};
use crate::finding::{Finding, Severity};
use crate::ipc::approver::Distrust;
use crate::ipc::supervisor::FromApproverRole;
use crate::journal::body::{self, By};
use crate::journal::entry::Entry;
use crate::names::AgentName;
use crate::store::holds::{damaged, time};
use crate::store::{StoreError, Tx};

/// How long the supervisor may take to stop or continue an agent.
const FREEZE_WITHIN: Duration = Duration::from_secs(5);

/// Who stopped an agent that no reviewer stopped.
const COMMAND_LINE: &str = "root (uid 0) on the gate socket";

/// Programs of one agent that are told about; more are no news.
const DISTRUSTING: usize = 32;

/// What is known of agents and the worker only while this process lives.
#[derive(Debug, Default)]
pub(super) struct Agents {
    now: Mutex<Now>,
    worker_listens: AtomicBool,
}

#[derive(Debug, Default)]
struct Now {
    gated: HashMap<AgentName, Gated>,
    /// What was found about each agent; `None` is the host.
    findings: HashMap<Option<AgentName>, Vec<Finding>>,
    /// Programs of agents that are known not to trust us.
    distrusting: HashMap<AgentName, BTreeSet<String>>,
    asked: HashMap<AgentName, Vec<oneshot::Sender<Result<bool, String>>>>,
}

#[derive(Clone, Copy, Debug)]
struct Gated {
    since: Timestamp,
    frozen: bool,
}

/// What an agent did, to be added to what it did before.
#[derive(Clone, Copy, Debug)]
pub(super) struct Seen {
    /// Exchanges.
    pub(super) exchanges: u32,
    /// Of these, held.
    pub(super) held: u32,
    /// Of these, denied by rule.
    pub(super) denied: u32,
    /// When it last asked.
    pub(super) last: Timestamp,
}

/// Adds to what an agent did so far.
pub(super) async fn count(tx: &mut Tx, agent: &AgentName, seen: &Seen) -> Result<(), StoreError> {
    let upsert = sqlx::query(
        "INSERT INTO agents (name, exchanges, held, denied, last_seen) VALUES (?, ?, ?, ?, ?) \
         ON CONFLICT (name) DO UPDATE SET exchanges = exchanges + excluded.exchanges, held = held + excluded.held, \
         denied = denied + excluded.denied, last_seen = excluded.last_seen",
    );
    let upsert = upsert.bind(agent.as_str()).bind(seen.exchanges).bind(seen.held).bind(seen.denied);
    let upsert = upsert.bind(seen.last.as_microsecond());
    upsert.execute(tx.connection()).await.map(drop).map_err(tx.failed("write"))
}

impl Agents {
    pub(super) fn set_worker_listens(&self) {
        self.worker_listens.store(true, Ordering::Release);
    }

    pub(super) fn worker_listens(&self) -> bool {
        self.worker_listens.load(Ordering::Acquire)
    }

    fn lock(&self) -> MutexGuard<'_, Now> {
        // Nothing panics while holding the lock.
        self.now.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Engine {
    /// An agent is gated.
    pub async fn attached(&self, agent: &AgentName) -> Result<(), StoreError> {
        let gated = Gated { since: self.now(), frozen: false };
        self.inner.agents.lock().gated.entry(agent.clone()).or_insert(gated);
        self.announce(EventName::AgentAttached, None, agent);
        self.record(Entry::new(gated.since, body::ATTACHED, &()).agent(agent)).await
    }

    /// An agent's gate was removed.
    pub async fn detached(&self, agent: &AgentName) -> Result<(), StoreError> {
        {
            let mut now = self.inner.agents.lock();
            now.gated.remove(agent);
            now.findings.remove(&Some(agent.clone()));
            now.distrusting.remove(agent);
        }
        self.announce(EventName::AgentDetached, None, agent);
        self.close_refusals(agent).await?;
        self.record(Entry::new(self.now(), body::DETACHED, &()).agent(agent)).await
    }

    /// The supervisor stopped or continued an agent, or could not; asked by a reviewer or by somebody at the host.
    pub async fn frozen(&self, agent: &AgentName, result: Result<bool, String>) -> Result<(), StoreError> {
        let asked = {
            let mut now = self.inner.agents.lock();
            if let (Some(gated), Ok(frozen)) = (now.gated.get_mut(agent), &result) {
                gated.frozen = *frozen;
            }
            if let (Ok(false), Some(findings)) = (&result, now.findings.get_mut(&Some(agent.clone()))) {
                // Only an agent whose protection was mended goes on.
                findings.retain(|finding| finding.severity != Severity::Critical);
            }
            now.asked.remove(agent)
        };
        match asked {
            // Reviewers record it under their own name.
            Some(asked) => asked.into_iter().for_each(|asked| drop(asked.send(result.clone()))),
            None => {
                if let Ok(frozen) = result {
                    return self.record_freeze(agent, frozen, COMMAND_LINE).await;
                }
            }
        }
        Ok(())
    }

    /// The supervisor found something; `stopped` says whether it stopped the agent's processes.
    pub async fn found(&self, finding: Finding, stopped: bool) -> Result<(), StoreError> {
        {
            let mut now = self.inner.agents.lock();
            if let Some(gated) = finding.agent.as_ref().and_then(|agent| now.gated.get_mut(agent)) {
                gated.frozen |= stopped;
            }
            now.findings.entry(finding.agent.clone()).or_default().push(finding.clone());
        }
        let agent = finding.agent.clone();
        self.announce_to_all(Event { name: EventName::FindingRaised, hold: None, agent });
        self.record_finding(finding, stopped).await
    }

    async fn record_finding(&self, finding: Finding, stopped: bool) -> Result<(), StoreError> {
        let Finding { agent, id, severity, what, remedy } = finding;
        let body = body::Found { id, severity, what, remedy, stopped };
        let entry = Entry::new(self.now(), body::FOUND, &body);
        match &agent {
            Some(agent) => self.record(entry.agent(agent)).await,
            None => self.record(entry).await,
        }
    }

    /// A program of an agent does not trust our certificates: told once for each program, and of an agent that is gone
    /// already only written down.
    pub(super) async fn distrusted(&self, distrust: &Distrust) -> Result<(), StoreError> {
        let is_gated = {
            let mut now = self.inner.agents.lock();
            let is_gated = now.gated.contains_key(&distrust.agent);
            if is_gated {
                let programs = now.distrusting.entry(distrust.agent.clone()).or_default();
                if programs.len() >= DISTRUSTING || !programs.insert(distrust.program.clone()) {
                    return Ok(());
                }
            }
            is_gated
        };
        let finding = distrust::finding(distrust, &self.inner.trust);
        if is_gated { self.found(finding, false).await } else { self.record_finding(finding, false).await }
    }

    /// What was found about the host itself.
    pub fn host_findings(&self) -> Vec<Finding> {
        self.inner.agents.lock().findings.get(&None).cloned().unwrap_or_default()
    }

    /// Stops or continues an agent's processes, through the supervisor.
    pub async fn freeze(&self, agent: &AgentName, frozen: bool, by: &str) -> Result<AgentView, FreezeError> {
        let (reply, answer) = oneshot::channel();
        {
            let mut now = self.inner.agents.lock();
            if !now.gated.contains_key(agent) {
                return Err(FreezeError::Unknown(agent.clone()));
            }
            now.asked.entry(agent.clone()).or_default().push(reply);
        }
        self.tell_supervisor(FromApproverRole::Freeze { agent: agent.clone(), frozen });
        match timeout(FREEZE_WITHIN, answer).await {
            Ok(Ok(Ok(_))) => {}
            Ok(Ok(Err(why))) => return Err(FreezeError::Refused(why)),
            Ok(Err(_)) | Err(_) => return Err(FreezeError::NoAnswer),
        }
        self.record_freeze(agent, frozen, by).await?;
        self.agent(agent).await?.ok_or_else(|| FreezeError::Unknown(agent.clone()))
    }

    async fn agent(&self, agent: &AgentName) -> Result<Option<AgentView>, StoreError> {
        Ok(self.agents().await?.into_iter().find(|view| view.name == *agent))
    }

    /// One agent in full.
    pub async fn agent_detail(&self, agent: &AgentName) -> Result<Option<AgentDetail>, StoreError> {
        Ok(self.agent(agent).await?.map(|view| self.inner.attempts.detail(view)))
    }

    /// Every agent that is gated, ever asked for something or was refused something lately, by name.
    pub async fn agents(&self) -> Result<Vec<AgentView>, StoreError> {
        let sql = "SELECT name, exchanges, held, denied, last_seen, (SELECT count(*) FROM holds \
                   WHERE holds.agent = agents.name AND state = 'pending') AS pending FROM agents";
        let store = self.store();
        let rows =
            sqlx::query(sql).fetch_all(store.readers()).await.map_err(|error| store.unreadable(error))?;
        let mut views = rows.iter().map(read).collect::<Result<Vec<_>, _>>()?;
        let tried = self.inner.attempts.agents();
        let now = self.inner.agents.lock();
        for name in now.gated.keys().chain(now.findings.keys().flatten()).chain(&tried) {
            if !views.iter().any(|view| view.name == *name) {
                views.push(unseen(name));
            }
        }
        for view in &mut views {
            self.inner.attempts.complete(view);
            view.findings = now.findings.get(&Some(view.name.clone())).cloned().unwrap_or_default();
            if let Some(gated) = now.gated.get(&view.name) {
                (view.attached, view.attached_since, view.frozen) = (true, Some(gated.since), gated.frozen);
            }
        }
        views.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(views)
    }

    async fn record_freeze(&self, agent: &AgentName, frozen: bool, by: &str) -> Result<(), StoreError> {
        let kind = if frozen { body::FROZEN } else { body::THAWED };
        self.record(Entry::new(self.now(), kind, &By { by: by.to_owned() }).agent(agent)).await
    }
}

fn read(row: &sqlx::sqlite::SqliteRow) -> Result<AgentView, StoreError> {
    let name: AgentName = row.get::<String, _>("name").parse().map_err(damaged)?;
    let count = |column| row.get::<i64, _>(column).cast_unsigned();
    Ok(AgentView {
        pending: row.get("pending"),
        exchanges: count("exchanges"),
        held: count("held"),
        denied: count("denied"),
        last_seen: row.get::<Option<i64>, _>("last_seen").map(time).transpose()?,
        ..unseen(&name)
    })
}

/// An agent that did nothing yet and is not gated.
fn unseen(name: &AgentName) -> AgentView {
    AgentView {
        name: name.clone(),
        attached: false,
        attached_since: None,
        frozen: false,
        pending: 0,
        exchanges: 0,
        held: 0,
        denied: 0,
        last_seen: None,
        refused: 0,
        refusals: BTreeMap::new(),
        findings: Vec::new(),
    }
}
