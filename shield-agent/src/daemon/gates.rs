//! The gates of this instance: which agent, which cgroup, which sockets; and when each ends.
//!
//! ```text
//!            prepare_run ─► Run ──── client gone and cgroup empty ──► removed, cgroup too
//! cgroup ──► attach ──► Attached ─── detach, or cgroup gone ────────► removed
//! process ─► attach_process ─► Attached ─── detach, or all ended ───► brought home, removed
//! pins of an earlier daemon ─► adopt ─► Run | Attached
//! ```
//! A gate is only ever opened here, on purpose. What cannot be adopted stays shut.

mod attach;
mod backstops;
mod error;
mod listing;
mod namespaces;
mod record;

use std::collections::BTreeMap;
use std::fs::File;
use std::path::PathBuf;
use std::process::Command;

use super::cgroup;
use super::crew::AgentSockets;
use super::kept::{self, Kept};
use super::kernel_events::{Ears, Listening};
use super::owners::{self, Owners};
use super::socket::MAX_PER_USER;
use super::watch::{self, Raised, Watched};
use crate::capture::cgroup::cgroup2_mount;
use crate::capture::{AgentCgroups, CaptureError, Cgroups, Gate, Listeners};
use crate::finding::{Finding, GATE_NOT_TAKEN_OVER, Severity};
use crate::ipc::gate::AgentKind;
use crate::names::AgentName;
use crate::networks::Networks;
use crate::report::Chain;
use crate::role::RoleKind;
pub use attach::Made;
use attach::netns_of;
pub use error::GateError;
pub use namespaces::NamespaceChange;
use namespaces::Namespaces;
use record::{Record, Records};

/// Every gate of the instance.
#[derive(Debug)]
pub struct Gates {
    instance: String,
    cgroups: Cgroups,
    records: Records,
    owners: Owners,
    /// Of the policy in force: those of every gate.
    networks: Networks,
    listening: Listening,
    gated: BTreeMap<AgentName, Gated>,
    /// Gates of an earlier daemon that could not be adopted: their agents are refused every connection.
    shut: BTreeMap<AgentName, Shut>,
}

/// A gate that could not be adopted.
#[derive(Debug)]
struct Shut {
    record: Record,
    why: Finding,
}

struct Gated {
    gate: Gate,
    namespaces: Namespaces,
    record: Record,
    /// Whether the `shield run` that asked for it is still there.
    client: bool,
    watched: Watched,
    ears: Ears,
}

impl std::fmt::Debug for Gated {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Gated").field("agent", self.gate.agent()).finish_non_exhaustive()
    }
}

impl Gates {
    /// No gates yet. `records` is a directory of root's, `networks` those of the policy in force.
    pub fn new(
        instance: &str,
        cgroups: Cgroups,
        records: PathBuf,
        networks: Networks,
        listening: Listening,
    ) -> Self {
        Self {
            instance: instance.to_owned(),
            cgroups,
            owners: Owners::new(owners::directory(&records)),
            records: Records::in_directory(records),
            networks,
            listening,
            gated: BTreeMap::new(),
            shut: BTreeMap::new(),
        }
    }

    /// Takes over the gates an earlier daemon left, with the sockets that were kept or else fresh ones; ends those whose
    /// agent is gone.
    ///
    /// Returns what could not be taken over: those agents stay blocked, and are stopped when their gate lost a hook.
    pub fn adopt_all(&mut self, mut kept: Kept) -> Result<Vec<(AgentName, GateError)>, GateError> {
        let mut failed = Vec::new();
        for agent in Gate::pinned(&self.instance)? {
            let record = self.record(&agent);
            let sockets = kept.take(&self.instance, &agent);
            if let Err(error) = self.adopt(&agent, &record, sockets) {
                if matches!(error, GateError::Capture(CaptureError::Broken { .. })) {
                    watch::stop(&agent, &record.cgroup);
                }
                let why = not_taken_over(&agent, &record, &error);
                failed.push((agent.clone(), error));
                self.shut.insert(agent, Shut { record, why });
            }
        }
        kept.let_go_of_the_rest();
        Ok(failed)
    }

    fn adopt(&mut self, agent: &AgentName, record: &Record, kept: Vec<Listeners>) -> Result<(), GateError> {
        if record.is_over() {
            kept.iter().for_each(|sockets| kept::let_go(&self.instance, agent, sockets));
            self.clear(agent)?;
            return self.forget(agent);
        }
        let cgroups = AgentCgroups { agent: record.cgroup.clone(), ..self.cgroups.of(agent) };
        let served: Vec<_> = kept.iter().map(|sockets| (sockets.netns_cookie, sockets.served)).collect();
        let gate = Gate::adopt_serving(&self.instance, agent, &cgroups, &served)?;
        self.serve(gate, record.clone(), false, &netns_of(&record.cgroup)?, kept)
    }

