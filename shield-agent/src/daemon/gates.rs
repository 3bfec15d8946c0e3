//! The gates of this instance: which agent, which cgroup, which sockets; and when each ends.
//!
//! ```text
//!            prepare_run ─► Run ──── client gone and cgroup empty ──► removed, cgroup too
//! cgroup ──► attach ──► Attached ─── detach, or cgroup gone ────────► removed
//! pins of an earlier daemon ─► adopt ─► Run | Attached
//! ```
//! A gate is only ever opened here, on purpose. What cannot be adopted stays shut.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io;
use std::os::fd::AsFd as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::cgroup::{self, UnfitCgroup};
use super::crew::AgentSockets;
use super::open_sockets;
use super::owners::{self, Owners};
use super::records::{Record, Records};
use super::socket::MAX_PER_USER;
use crate::capture::cgroup::cgroup2_mount;
use crate::capture::{AgentCgroups, Broken, CaptureError, Cgroups, Gate, Listeners, listeners};
use crate::ipc::gate::{AgentEntry, AgentKind};
use crate::names::AgentName;
use crate::role::RoleKind;

/// Every gate of the instance.
#[derive(Debug)]
pub struct Gates {
    instance: String,
    cgroups: Cgroups,
    records: Records,
    owners: Owners,
    gated: BTreeMap<AgentName, Gated>,
    /// Gates of an earlier daemon that could not be adopted: their agents are refused every connection.
    shut: BTreeMap<AgentName, Record>,
}

struct Gated {
    gate: Gate,
    sockets: Listeners,
    kind: AgentKind,
    /// User who had it made.
    owner: u32,
    /// Whether the `shield run` that asked for it is still there.
    client: bool,
    /// Whether its damage was reported.
    damaged: bool,
}

impl std::fmt::Debug for Gated {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Gated").field("agent", self.gate.agent()).finish_non_exhaustive()
    }
}

impl Gated {
    fn record(&self) -> Record {
        Record { cgroup: self.gate.cgroups().agent.clone(), kind: self.kind, owner: self.owner }
    }
}

