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

use serde::{Deserialize, Serialize};

use super::cgroup::{self, UnfitCgroup};
use super::crew::AgentSockets;
use super::watch::{self, Raised, Watched};
use super::open_sockets;
use crate::capture::backstop::{self, BackstopError};
use crate::capture::cgroup::cgroup2_mount;
use crate::capture::{AgentCgroups, CaptureError, Cgroups, Gate, Listeners, listeners};
use crate::finding::{Finding, GATE_NOT_TAKEN_OVER, Severity};
use crate::ipc::gate::{AgentEntry, AgentKind};
use crate::names::AgentName;
use crate::report::Chain;
use crate::role::RoleKind;

/// Every gate of the instance.
#[derive(Debug)]
pub struct Gates {
    instance: String,
    cgroups: Cgroups,
    records: PathBuf,
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
    sockets: Listeners,
    kind: AgentKind,
    /// Whether the `shield run` that asked for it is still there.
    client: bool,
    watched: Watched,
}

impl std::fmt::Debug for Gated {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Gated").field("agent", self.gate.agent()).finish_non_exhaustive()
    }
}

/// What must be known to adopt a gate: pins do not say whose cgroup it is.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Record {
    cgroup: PathBuf,
    kind: AgentKind,
}

impl Record {
    /// Whether nobody is left to hold back.
    fn is_over(&self) -> bool {
        match self.kind {
            AgentKind::Run => !cgroup::is_populated(&self.cgroup),
            AgentKind::Attached => !self.cgroup.exists(),
        }
    }
}

impl Gated {
    fn record(&self) -> Record {
        Record { cgroup: self.gate.cgroups().agent.clone(), kind: self.kind }
    }
}

