//! Whether a gate holds: every hook attached to the cgroup that has the agent's name now, running what it should.

use std::collections::BTreeMap;
use std::fs;
use std::os::fd::AsFd as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use super::cgroup::AgentCgroups;
use super::object::{HOOKS, Hook, Side};
use super::pins::Pins;
use super::sys::{self, Attached, Open};

/// How a gate does not hold any more.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Broken {
    /// A cgroup was removed: whatever has its name now is not gated.
    #[error("cgroup {0} is gone")]
    CgroupGone(PathBuf),
    /// A pin was removed.
    #[error("the pin of hook {0} is gone or cannot be opened")]
    PinGone(&'static str),
    /// The link is attached to nothing.
    #[error("hook {0} is attached to nothing any more")]
    Dead(&'static str),
    /// The link is attached somewhere else: the cgroup was removed and made again.
    #[error("hook {hook} is attached to another cgroup than what is {cgroup} now")]
    Elsewhere {
        /// The hook.
        hook: &'static str,
        /// Where it should be.
        cgroup: PathBuf,
    },
    /// The link runs a program we did not give it.
    #[error("hook {0} runs another program than the one we attached")]
    Replaced(&'static str),
}

/// Which program each hook runs, by the hook's name.
pub(super) type Running = BTreeMap<&'static str, u32>;

/// Looks at some hooks of a gate, and gives what each runs. A guard without a place to be may be anywhere.
pub(super) fn look<'a>(
    pins: &Pins,
    cgroups: &AgentCgroups,
    hooks: impl IntoIterator<Item = &'a Hook>,
) -> Result<Running, Broken> {
    let (agent, proxy) = (cgroup_id(&cgroups.agent)?, cgroup_id(&cgroups.proxy)?);
    let guard = cgroups.guard.as_deref().map(|guard| Ok((guard, cgroup_id(guard)?))).transpose()?;
    let look_at = |hook: &Hook| {
        let place = match hook.side {
            Side::Agent => Some((&*cgroups.agent, agent)),
            Side::Proxy => Some((&*cgroups.proxy, proxy)),
            Side::Guard => guard,
        };
        holds(pins, hook, place).map(|attached| (hook.name, attached.program))
    };
    hooks.into_iter().map(look_at).collect()
}

/// The hooks a gate should have, of those this version knows: what was written down when it was finished.
pub(super) fn expected(pins: &Pins) -> Vec<&'static Hook> {
    match pins.hooks() {
        Some(names) => HOOKS.iter().filter(|hook| names.iter().any(|name| name == hook.name)).collect(),
        None => HOOKS.iter().collect(),
    }
}

/// Whether `hook` is attached, and to the cgroup that has this id.
fn holds(pins: &Pins, hook: &Hook, place: Option<(&Path, u64)>) -> Result<Attached, Broken> {
    let link = sys::open_pin(&pins.link(hook.name), Open::Whole).map_err(|_| Broken::PinGone(hook.name))?;
    let attached = sys::attached(link.as_fd()).map_err(|_| Broken::PinGone(hook.name))?;
    match (attached.cgroup_id, place) {
        (0, _) => Err(Broken::Dead(hook.name)),
        (found, Some((cgroup, id))) if found != id || attached.attach_type != hook.attach_type => {
            Err(Broken::Elsewhere { hook: hook.name, cgroup: cgroup.to_owned() })
        }
        _ => Ok(attached),
    }
}

/// A cgroup's id is its directory's inode number.
fn cgroup_id(path: &Path) -> Result<u64, Broken> {
    fs::metadata(path).map(|data| data.ino()).map_err(|_| Broken::CgroupGone(path.to_owned()))
}
