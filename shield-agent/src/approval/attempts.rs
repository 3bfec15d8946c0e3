//! What agents tried and the hooks redirected or refused: the newest in memory, refusals in the journal, too.

mod ledger;

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};

use jiff::Timestamp;
use shield_common::event::{Reason, Sort};

use self::ledger::{Ledger, is_remarkable};
use super::engine::Engine;
use super::event::EventName;
use super::listing::{AgentDetail, AgentView};
use crate::ipc::attempt::Attempt;
use crate::journal::body::{self, Refused};
use crate::journal::entry::Entry;
use crate::names::AgentName;
use crate::store::StoreError;

/// Attempts of one sort that are kept of one agent.
const KEPT: usize = 200;

/// Agents of which something is kept: those that were silent longest are forgotten first.
const MAX_AGENTS: usize = 256;

/// What is known only while this process lives.
#[derive(Debug, Default)]
pub(super) struct Attempts {
    of: Mutex<HashMap<AgentName, OfAgent>>,
}

#[derive(Debug, Default)]
struct OfAgent {
    last: Timestamp,
    counts: BTreeMap<String, u64>,
    refused: VecDeque<Attempt>,
    redirected: VecDeque<Attempt>,
    ledger: Ledger,
}

impl Attempts {
    fn lock(&self) -> MutexGuard<'_, HashMap<AgentName, OfAgent>> {
        // Nothing panics while holding the lock.
        self.of.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Agents something is known of.
    pub(super) fn agents(&self) -> Vec<AgentName> {
        self.lock().keys().cloned().collect()
    }

    /// Completes what is listed of an agent.
    pub(super) fn complete(&self, view: &mut AgentView) {
        if let Some(of) = self.lock().get(&view.name) {
            view.refusals = refusals(&of.counts);
            view.refused = view.refusals.values().sum();
        }
    }

    /// Everything known of an agent, newest first.
    pub(super) fn detail(&self, agent: AgentView) -> AgentDetail {
        let all = self.lock();
        let of = all.get(&agent.name);
        let newest = |attempts: fn(&OfAgent) -> &VecDeque<Attempt>| {
            of.map(|of| attempts(of).iter().rev().cloned().collect()).unwrap_or_default()
        };
        AgentDetail {
            counters: of.map(|of| of.counts.clone()).unwrap_or_default(),
            refused_lately: newest(|of| &of.refused),
            redirected_lately: newest(|of| &of.redirected),
            agent,
        }
    }

    /// Keeps attempts; gives what is to be written.
    fn take(&self, agent: &AgentName, attempts: Vec<Attempt>, now: Timestamp) -> Vec<Refused> {
        let mut all = self.lock();
        let of = entry(&mut all, agent, now);
        let written = attempts.iter().filter_map(|attempt| of.ledger.take(attempt, now)).collect();
        for attempt in attempts {
            let kept = match attempt.reason.sort() {
                Sort::Refused => &mut of.refused,
                Sort::Redirected | Sort::Counted => &mut of.redirected,
            };
            if kept.len() == KEPT {
                kept.pop_front();
            }
            kept.push_back(attempt);
        }
        written
    }

    fn due(&self, now: Timestamp) -> Vec<(AgentName, Refused)> {
        let mut all = self.lock();
        let due = |(agent, of): (&AgentName, &mut OfAgent)| {
            let due = of.ledger.due(now).into_iter();
            due.map(|refused| (agent.clone(), refused)).collect::<Vec<_>>()
        };
        all.iter_mut().flat_map(due).collect()
    }

    fn close(&self, agent: &AgentName) -> Vec<Refused> {
        self.lock().get_mut(agent).map(|of| of.ledger.close()).unwrap_or_default()
    }
}

impl Engine {
    /// An agent tried something.
    pub async fn attempted(&self, agent: &AgentName, attempts: Vec<Attempt>) -> Result<(), StoreError> {
        let now = self.now();
        let refused = self.inner.attempts.take(agent, attempts, now);
        if refused.iter().any(is_remarkable) {
            self.announce(EventName::FindingRaised, None, agent);
        }
        self.write(refused.into_iter().map(|refused| (agent.clone(), refused)).collect(), now).await
    }

    /// The hooks' counters of an agent, in the order of [`Reason::ALL`].
    pub fn counted(&self, agent: &AgentName, counts: &[u64]) {
        let now = self.now();
        let named = Reason::ALL.iter().zip(counts);
        entry(&mut self.inner.attempts.lock(), agent, now).counts =
            named.map(|(reason, count)| (reason.name().to_owned(), *count)).collect();
    }

    /// Writes down refusals whose minute is over.
    pub(super) async fn write_refusals(&self) -> Result<(), StoreError> {
        let now = self.now();
        self.write(self.inner.attempts.due(now), now).await
    }

    /// Writes down what is left of an agent whose gate is gone.
    pub(super) async fn close_refusals(&self, agent: &AgentName) -> Result<(), StoreError> {
        let left = self.inner.attempts.close(agent).into_iter();
        self.write(left.map(|refused| (agent.clone(), refused)).collect(), self.now()).await
    }

    async fn write(&self, refused: Vec<(AgentName, Refused)>, now: Timestamp) -> Result<(), StoreError> {
        if refused.is_empty() {
            return Ok(());
        }
        let entry =
            |(agent, refused): &(AgentName, Refused)| Entry::new(now, body::REFUSED, refused).agent(agent);
        let entries: Vec<Entry> = refused.iter().map(entry).collect();
        self.store()
            .run(move |tx| {
                entries.into_iter().for_each(|entry| tx.journal(entry));
                Box::pin(async { Ok(()) })
            })
            .await
    }
}

fn entry<'a>(all: &'a mut HashMap<AgentName, OfAgent>, agent: &AgentName, now: Timestamp) -> &'a mut OfAgent {
    if all.len() >= MAX_AGENTS && !all.contains_key(agent) {
        let silent = all.iter().min_by_key(|(_, of)| of.last).map(|(agent, _)| agent.clone());
        silent.and_then(|agent| all.remove(&agent));
    }
    let of = all.entry(agent.clone()).or_default();
    of.last = now;
    of
}

/// Of these, what was refused and happened.
fn refusals(counts: &BTreeMap<String, u64>) -> BTreeMap<String, u64> {
    let refused =
        |name: &str| Reason::ALL.iter().any(|reason| reason.name() == name && reason.sort() == Sort::Refused);
    let happened = counts.iter().filter(|(name, count)| **count > 0 && refused(name));
    happened.map(|(name, count)| (name.clone(), *count)).collect()
}
