//! What can go wrong between us and the kernel. Each message names the act, the thing and the remedy.

use std::io;
use std::path::PathBuf;

use super::intact::Broken;
use crate::names::AgentName;

/// Why an agent cannot be gated, served or freed.
#[derive(Debug, thiserror::Error)]
pub enum CaptureError {
    /// Hooks can be attached by root only.
    #[error("attaching hooks needs root: start the daemon with sudo or as a system service")]
    NotRoot,
    /// The kernel lacks helpers the hooks need.
    #[error("Linux {found} is too old: the hooks need 6.1 or newer, so boot a newer kernel")]
    KernelTooOld {
        /// What is running.
        found: String,
    },
    /// No unified cgroup hierarchy.
    #[error(
        "no cgroup2 file system is mounted: mount one with `mount -t cgroup2 none /sys/fs/cgroup/unified`"
    )]
    NoCgroup2,
    /// No BPF type information.
    #[error("the kernel has no type information at {0}: use a kernel built with CONFIG_DEBUG_INFO_BTF=y")]
    NoBtf(&'static str),
    /// No file system to pin to.
    #[error("cannot mount a BPF file system at {path}: mount one with `mount -t bpf bpf {path}`")]
    NoBpffs {
        /// Where it is looked for.
        path: &'static str,
        /// What mounting said.
        #[source]
        source: io::Error,
    },
    /// The kernel would not load the hooks.
    #[error(
        "the kernel refused to load {what}: allow bpf() for root (it needs CAP_BPF and CAP_NET_ADMIN, and lockdown \
         below confidentiality)"
    )]
    LoadRefused {
        /// The program, or the whole object.
        what: String,
        /// What aya and the verifier said.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The kernel would not attach a hook.
    #[error(
        "the kernel refused to attach {hook} to {cgroup}: detach what other software attached there without \
         BPF_F_ALLOW_MULTI, see `bpftool cgroup tree`"
    )]
    HookRefused {
        /// The program.
        hook: &'static str,
        /// The cgroup.
        cgroup: PathBuf,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
    /// The kernel would not have a hook run another program.
    #[error(
        "the kernel refused to replace the program of {hook}, so the version before stays in force: detach the agent \
         and attach it again, or start the version before"
    )]
    ReplaceRefused {
        /// The program.
        hook: &'static str,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
    /// A cgroup could not be made, entered, found or removed.
    #[error("cannot {act} cgroup {path}: check that it exists and that nothing lives in it")]
    Cgroup {
        /// What was tried.
        act: &'static str,
        /// Which.
        path: PathBuf,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
    /// The guard would not see what the agent does.
    #[error(
        "{guard} is not a cgroup above {cgroup}, so a guard there would not see what runs in it: set gate.guard to one \
         that is above every agent, such as the root of cgroup2, or remove it"
    )]
    GuardElsewhere {
        /// Where the guard was to be.
        guard: PathBuf,
        /// Where the agent is, or would be.
        cgroup: PathBuf,
    },
    /// The guard finds a process's cgroup by its level, which cannot be told.
    #[error(
        "what is mounted at {0} is not the root of cgroup2: for gate.guard, run the daemon outside a cgroup namespace"
    )]
    GuardInNamespace(PathBuf),
    /// A pin could not be made, opened or removed.
    #[error("cannot {act} the pin {path}: check that {path} is on a BPF file system only root can write to")]
    Pin {
        /// What was tried.
        act: &'static str,
        /// Which.
        path: PathBuf,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
    /// There is a gate already.
    #[error("agent {agent} of instance {instance} is gated already: adopt or detach that gate first")]
    AlreadyGated {
        /// The instance.
        instance: String,
        /// The agent.
        agent: AgentName,
    },
    /// There is no gate.
    #[error("agent {agent} of instance {instance} is not gated: nothing is pinned at {path}")]
    NotGated {
        /// The instance.
        instance: String,
        /// The agent.
        agent: AgentName,
        /// Where its pins would be.
        path: PathBuf,
    },
    /// A pinned map is not ours or not of this version.
    #[error("the pinned map {path} is not one this version can use: detach the agent and attach it again")]
    ForeignMap {
        /// Which.
        path: PathBuf,
    },
    /// The gate does not hold any more.
    #[error("the gate of agent {agent} is broken: stop the agent, detach it and attach it again")]
    Broken {
        /// The agent.
        agent: AgentName,
        /// How.
        #[source]
        source: Broken,
    },
    /// A map could not be read or written.
    #[error(
        "cannot {act} the map {map}: the gate was removed from under us, so detach the agent and attach it again"
    )]
    Map {
        /// What was tried.
        act: &'static str,
        /// Which.
        map: &'static str,
        /// What aya said.
        #[source]
        source: aya::maps::MapError,
    },
    /// The helper that opens listeners failed.
    #[error("cannot open listeners in the agent's network namespace: {reason}")]
    Listeners {
        /// What failed, from the helper's mouth or about it.
        reason: String,
    },
    /// The instance's name cannot be a directory's.
    #[error(
        "instance name {0:?} is not valid: use 1 to 63 of a-z, 0-9, '.', '_' or '-', starting with a letter or digit"
    )]
    BadInstance(String),
}

/// An error and what caused it, in one line.
pub(super) fn chain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |cause| cause.source());
    causes.fold(error.to_string(), |line, cause| format!("{line}: {cause}"))
}
