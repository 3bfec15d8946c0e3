//! Watching a gate: what took it apart or came to sit beside it is noticed within a second.
//!
//! An agent whose gate lost a hook, or got a program beside ours that can overrule it, is stopped until a person has
//! mended that: it does not go on by being thawed. One whose process was moved out is stopped, too, and the process
//! brought back. Programs that were there before, or are attached above the agent, are
//! other people's business and only told about: the backstop holds whatever they say.

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};

use super::cgroup;
use super::strays::{Inhabitants, Stray};
use crate::capture::{Broken, Foreign, Gate};
use crate::finding::{ALSO_JUDGED, FOREIGN_PROGRAM, Finding, GATE_DAMAGED, MOVED_OUT, Severity};
use crate::ipc::gate::AgentKind;
use crate::names::AgentName;

/// A finding, and whether its agent is stopped for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Raised {
    /// What was found.
    pub finding: Finding,
    /// Whether every process of the agent is stopped.
    pub stopped: bool,
}

/// What was found out about one gate so far.
#[derive(Debug, Default)]
pub struct Watched {
    /// Why the agent was stopped, until it is mended.
    damage: Option<Finding>,
    /// Programs of others that were there when the gate was made or taken over.
    before: BTreeSet<Foreign>,
    /// Programs of others that are taken as they are, and that people were told about.
    known: BTreeSet<Foreign>,
    inhabitants: Inhabitants,
    /// Everything that was raised and still stands.
    standing: Vec<Finding>,
}

impl Watched {
    /// Begins to watch a gate that was just made or taken over: what comes from now on is new, however long the first
    /// look may be in coming.
    pub fn begin(gate: &Gate) -> Self {
        // Who cannot be asked about was not there.
        let before = gate.others().unwrap_or_default();
        Self { before, inhabitants: Inhabitants::of(&gate.cgroups().agent), ..Self::default() }
    }

    /// Looks at a gate, one of `gates`, and stops its agent when it does not hold. Returns what is new.
    pub fn look(&mut self, gate: &Gate, gates: &[PathBuf], kind: AgentKind) -> Vec<Raised> {
        let moved = self.bring_back(gate, gates);
        let (damage, others) = self.state_of(gate, kind);
        let damage = damage.or(moved);
        let mut found: Vec<Finding> = others.into_iter().collect();
        if let Some(damage) = damage.filter(|damage| self.damage.as_ref() != Some(damage)) {
            self.damage = Some(damage.clone());
            found.push(damage);
        }
        if self.damage.is_some() {
            stop(gate.agent(), &gate.cgroups().agent);
        }
        found.into_iter().map(|finding| self.raise(finding, gate)).collect()
    }

    /// Whether the agent may go on; if not, what is still wrong.
    pub fn may_go_on(&mut self, gate: &Gate, gates: &[PathBuf], kind: AgentKind) -> Result<(), Finding> {
        if self.damage.is_none() {
            return Ok(());
        }
        if let Some(moved) = self.bring_back(gate, gates) {
            return Err(moved);
        }
        if let (Some(damage), _) = self.state_of(gate, kind) {
            return Err(damage);
        }
        self.damage = None;
        self.standing.retain(|finding| finding.severity != Severity::Critical);
        Ok(())
    }

    /// What was raised and still stands.
    pub fn standing(&self) -> &[Finding] {
        &self.standing
    }

    /// Takes down a finding.
    pub fn raise(&mut self, finding: Finding, gate: &Gate) -> Raised {
        let (agent, what, remedy) = (gate.agent(), &finding.what, &finding.remedy);
        match finding.severity {
            Severity::Warning => tracing::warn!(%agent, "{what}; {remedy}"),
            Severity::Critical => tracing::error!(%agent, "{what}; {remedy}"),
        }
        self.standing.push(finding.clone());
        Raised { finding, stopped: cgroup::is_frozen(&gate.cgroups().agent) }
    }

    /// Stops an agent of which a process is outside, and brings that back.
    fn bring_back(&mut self, gate: &Gate, gates: &[PathBuf]) -> Option<Finding> {
        let place = &gate.cgroups().agent;
        let strays = self.inhabitants.look(place, gates);
        let Stray { pid, found, .. } = strays.first()?;
        let who = format!("process {pid} was moved out of the gate, to {}", found.display());
        stop(gate.agent(), place);
        let outcome = self.inhabitants.bring_back(place, strays);
        Some(moved_out(gate.agent(), &who, outcome))
    }