/// Why a gate could not be made, found or removed.
#[derive(Debug, thiserror::Error)]
pub enum GateError {
    /// Another agent has the name.
    #[error("agent {0} exists already: choose another name, or detach it first")]
    NameInUse(AgentName),
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
    /// It was stopped for a reason that still stands.
    #[error("agent {agent} stays stopped, because {what}: {remedy}")]
    StaysStopped {
        /// The agent.
        agent: AgentName,
        /// What is wrong.
        what: String,
        /// What mends it.
        remedy: String,
    },
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
    fn file(act: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
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
            records,
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
            let record = self.record(&agent);
            if let Err(error) = self.adopt(&agent, &record) {
                if matches!(error, GateError::Capture(CaptureError::Broken { .. })) {
                    watch::stop(&agent, &record.cgroup);
                }
                let why = not_taken_over(&agent, &record, &error);
                failed.push((agent.clone(), error));
                self.shut.insert(agent, Shut { record, why });
            }
        }
        Ok(failed)
    }

    fn adopt(&mut self, agent: &AgentName, record: &Record) -> Result<(), GateError> {
        if record.is_over() {
            Gate::clear(&self.instance, agent)?;
            lower_backstop(&self.instance, agent, None);
            return self.forget(agent);
        }
        let cgroups = AgentCgroups { agent: record.cgroup.clone(), ..self.cgroups.of(agent) };
        let gate = Gate::adopt(&self.instance, agent, &cgroups)?;
        self.serve(gate, record.kind, false, &netns_of(&record.cgroup)?)
    }

    /// Makes a fresh gated cgroup, served in a network namespace.
    pub fn prepare_run(&mut self, agent: &AgentName, netns: &File) -> Result<PathBuf, GateError> {
        self.refuse_taken(agent)?;
        let cgroups = self.cgroups.create(agent)?;
        let place = cgroups.agent.clone();
        self.make(agent, &cgroups, AgentKind::Run, netns)?;
        Ok(place)
    }

    /// Gates a cgroup that exists; says what the gate does not cover.
    pub fn attach(&mut self, agent: &AgentName, path: &Path) -> Result<Vec<String>, GateError> {
        self.refuse_taken(agent)?;
        let place = cgroup::fit(path)?;
        let other = self.gated.iter().find(|(_, gated)| cgroup::overlap(&gated.gate.cgroups().agent, &place));
        if let Some((agent, _)) = other {
            return Err(GateError::AlreadyGated { cgroup: place, agent: agent.clone() });
        }
        let cgroups = AgentCgroups { agent: place.clone(), ..self.cgroups.of(agent) };
        fs::create_dir_all(&cgroups.proxy).map_err(GateError::file("create cgroup", &cgroups.proxy))?;
        self.make(agent, &cgroups, AgentKind::Attached, &netns_of(&place)?)?;
        Ok(caveats(&place))
    }

    /// Removes the gate of an attached cgroup. That of `shield run` ends with its processes.
    pub fn detach(&mut self, agent: &AgentName) -> Result<(), GateError> {
        let record = self.gated.get(agent).map(Gated::record).or_else(|| self.shut.get(agent).map(|shut| shut.record.clone()));
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

    /// Removes what has ended. Returns the agents that are gone.
    pub fn sweep(&mut self) -> Vec<AgentName> {
        let ended = |gated: &Gated| !gated.client && gated.record().is_over();
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
        self.gated.values_mut().flat_map(|gated| gated.watched.look(&gated.gate, gated.kind)).collect()
    }

    /// Everything that was found and still stands.
    pub fn standing(&self) -> Vec<Raised> {
        let of = |finding: &Finding, place: &Path| Raised {
            finding: finding.clone(),
            stopped: cgroup::is_frozen(place),
        };
        let gated = self.gated.values().flat_map(|gated| {
            gated.watched.standing().iter().map(|finding| of(finding, &gated.gate.cgroups().agent))
        });
        gated.chain(self.shut.values().map(|shut| of(&shut.why, &shut.record.cgroup))).collect()
    }

    /// The agents, by name: those that are served, then those that are blocked.
    pub fn list(&self) -> Vec<AgentEntry> {
        let gated = self.gated.values().map(|gated| {
            entry(gated.gate.agent(), gated.record(), gated.watched.standing().to_vec())
        });
        let shut =
            self.shut.iter().map(|(agent, shut)| entry(agent, shut.record.clone(), vec![shut.why.clone()]));
        gated.chain(shut).collect()
    }

    /// Stops or continues an agent's processes. One whose gate does not hold is not continued.
    pub fn set_frozen(&mut self, agent: &AgentName, frozen: bool) -> Result<(), GateError> {
        let stays = |why: &Finding| GateError::StaysStopped {
            agent: agent.clone(),
            what: why.what.clone(),
            remedy: why.remedy.clone(),
        };
        let place = match (self.gated.get_mut(agent), self.shut.get(agent)) {
            (Some(gated), _) => {
                if !frozen {
                    gated.watched.may_go_on(&gated.gate, gated.kind).map_err(|why| stays(&why))?;
                }
                &gated.gate.cgroups().agent
            }
            (None, Some(shut)) if frozen => &shut.record.cgroup,
            (None, Some(shut)) => return Err(stays(&shut.why)),
            (None, None) => return Err(GateError::NoSuchAgent(agent.clone())),
        };
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
        kind: AgentKind,
        netns: &File,
    ) -> Result<(), GateError> {
        let made = self.write_record(agent, &Record { cgroup: cgroups.agent.clone(), kind }).and_then(|()| {
            let gate = Gate::attach(&self.instance, agent, cgroups)?;
            self.serve(gate, kind, kind == AgentKind::Run, netns)
        });
        if made.is_err() && !self.gated.contains_key(agent) {
            // What failed is the news; a gate that was attached and cannot be served must not stay.
            let _ = Gate::clear(&self.instance, agent);
            lower_backstop(&self.instance, agent, None);
            let _ = self.forget(agent);
        }
        made
    }

    fn serve(
        &mut self,
        mut gate: Gate,
        kind: AgentKind,
        client: bool,
        netns: &File,
    ) -> Result<(), GateError> {
        let mut helper = Command::new(super::roles::OURSELVES);
        helper.args(["role", RoleKind::Listeners.name()]).env_clear().current_dir("/");
        let sockets = listeners::open(helper, &gate.cgroups().proxy, netns.as_fd())?;
        raise_backstop(&self.instance, &gate, &sockets);
        gate.serve_netns(sockets.netns_cookie, sockets.served)?;
        self.gated.insert(gate.agent().clone(), Gated { gate, sockets, kind, client, watched: Watched::default() });
        Ok(())
    }

    fn remove(&mut self, agent: &AgentName) -> Result<(), GateError> {
        match self.gated.remove(agent) {
            Some(gated) => {
                gated.gate.detach()?;
                lower_backstop(&self.instance, agent, Some(&gated.sockets));
            }
            None => {
                Gate::clear(&self.instance, agent)?;
                lower_backstop(&self.instance, agent, None);
            }
        }
        self.shut.remove(agent);
        self.forget(agent)
    }

    /// Removes an agent's own cgroups and its record.
    fn forget(&self, agent: &AgentName) -> Result<(), GateError> {
        self.cgroups.remove(agent)?;
        let path = self.record_path(agent);
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(GateError::file("remove", &path)(error))
            }
            _ => Ok(()),
        }
    }

    fn record_path(&self, agent: &AgentName) -> PathBuf {
        self.records.join(format!("{agent}.json"))
    }

    /// What was written about a gate; without it, what `shield run` would have made.
    fn record(&self, agent: &AgentName) -> Record {
        let written = fs::read(self.record_path(agent)).ok();
        let record = written.and_then(|text| serde_json::from_slice(&text).ok());
        record.unwrap_or_else(|| Record { cgroup: self.cgroups.of(agent).agent, kind: AgentKind::Run })
    }

    fn write_record(&self, agent: &AgentName, record: &Record) -> Result<(), GateError> {
        let path = self.record_path(agent);
        let text = serde_json::to_vec(record).map_err(io::Error::other);
        text.and_then(|text| fs::write(&path, text)).map_err(GateError::file("write", &path))
    }
}