    /// Makes a fresh gated cgroup for a user, served in a network namespace.
    pub fn prepare_run(&mut self, agent: &AgentName, owner: u32, netns: &File) -> Result<PathBuf, GateError> {
        self.refuse_taken(agent)?;
        let theirs = self.gated.values().filter(|gated| gated.record.owner == owner).count();
        if owner != 0 && theirs >= MAX_PER_USER {
            return Err(GateError::TooMany);
        }
        self.claim(agent, owner)?;
        let cgroups = self.cgroups.create(agent)?;
        let record = Record { cgroup: cgroups.agent.clone(), kind: AgentKind::Run, home: None, owner };
        self.make(agent, &cgroups, record, netns)?;
        Ok(cgroups.agent)
    }

    fn claim(&self, agent: &AgentName, uid: u32) -> Result<(), GateError> {
        match self.owners.claim(agent, uid) {
            Ok(true) => Ok(()),
            Ok(false) => Err(GateError::NameOwned(agent.clone())),
            Err(error) => Err(GateError::file("note the owner in", self.owners.directory())(error)),
        }
    }

    /// Removes the gate of an attached cgroup. That of `shield run` ends with its processes.
    pub fn detach(&mut self, agent: &AgentName) -> Result<(), GateError> {
        let record = match (self.gated.get(agent), self.shut.get(agent)) {
            (Some(gated), _) => Some(gated.record.clone()),
            (None, shut) => shut.map(|shut| shut.record.clone()),
        };
        let record = record.ok_or_else(|| GateError::NoSuchAgent(agent.clone()))?;
        if record.kind == AgentKind::Run && !record.is_over() {
            return Err(GateError::NotAttached(agent.clone()));
        }
        attach::bring_home(&record)?;
        self.remove(agent)
    }

    /// The `shield run` that asked for the agent is gone; the gate outlives it while a process is inside.
    pub fn client_gone(&mut self, agent: &AgentName) {
        if let Some(gated) = self.gated.get_mut(agent) {
            gated.client = false;
        }
    }

    /// Removes what has ended. Returns the agents that are gone.
    pub fn sweep(&mut self) -> Vec<AgentName> {
        let ended = |gated: &Gated| !gated.client && gated.record.is_over();
        let over = self.gated.iter().filter(|(_, gated)| ended(gated)).map(|(agent, _)| agent);
        let shut = self.shut.iter().filter(|(_, shut)| shut.record.is_over()).map(|(agent, _)| agent);
        let over: Vec<AgentName> = over.chain(shut).cloned().collect();
        for agent in &over {
            if let Err(error) = self.remove(agent) {
                tracing::error!(%agent, "a gate could not be removed: {}", Chain(&error));
            }
        }
        over
    }

    /// Looks whether every gate still holds, and stops the agents of those that do not. Returns what is new.
    pub fn watch(&mut self) -> Vec<Raised> {
        let places = self.places();
        let look = |gated: &mut Gated| gated.watched.look(&gated.gate, &places, gated.record.kind);
        self.gated.values_mut().flat_map(look).collect()
    }

    /// Stops or continues an agent's processes. One whose gate does not hold is not continued.
    pub fn set_frozen(&mut self, agent: &AgentName, frozen: bool) -> Result<(), GateError> {
        let stays = |why: &Finding| GateError::StaysStopped {
            agent: agent.clone(),
            what: why.what.clone(),
            remedy: why.remedy.clone(),
        };
        let places = self.places();
        let place = match (self.gated.get_mut(agent), self.shut.get(agent)) {
            (Some(gated), _) => {
                if !frozen {
                    let goes_on = gated.watched.may_go_on(&gated.gate, &places, gated.record.kind);
                    goes_on.map_err(|why| stays(&why))?;
                }
                &gated.gate.cgroups().agent
            }
            (None, Some(shut)) if frozen => &shut.record.cgroup,
            (None, Some(shut)) => return Err(stays(&shut.why)),
            (None, None) => return Err(GateError::NoSuchAgent(agent.clone())),
        };
        cgroup::set_frozen(place, frozen).map_err(GateError::file("freeze or thaw", place))
    }

    /// Every gate that is served.
    pub(super) fn all(&self) -> impl Iterator<Item = (&Gate, AgentKind)> {
        self.gated.values().map(|gated| (&gated.gate, gated.record.kind))
    }

    /// The cgroup of every gate.
    fn places(&self) -> Vec<PathBuf> {
        let served = self.gated.values().map(|gated| &gated.record.cgroup);
        served.chain(self.shut.values().map(|shut| &shut.record.cgroup)).cloned().collect()
    }

    /// Names of all agents.
    pub fn agents(&self) -> Vec<AgentName> {
        self.gated.keys().cloned().collect()
    }

    /// The agent a cgroup belongs to; `cgroup` counts from the root of the unified hierarchy.
    pub fn owner_of(&self, cgroup: &str) -> Option<&AgentName> {
        let place = cgroup2_mount().ok()?.join(cgroup.trim_start_matches('/'));
        let inside = |gated: &Gated| place.starts_with(&gated.gate.cgroups().agent);
        self.gated.iter().find(|(_, gated)| inside(gated)).map(|(agent, _)| agent)
    }

