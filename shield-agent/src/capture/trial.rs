//! Trying what a gate needs, for whoever wants to know before the first agent: nothing is left of it.

use super::cgroup::Cgroups;
use super::error::CaptureError;
use super::gate::Gate;
use super::object;
use crate::names::AgentName;

/// Every hook, with the reason when this kernel does not take it.
pub fn hooks() -> Result<Vec<(&'static str, Option<String>)>, CaptureError> {
    object::load_each()
}

/// Attaches a whole gate to a cgroup made for it, looks whether it holds, and takes it down again.
pub fn gate() -> Result<(), CaptureError> {
    let instance = format!("doctor-{}", std::process::id());
    let agent: AgentName = "trial".parse().expect("a word of letters is a name");
    let cgroups = Cgroups::find(&instance)?;
    let tried = cgroups.create(&agent).and_then(|of_agent| {
        let gate = Gate::attach(&instance, &agent, &of_agent)?;
        let intact = gate.is_intact();
        gate.detach()?;
        intact.map_err(|source| CaptureError::Broken { agent: agent.clone(), source })
    });
    // Under a name nobody else uses; what was tried is the news.
    let removed = cgroups.remove(&agent);
    tried.and(removed)
}