/// Why a gate could not be made, found or removed.
#[derive(Debug, thiserror::Error)]
pub enum GateError {
    /// Another agent has the name.
    #[error("agent {0} exists already: choose another name, or detach it first")]
    NameInUse(AgentName),
    /// Another user's agents are called that.
    #[error("the name {0} belongs to agents of another user: choose another name")]
    NameOwned(AgentName),
    /// A user has as many agents as one may have.
    #[error("you have {MAX_PER_USER} agents, which is all: end some first")]
    TooMany,
    /// There is no agent by that name.
    #[error("there is no agent {0}: see `shield agents`")]
    NoSuchAgent(AgentName),
    /// The cgroup cannot be gated.
    #[error(transparent)]
    Unfit(#[from] UnfitCgroup),
    /// The cgroup, one above or one below it is gated.
    #[error("cgroup {} is gated already, as agent {agent}: detach that first", cgroup.display())]
    AlreadyGated {
        /// The cgroup.
        cgroup: PathBuf,
        /// Its agent.
        agent: AgentName,
    },
    /// An agent started by `shield run` ends with its processes.
    #[error("agent {0} was started by `shield run`: its gate ends when its last process does")]
    NotAttached(AgentName),
    /// Kernel, cgroup or sockets.
    #[error(transparent)]
    Capture(#[from] CaptureError),
    /// A file.
    #[error("cannot {act} {}", path.display())]
    File {
        /// What was tried.
        act: &'static str,
        /// On which.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

impl GateError {
    pub(super) fn file(act: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::File { act, path, source }
    }
}

impl Gates {
    /// No gates yet. `records` is a directory of root's.
    pub fn new(instance: &str, cgroups: Cgroups, records: PathBuf) -> Self {
        Self {
            instance: instance.to_owned(),
            cgroups,
            owners: Owners::new(owners::directory(&records)),
            records: Records::new(records),
            gated: BTreeMap::new(),
            shut: BTreeMap::new(),
        }
    }

    /// Takes over the gates an earlier daemon left, with fresh sockets; ends those whose agent is gone.
    ///
    /// Returns what could not be taken over: those agents stay blocked, and are stopped when their gate lost a hook.
    pub fn adopt_all(&mut self) -> Result<Vec<(AgentName, GateError)>, GateError> {
        let mut failed = Vec::new();
        for agent in Gate::pinned(&self.instance)? {
            let record = self.records.read(&agent).unwrap_or_else(|| self.usual_record(&agent));
            if let Err(error) = self.adopt(&agent, &record) {
                if matches!(error, GateError::Capture(CaptureError::Broken { .. })) {
                    stop(&agent, &record.cgroup);
                }
                failed.push((agent.clone(), error));
                self.shut.insert(agent, record);
            }
        }
        Ok(failed)
    }

    fn adopt(&mut self, agent: &AgentName, record: &Record) -> Result<(), GateError> {
        if record.is_over() {
            Gate::clear(&self.instance, agent)?;
            return self.forget(agent);
        }
        let cgroups = AgentCgroups { agent: record.cgroup.clone(), ..self.cgroups.of(agent) };
        let gate = Gate::adopt(&self.instance, agent, &cgroups)?;
        self.serve(gate, record, false, &netns_of(&record.cgroup)?)
    }

    /// Makes a fresh gated cgroup for a user, served in a network namespace.
    pub fn prepare_run(&mut self, agent: &AgentName, owner: u32, netns: &File) -> Result<PathBuf, GateError> {
        self.refuse_taken(agent)?;
        let theirs = self.gated.values().filter(|gated| gated.owner == owner).count();
        if owner != 0 && theirs >= MAX_PER_USER {
            return Err(GateError::TooMany);
        }
        self.claim(agent, owner)?;
        let cgroups = self.cgroups.create(agent)?;
        let record = Record { cgroup: cgroups.agent.clone(), kind: AgentKind::Run, owner };
        self.make(agent, &cgroups, &record, netns)?;
        Ok(record.cgroup)
    }

    fn claim(&self, agent: &AgentName, uid: u32) -> Result<(), GateError> {
        match self.owners.claim(agent, uid) {
            Ok(true) => Ok(()),
            Ok(false) => Err(GateError::NameOwned(agent.clone())),
            Err(error) => Err(GateError::file("note the owner in", self.owners.directory())(error)),
        }
    }

    /// Gates a cgroup that exists; says what the gate does not cover.
    pub fn attach(&mut self, agent: &AgentName, path: &Path) -> Result<Vec<String>, GateError> {
        self.refuse_taken(agent)?;
        let place = cgroup::fit(path)?;
        let other = self.gated.iter().find(|(_, gated)| cgroup::overlap(&gated.gate.cgroups().agent, &place));
        if let Some((agent, _)) = other {
            return Err(GateError::AlreadyGated { cgroup: place, agent: agent.clone() });
        }
        self.claim(agent, 0)?;
        let cgroups = AgentCgroups { agent: place.clone(), ..self.cgroups.of(agent) };
        fs::create_dir_all(&cgroups.proxy).map_err(GateError::file("create cgroup", &cgroups.proxy))?;
        let record = Record { cgroup: place.clone(), kind: AgentKind::Attached, owner: 0 };
        self.make(agent, &cgroups, &record, &netns_of(&place)?)?;
        Ok(caveats(&place))
    }

    /// Removes the gate of an attached cgroup. That of `shield run` ends with its processes.
    pub fn detach(&mut self, agent: &AgentName) -> Result<(), GateError> {
        let record = self.gated.get(agent).map(Gated::record).or_else(|| self.shut.get(agent).cloned());
        let record = record.ok_or_else(|| GateError::NoSuchAgent(agent.clone()))?;
        if record.kind == AgentKind::Run && !record.is_over() {
            return Err(GateError::NotAttached(agent.clone()));
        }
        self.remove(agent)
    }

    /// The `shield run` that asked for the agent is gone; the gate outlives it while a process is inside.
    pub fn client_gone(&mut self, agent: &AgentName) {
        if let Some(gated) = self.gated.get_mut(agent) {
            gated.client = false;
        }
    }

    /// Removes what has ended and stops what is damaged. Returns the agents that are gone.
    pub fn sweep(&mut self) -> Vec<AgentName> {
        let ended = |gated: &Gated| !gated.client && gated.record().is_over();
        let over = self.gated.iter().filter(|(_, gated)| ended(gated)).map(|(agent, _)| agent);
        let shut = self.shut.iter().filter(|(_, record)| record.is_over()).map(|(agent, _)| agent);
        let over: Vec<AgentName> = over.chain(shut).cloned().collect();
        for agent in &over {
            if let Err(error) = self.remove(agent) {
                tracing::error!(%agent, "a gate could not be removed: {}", crate::report::Chain(&error));
            }
        }
        self.gated.values_mut().for_each(stop_if_damaged);
        over
    }

    /// The agents a user may know of, by name: root all, others their own.
    pub fn list(&self, uid: u32) -> Vec<AgentEntry> {
        let entry = |(agent, gated): (&AgentName, &Gated)| {
            let cgroup = gated.gate.cgroups().agent.clone();
            AgentEntry {
                agent: agent.clone(),
                kind: gated.kind,
                processes: cgroup::processes(&cgroup).map_or(0, |processes| processes.len()),
                frozen: cgroup::is_frozen(&cgroup),
                cgroup,
            }
        };
        let known = |(_, gated): &(&AgentName, &Gated)| uid == 0 || gated.owner == uid;
        self.gated.iter().filter(known).map(entry).collect()
    }

    /// Stops or continues an agent's processes.
    pub fn set_frozen(&self, agent: &AgentName, frozen: bool) -> Result<(), GateError> {
        let gated = self.gated.get(agent).ok_or_else(|| GateError::NoSuchAgent(agent.clone()))?;
        let place = &gated.gate.cgroups().agent;
        cgroup::set_frozen(place, frozen).map_err(GateError::file("freeze or thaw", place))
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

    /// An agent's sockets, for the worker.
    pub fn sockets(&self, agent: &AgentName) -> Option<AgentSockets<'_>> {
        self.gated.get(agent).map(|gated| AgentSockets {
            listeners: &gated.sockets.tcp,
            dns: &gated.sockets.dns,
            originals: gated.gate.originals_fd(),
        })
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
        record: &Record,
        netns: &File,
    ) -> Result<(), GateError> {
        let made = self.records.write(agent, record).and_then(|()| {
            let gate = Gate::attach(&self.instance, agent, cgroups)?;
            self.serve(gate, record, record.kind == AgentKind::Run, netns)
        });
        if made.is_err() && !self.gated.contains_key(agent) {
            // What failed is the news; a gate that was attached and cannot be served must not stay.
            let _ = Gate::clear(&self.instance, agent);
            let _ = self.forget(agent);
        }
        made
    }

    fn serve(
        &mut self,
        mut gate: Gate,
        &Record { kind, owner, .. }: &Record,
        client: bool,
        netns: &File,
    ) -> Result<(), GateError> {
        let mut helper = Command::new(super::roles::OURSELVES);
        helper.args(["role", RoleKind::Listeners.name()]).env_clear().current_dir("/");
        let sockets = listeners::open(helper, &gate.cgroups().proxy, netns.as_fd())?;
        gate.serve_netns(sockets.netns_cookie, sockets.served)?;
        self.gated.insert(gate.agent().clone(), Gated { gate, sockets, kind, owner, client, damaged: false });
        Ok(())
    }

    fn remove(&mut self, agent: &AgentName) -> Result<(), GateError> {
        match self.gated.remove(agent) {
            Some(gated) => gated.gate.detach()?,
            None => Gate::clear(&self.instance, agent)?,
        }
        self.shut.remove(agent);
        self.forget(agent)
    }

    /// Without a record, what `shield run` would have made for root.
    fn usual_record(&self, agent: &AgentName) -> Record {
        Record { cgroup: self.cgroups.of(agent).agent, kind: AgentKind::Run, owner: 0 }
    }

    /// Removes an agent's own cgroups and its record.
    fn forget(&self, agent: &AgentName) -> Result<(), GateError> {
        self.cgroups.remove(agent)?;
        self.records.remove(agent)
    }
}

/// A gate that lost a hook holds nothing back: its agent is stopped, once, until somebody looks.
fn stop_if_damaged(gated: &mut Gated) {
    let Err(damage) = gated.gate.is_intact() else { return };
    if matches!(damage, Broken::CgroupGone(_)) || std::mem::replace(&mut gated.damaged, true) {
        return;
    }
    let (agent, place) = (gated.gate.agent(), &gated.gate.cgroups().agent);
    tracing::error!(%agent, "the gate is damaged: {damage}");
    stop(agent, place);
}

fn stop(agent: &AgentName, place: &Path) {
    match cgroup::set_frozen(place, true) {
        Ok(()) => tracing::error!(%agent, "every process of the agent is stopped"),
        Err(error) => tracing::error!(%agent, "the agent could not be stopped: {error}"),
    }
}

/// The network namespace of a cgroup's processes, or ours when it has none.
fn netns_of(place: &Path) -> Result<File, GateError> {
    let first = cgroup::processes(place).unwrap_or_default().first().map(ToString::to_string);
    let path = Path::new("/proc").join(first.as_deref().unwrap_or("self")).join("ns/net");
    File::open(&path).map_err(GateError::file("open", &path))
}

/// What the gate of an attached cgroup cannot promise.
fn caveats(place: &Path) -> Vec<String> {
    let processes = cgroup::processes(place).unwrap_or_default();
    let sockets = open_sockets::count(&processes);
    let mut caveats = Vec::new();
    if sockets > 0 {
        caveats.push(format!(
            "{sockets} network sockets of processes already inside were made before the gate and pass by it: restart \
             those processes"
        ));
    }
    let namespace = |pid: &u32| fs::read_link(format!("/proc/{pid}/ns/net")).ok();
    let first = processes.first().and_then(namespace);
    if processes.iter().filter_map(namespace).any(|netns| Some(netns) != first) {
        caveats.push(
            "processes inside are in several network namespaces; those outside the first one's are refused every \
             connection"
                .to_owned(),
        );
    }
    caveats
}
