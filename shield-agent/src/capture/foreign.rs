//! Programs of others that judge an agent's calls beside ours.
//!
//! All of them run, and each may refuse. But one that runs after ours can also lift a refusal or change an address again:
//! then only the backstop holds. It is never ours to detach them.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io;
use std::os::fd::AsFd as _;
use std::path::{Path, PathBuf};

use super::intact::Running;
use super::object::{self, HOOKS, Hook, Side};
use super::sys::{self, Programs};

/// A program somebody else attached.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Foreign {
    /// Its number.
    pub program: u32,
    /// Which calls it judges.
    pub calls: &'static str,
    /// The cgroup it is attached to.
    pub cgroup: PathBuf,
    /// Whether that is the agent's own cgroup or one below it.
    pub inside: bool,
}

impl Foreign {
    /// Whether such a program can change what ours decided. Those that see packets can only refuse.
    pub fn can_overrule(&self) -> bool {
        !matches!(self.calls, "egress" | "ingress" | "file")
    }
}

/// Every program on the hooks of ours that sees the calls of `agent`'s processes; `running` are our own.
pub(super) fn find(agent: &Path, running: &Running) -> io::Result<BTreeSet<Foreign>> {
    let mut found = BTreeSet::new();
    let hooks: Vec<&Hook> = HOOKS.iter().filter(|hook| hook.side == Side::Agent).collect();
    let cgroup = File::open(agent)?;
    let mut above = Vec::new();
    for hook in &hooks {
        let in_effect = sys::programs(cgroup.as_fd(), hook.attach_type, Programs::InEffect)?;
        let others = in_effect
            .into_iter()
            .filter(|program| running.get(hook.name) != Some(program) && !is_guard(*program, running));
        above.extend(others.map(|program| (*hook, program)));
    }
    inside(agent, &hooks, running, &mut found)?;
    let is_new = |(hook, program): &(&Hook, u32)| {
        !found.iter().any(|known: &Foreign| known.program == *program && known.calls == calls(hook))
    };
    above.retain(is_new);
    for (hook, program) in above {
        found.insert(Foreign {
            program,
            calls: calls(hook),
            cgroup: home(agent, hook, program),
            inside: false,
        });
    }
    Ok(found)
}

/// Whether a program is a guard, this gate's or another's: each sits above all agents.
fn is_guard(program: u32, running: &Running) -> bool {
    let ours = |hook: &&Hook| hook.side == Side::Guard;
    if HOOKS.iter().filter(ours).any(|hook| running.get(hook.name) == Some(&program)) {
        return true;
    }
    let Ok(tags) = object::tags() else { return false };
    let info = sys::program(program).and_then(|program| sys::program_info(program.as_fd()));
    info.is_ok_and(|info| HOOKS.iter().filter(ours).any(|hook| tags.get(hook.name) == Some(&info.tag)))
}

/// Adds what is attached to `cgroup` and below it.
fn inside(
    cgroup: &Path,
    hooks: &[&Hook],
    running: &Running,
    found: &mut BTreeSet<Foreign>,
) -> io::Result<()> {
    let handle = File::open(cgroup)?;
    for hook in hooks {
        for program in sys::programs(handle.as_fd(), hook.attach_type, Programs::OfTheCgroup)? {
            if running.get(hook.name) != Some(&program) {
                found.insert(Foreign {
                    program,
                    calls: calls(hook),
                    cgroup: cgroup.to_owned(),
                    inside: true,
                });
            }
        }
    }
    for entry in fs::read_dir(cgroup)?.flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            // A cgroup that was removed meanwhile has no programs.
            let _ = inside(&entry.path(), hooks, running, found);
        }
    }
    Ok(())
}

/// The cgroup above `agent` a program is attached to; the nearest one above when it cannot be found.
fn home(agent: &Path, hook: &Hook, program: u32) -> PathBuf {
    let holds = |place: &&Path| {
        let programs = File::open(place)
            .and_then(|cgroup| sys::programs(cgroup.as_fd(), hook.attach_type, Programs::OfTheCgroup));
        programs.is_ok_and(|programs| programs.contains(&program))
    };
    let above = agent.ancestors().skip(1);
    above.clone().find(holds).or_else(|| agent.parent()).unwrap_or(agent).to_owned()
}

fn calls(hook: &Hook) -> &'static str {
    hook.name.trim_start_matches("gate_")
}