    /// How the gate does not hold now, and which programs of others nobody was told about yet.
    fn state_of(&mut self, gate: &Gate, kind: AgentKind) -> (Option<Finding>, Option<Finding>) {
        let (agent, place) = (gate.agent(), &gate.cgroups().agent);
        let broken = match gate.is_intact() {
            Ok(()) => None,
            // Nobody is left to hold back.
            Err(Broken::CgroupGone(_)) => return (None, None),
            Err(broken) => Some(broken),
        };
        // A cgroup that cannot be asked is gone, and the next look says so.
        let now = gate.others().unwrap_or_default();
        self.known.retain(|foreign| now.contains(foreign));
        let fresh = now.into_iter().filter(|foreign| !self.known.contains(foreign));
        let (intruders, bystanders): (Vec<Foreign>, Vec<Foreign>) = fresh
            .partition(|foreign| !self.before.contains(foreign) && foreign.inside && foreign.can_overrule());
        self.known.extend(bystanders.iter().cloned());
        let damage = broken.map(|broken| damaged(agent, kind, place, &broken));
        (
            damage.or_else(|| intruders.first().map(|foreign| intruded(agent, foreign))),
            also_judged(agent, &bystanders),
        )
    }
}

/// Stops every process of an agent, unless it is stopped.
pub fn stop(agent: &AgentName, place: &Path) {
    if cgroup::is_frozen(place) {
        return;
    }
    match cgroup::set_frozen(place, true) {
        Ok(()) => tracing::error!(%agent, "every process of the agent is stopped"),
        Err(error) => tracing::error!(%agent, "the agent could not be stopped: {error}"),
    }
}

/// How an agent whose gate is damaged gets a whole one.
pub fn remedy(agent: &AgentName, kind: AgentKind, place: &Path) -> String {
    match kind {
        AgentKind::Run => {
            format!(
                "end it with `echo 1 > {}/cgroup.kill` and start it again with shield run",
                place.display()
            )
        }
        AgentKind::Attached => {
            format!(
                "gate it anew, then let it go on: shield detach {agent}, shield attach, shield thaw {agent}"
            )
        }
    }
}

fn damaged(agent: &AgentName, kind: AgentKind, place: &Path, broken: &Broken) -> Finding {
    let what = format!("the gate is damaged: {broken}");
    Finding::of(agent, GATE_DAMAGED, Severity::Critical, what, remedy(agent, kind, place))
}

fn intruded(agent: &AgentName, foreign: &Foreign) -> Finding {
    let (program, place) = (foreign.program, foreign.cgroup.display());
    let what = format!(
        "program {program} was attached to {} of {place} beside our hook, and can overrule it",
        foreign.calls
    );
    let remedy = format!(
        "see who loaded it with `bpftool prog show id {program}`, detach it, then let the agent go on: shield thaw {agent}"
    );
    Finding::of(agent, FOREIGN_PROGRAM, Severity::Critical, what, remedy)
}

fn moved_out(agent: &AgentName, who: &str, brought_back: io::Result<usize>) -> Finding {
    let (what, remedy) = match brought_back {
        Ok(ended) => (
            format!("{who}; it was brought back, and {ended} connections it had were ended"),
            format!("see who moved it, only root can; then let the agent go on: shield thaw {agent}"),
        ),
        Err(error) => (
            format!("{who}, and cannot be brought back: {error}"),
            format!("end it with `kill -9`, see who moved it; then let the agent go on: shield thaw {agent}"),
        ),
    };
    Finding::of(agent, MOVED_OUT, Severity::Critical, what, remedy)
}

fn also_judged(agent: &AgentName, others: &[Foreign]) -> Option<Finding> {
    let list: Vec<String> = others
        .iter()
        .map(|it| format!("program {} on {} of {}", it.program, it.calls, it.cgroup.display()))
        .collect();
    let what = format!("also judged by {}", list.join(", "));
    let remedy =
        "nothing if you know them: they can refuse more, and nothing leaves the host past our backstop"
            .to_owned();
    (!list.is_empty()).then(|| Finding::of(agent, ALSO_JUDGED, Severity::Warning, what, remedy))
}
