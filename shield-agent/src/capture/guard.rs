//! The guard of a gate: its hooks on a cgroup above the agent's, which an administrator named.
//!
//! A hook runs for the cgroup a socket was made in. Only from above is seen what an agent does with a socket that was
//! made elsewhere. The guard runs for every process below its cgroup and refuses none but the agent's.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use aya::maps::Array;
use shield_common::guarded::Guarded;

use super::cgroup::{AgentCgroups, cgroup_error, cgroup2_mount};
use super::error::CaptureError;
use super::object::GUARDED;
use super::pins::Pins;
use super::tables::{map_error, open_map};

/// The cgroup a guard is to be attached to, checked as far as that goes without an agent: it must be above `instance`.
pub fn fit(guard: &Path, instance: &Path) -> Result<PathBuf, CaptureError> {
    let mount = cgroup2_mount()?;
    // Every agent is below the one of its instance, which need not be there before the first.
    let place = match fs::canonicalize(guard) {
        Err(_) if guard == instance => guard.to_owned(),
        place => place.map_err(cgroup_error("find", guard))?,
    };
    if !place.starts_with(&mount) || !instance.starts_with(&place) {
        return Err(CaptureError::GuardElsewhere { guard: place, cgroup: instance.to_owned() });
    }
    level(&mount, &place)?;
    Ok(place)
}

/// Tells the guard of a gate which cgroup is the agent's. Before its hooks are attached: without, it would know nobody.
pub(super) fn instruct(pins: &Pins, cgroups: &AgentCgroups) -> Result<(), CaptureError> {
    let Some(guard) = &cgroups.guard else { return Ok(()) };
    let agent = &cgroups.agent;
    if !agent.starts_with(guard) || agent == guard {
        return Err(CaptureError::GuardElsewhere { guard: guard.clone(), cgroup: agent.clone() });
    }
    let cgroup_id = fs::metadata(agent).map_err(cgroup_error("find", agent))?.ino();
    let guarded = Guarded { cgroup_id, level: level(&cgroup2_mount()?, agent)?, unused: 0 };
    let mut map: Array<_, Guarded> =
        Array::try_from(open_map(pins, &GUARDED)?).map_err(map_error("open", &GUARDED))?;
    map.set(0, guarded, 0).map_err(map_error("write", &GUARDED))
}

/// How many cgroups are above one. What is mounted must be the root of them all: only that one has no events.
fn level(mount: &Path, cgroup: &Path) -> Result<u32, CaptureError> {
    if mount.join("cgroup.events").exists() {
        return Err(CaptureError::GuardInNamespace(mount.to_owned()));
    }
    let below = cgroup.strip_prefix(mount).unwrap_or(cgroup);
    Ok(u32::try_from(below.components().count()).unwrap_or(u32::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_guard_is_above_every_agent_of_its_instance() {
        let mount = cgroup2_mount().unwrap();
        let instance = mount.join("agent-shield").join("of-no-test");
        assert_eq!(fit(&mount, &instance).unwrap(), mount);
        assert_eq!(fit(&instance, &instance).unwrap(), instance, "not there yet, and ours to make");
        for elsewhere in [Path::new("/"), Path::new("/proc")] {
            assert!(matches!(fit(elsewhere, &instance), Err(CaptureError::GuardElsewhere { .. })));
        }
        let missing = mount.join("of-no-test");
        assert!(matches!(fit(&missing, &instance), Err(CaptureError::Cgroup { .. })));
    }

    #[test]
    fn the_level_of_a_cgroup_counts_those_above_it() {
        let mount = cgroup2_mount().unwrap();
        assert_eq!(level(&mount, &mount).unwrap(), 0);
        assert_eq!(level(&mount, &mount.join("a/b")).unwrap(), 2);
    }

    #[test]
    fn below_a_cgroup_namespace_levels_are_not_known() {
        let scratch = tempfile::tempdir().unwrap();
        fs::write(scratch.path().join("cgroup.events"), "").unwrap();
        let asked = level(scratch.path(), &scratch.path().join("a"));
        assert!(matches!(asked, Err(CaptureError::GuardInNamespace(_))));
    }
}
