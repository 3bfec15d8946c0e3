//! The gates as they are told to people: who is gated, and what is wrong with whom.

use std::collections::BTreeMap;
use std::path::Path;

use super::{Gates, Record};
use crate::daemon::cgroup;
use crate::daemon::kernel_events;
use crate::daemon::watch::Raised;
use crate::finding::Finding;
use crate::ipc::gate::AgentEntry;
use crate::names::AgentName;

impl Gates {
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

    /// The agents a user may know of, by name: root all, others their own. Those that are served, then those that are
    /// blocked.
    pub fn list(&self, uid: u32) -> Vec<AgentEntry> {
        let known = |record: &Record| uid == 0 || record.owner == uid;
        let gated = self.gated.values().filter(|gated| known(&gated.record)).map(|gated| {
            let refusals = kernel_events::refusals(&gated.gate, gated.record.kind);
            entry(gated.gate.agent(), gated.record.clone(), refusals, gated.watched.standing().to_vec())
        });
        let shut =
            self.shut.iter().filter(|(_, shut)| known(&shut.record)).map(|(agent, shut)| {
                entry(agent, shut.record.clone(), BTreeMap::new(), vec![shut.why.clone()])
            });
        gated.chain(shut).collect()
    }
}

fn entry(
    agent: &AgentName,
    Record { cgroup, kind, .. }: Record,
    refusals: BTreeMap<String, u64>,
    findings: Vec<Finding>,
) -> AgentEntry {
    AgentEntry {
        agent: agent.clone(),
        kind,
        processes: cgroup::processes(&cgroup).map_or(0, |processes| processes.len()),
        frozen: cgroup::is_frozen(&cgroup),
        cgroup,
        refusals,
        findings,
    }
}