    /// An agent's sockets in each network namespace it is served in, for the worker.
    pub fn sockets(&self, agent: &AgentName) -> Vec<AgentSockets<'_>> {
        let Some(gated) = self.gated.get(agent) else { return Vec::new() };
        let originals = gated.gate.originals_fd();
        gated.namespaces.sockets().map(|sockets| AgentSockets { sockets, originals }).collect()
    }

    /// Serves the network namespaces agents have come to, and gives up those they have left.
    pub fn sweep_namespaces(&mut self) -> Vec<(AgentName, NamespaceChange)> {
        let mut changes = Vec::new();
        for (agent, gated) in &mut self.gated {
            let found = gated.namespaces.sweep(&mut gated.gate);
            changes.extend(found.into_iter().map(|change| (agent.clone(), change)));
        }
        changes
    }

    /// Serves the network namespace a process of an agent is in now; with `cookie`, only if it is that one.
    pub fn discover(&mut self, agent: &AgentName, pid: u32, cookie: Option<u64>) -> Option<NamespaceChange> {
        let gated = self.gated.get_mut(agent)?;
        gated.namespaces.discover(&mut gated.gate, pid, cookie)
    }

    /// Puts the networks of a policy into force. An agent whose kernel half cannot be told is stopped.
    pub fn set_networks(&mut self, networks: &Networks) {
        self.networks = networks.clone();
        for (agent, gated) in &mut self.gated {
            if let Err(error) = gated.gate.set_networks(networks) {
                tracing::error!(%agent, "the networks of the policy are not in force: {}", Chain(&error));
                watch::stop(agent, &gated.gate.cgroups().agent);
            }
            gated.namespaces.sockets().for_each(|sockets| backstops::raise(&gated.gate, sockets));
        }
    }

    /// A name is also taken by a gate that could not be adopted: making another would have to open that one.
    fn refuse_taken(&self, agent: &AgentName) -> Result<(), GateError> {
        let taken = self.gated.contains_key(agent) || self.shut.contains_key(agent);
        if taken { Err(GateError::NameInUse(agent.clone())) } else { Ok(()) }
    }

    /// Attaches and serves, or leaves nothing behind.
    fn make(
        &mut self,
        agent: &AgentName,
        cgroups: &AgentCgroups,
        record: Record,
        netns: &File,
    ) -> Result<(), GateError> {
        let client = record.kind == AgentKind::Run;
        let made = self.records.write(agent, &record).and_then(|()| {
            let gate = Gate::attach(&self.instance, agent, cgroups)?;
            self.serve(gate, record, client, netns, Vec::new())
        });
        if made.is_err() && !self.gated.contains_key(agent) {
            // What failed is the news; a gate that was attached and cannot be served must not stay.
            let _ = self.clear(agent);
            let _ = self.forget(agent);
        }
        made
    }

    fn serve(
        &mut self,
        mut gate: Gate,
        record: Record,
        client: bool,
        netns: &File,
        kept: Vec<Listeners>,
    ) -> Result<(), GateError> {
        gate.set_networks(&self.networks)?;
        let namespaces = Namespaces::open(&mut gate, netns, kept)?;
        let watched = Watched::begin(&gate);
        let ears = self.listening.to(&gate, record.kind)?;
        let agent = gate.agent().clone();
        self.gated.insert(agent, Gated { gate, namespaces, record, client, watched, ears });
        Ok(())
    }

    fn remove(&mut self, agent: &AgentName) -> Result<(), GateError> {
        match self.gated.remove(agent) {
            Some(Gated { gate, namespaces, record, ears, .. }) => {
                self.listening.last_words(&gate, record.kind, ears);
                for sockets in namespaces.sockets() {
                    backstops::lower(&gate, sockets);
                    kept::let_go(&self.instance, agent, sockets);
                }
                gate.detach()?;
            }
            None => self.clear(agent)?,
        }
        self.shut.remove(agent);
        self.forget(agent)
    }

    /// Removes a gate of which nothing but its pins is known.
    fn clear(&self, agent: &AgentName) -> Result<(), GateError> {
        Gate::clear(&self.instance, agent)?;
        backstops::lower_here(&self.instance, agent);
        Ok(())
    }

    /// Removes an agent's own cgroups and its record.
    fn forget(&self, agent: &AgentName) -> Result<(), GateError> {
        self.cgroups.remove(agent)?;
        self.records.remove(agent)
    }

    /// What was written about a gate; without it, what `shield run` would have made.
    fn record(&self, agent: &AgentName) -> Record {
        let cgroup = self.cgroups.of(agent).agent;
        let unwritten = || Record { cgroup, kind: AgentKind::Run, home: None, owner: 0 };
        self.records.read(agent).unwrap_or_else(unwritten)
    }
}

/// The command that opens sockets where they have to be born.
fn helper() -> Command {
    let mut helper = Command::new(super::roles::OURSELVES);
    helper.args(["role", RoleKind::Listeners.name()]).env_clear().current_dir("/");
    helper
}

fn not_taken_over(agent: &AgentName, record: &Record, error: &GateError) -> Finding {
    let what = format!("its gate could not be taken over, so every connection is refused: {}", Chain(error));
    let remedy = watch::remedy(agent, record.kind, &record.cgroup);
    Finding::of(agent, GATE_NOT_TAKEN_OVER, Severity::Critical, what, remedy)
}