fn entry(agent: &AgentName, Record { cgroup, kind }: Record, findings: Vec<Finding>) -> AgentEntry {
    AgentEntry {
        agent: agent.clone(),
        kind,
        processes: cgroup::processes(&cgroup).map_or(0, |processes| processes.len()),
        frozen: cgroup::is_frozen(&cgroup),
        cgroup,
        findings,
    }
}

fn not_taken_over(agent: &AgentName, record: &Record, error: &GateError) -> Finding {
    let what = format!("its gate could not be taken over, so every connection is refused: {}", Chain(error));
    let remedy = watch::remedy(agent, record.kind, &record.cgroup);
    Finding::of(agent, GATE_NOT_TAKEN_OVER, Severity::Critical, what, remedy)
}

/// A layer more in the network namespace the sockets are in.
fn raise_backstop(instance: &str, gate: &Gate, sockets: &Listeners) {
    let Some(socket) = sockets.tcp.first() else { return };
    if let Err(error) = backstop::raise(socket.as_fd(), instance, gate.agent(), &gate.cgroups().agent) {
        tracing::warn!(agent = %gate.agent(), "there is no second backstop, the hooks hold alone: {}", Chain(&error));
    }
}

/// Takes the layer away, where the sockets are or else where we are.
fn lower_backstop(instance: &str, agent: &AgentName, sockets: Option<&Listeners>) {
    let lowered = match sockets.and_then(|sockets| sockets.tcp.first()) {
        Some(socket) => backstop::lower(socket.as_fd(), instance, agent),
        None => backstop::lower_here(instance, agent),
    };
    match lowered {
        // Without the program there was no rule.
        Ok(()) | Err(BackstopError::NoProgram) => {}
        Err(error) => tracing::warn!(%agent, "the second backstop could not be taken away: {}", Chain(&error)),
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
