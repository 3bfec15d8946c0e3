//! A gate: the hooks attached to one agent's cgroup, their maps, and the pins that keep them.
//!
//! Attaching is all or nothing. A gate stays shut without its owner: only [`Gate::detach`] opens it.

use std::collections::BTreeSet;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;

use aya::maps::{HashMap, MapData, MapError, PerCpuArray};
use shield_common::event::Reason;
use shield_common::handoff::Tuple;
use shield_common::original::Original;
use shield_common::served::{Owner, Served};

use super::backstop::{self, BackstopError};
use super::cgroup::AgentCgroups;
use super::error::CaptureError;
use super::events::Events;
use super::foreign::{self, Foreign};
use super::host;
use super::intact::{self, Broken, Running};
use super::networks::Tries;
use super::object::{COUNTERS, EVENTS, HANDOFFS, HOOKS, NETNS, ORIGINALS, OWNERS, TABLES, hooks_on};
use super::pins::{self, Pins, pin_error};
use super::renew::Renewal;
use super::sys::{self, Open};
use super::tables::{check_map, map_error, open_map};
use crate::names::AgentName;
use crate::networks::Networks;

/// The hooks on one agent's cgroup. Dropping it changes nothing in the kernel.
pub struct Gate {
    agent: AgentName,
    cgroups: AgentCgroups,
    pins: Pins,
    /// What its hooks run since we attached or adopted it.
    programs: Running,
    netns: HashMap<MapData, u64, Served>,
    networks: Tries,
    /// What is in them, for the second backstop.
    listed: Networks,
    counters: PerCpuArray<MapData, u64>,
    originals: OwnedFd,
}

impl Gate {
    /// Gates the processes in `cgroups.agent`: loads, pins and attaches every hook, or none.
    ///
    /// Until [`Gate::serve_netns`] is called every connection is refused. Sockets that exist already are not gated:
    /// attach to an empty cgroup.
    pub fn attach(instance: &str, agent: &AgentName, cgroups: &AgentCgroups) -> Result<Self, CaptureError> {
        Self::attach_without(instance, agent, cgroups, &[])
    }

    /// Attaches all hooks but some, so that a test can show what each is for.
    #[doc(hidden)]
    pub fn attach_without(
        instance: &str,
        agent: &AgentName,
        cgroups: &AgentCgroups,
        omitted: &[&str],
    ) -> Result<Self, CaptureError> {
        host::have_bpffs()?;
        let pins = Pins::of(instance, agent)?;
        if pins.exist() || !Pins::of_other_versions(instance, agent)?.is_empty() {
            return Err(CaptureError::AlreadyGated { instance: instance.to_owned(), agent: agent.clone() });
        }
        let hooks = hooks_on(cgroups).filter(|hook| !omitted.contains(&hook.name)).collect();
        let renewal = Renewal { pins: &pins, others: &[], cgroups, hooks, served: &[], anew: false };
        renewal.carry_out()?;
        Self::open(agent, cgroups, pins)
    }

    /// Takes over a gate whose owner is gone, after checking that it is whole, and has its hooks run the programs of
    /// this version. They are never off meanwhile; when it cannot be done, they stay as they are.
    ///
    /// Its listeners are gone too: open new ones and call [`Gate::serve_netns`] again.
    pub fn adopt(instance: &str, agent: &AgentName, cgroups: &AgentCgroups) -> Result<Self, CaptureError> {
        Self::adopt_serving(instance, agent, cgroups, &[])
    }

    /// Takes over a gate some of whose listeners were kept: `served` are their ports, by cookie of their network
    /// namespace.
    pub fn adopt_serving(
        instance: &str,
        agent: &AgentName,
        cgroups: &AgentCgroups,
        served: &[(u64, Served)],
    ) -> Result<Self, CaptureError> {
        Self::take_over(instance, agent, cgroups, served, false)
    }

    /// Takes over a gate as if its programs were another version's, so that a test can see them replaced.
    #[doc(hidden)]
    pub fn adopt_anew(
        instance: &str,
        agent: &AgentName,
        cgroups: &AgentCgroups,
    ) -> Result<Self, CaptureError> {
        Self::take_over(instance, agent, cgroups, &[], true)
    }

    fn take_over(
        instance: &str,
        agent: &AgentName,
        cgroups: &AgentCgroups,
        served: &[(u64, Served)],
        anew: bool,
    ) -> Result<Self, CaptureError> {
        let (pins, others) = (Pins::of(instance, agent)?, Pins::of_other_versions(instance, agent)?);
        // While one of another version is rebuilt, that one is in force.
        let in_force = others.first().filter(|_| pins.hooks().is_none()).unwrap_or(&pins);
        if !in_force.exist() {
            let path = pins.dir().to_owned();
            return Err(CaptureError::NotGated { instance: instance.to_owned(), agent: agent.clone(), path });
        }
        // Where the guard has to be may have been changed since.
        let before = AgentCgroups { guard: None, ..cgroups.clone() };
        intact::look(in_force, &before, intact::expected(in_force))
            .map_err(|source| CaptureError::Broken { agent: agent.clone(), source })?;
        let hooks = hooks_on(cgroups).collect();
        Renewal { pins: &pins, others: &others, cgroups, hooks, served, anew }.carry_out()?;
        Self::open(agent, cgroups, pins)
    }

    /// The agents of an instance that have a gate, whole or broken.
    pub fn pinned(instance: &str) -> Result<Vec<AgentName>, CaptureError> {
        pins::pinned(instance)
    }

    /// Removes what is left of a gate that cannot be adopted: its hooks are detached, its pins removed.
    pub fn clear(instance: &str, agent: &AgentName) -> Result<(), CaptureError> {
        Pins::of_other_versions(instance, agent)?.iter().try_for_each(take_down)?;
        take_down(&Pins::of(instance, agent)?)
    }

    /// Looks at a gate somebody else owns: whether it is whole, and where it should be. Changes nothing.
    pub fn look(instance: &str, agent: &AgentName, cgroups: &AgentCgroups) -> Result<(), CaptureError> {
        let pins = Pins::of(instance, agent)?;
        intact::look(&pins, cgroups, hooks_on(cgroups))
            .map(drop)
            .map_err(|source| CaptureError::Broken { agent: agent.clone(), source })
    }

    /// Opens the gate on purpose: detaches every hook and removes its pins.
    pub fn detach(self) -> Result<(), CaptureError> {
        take_down(&self.pins)
    }

    /// Sends connections made in a network namespace to these ports from now on.
    pub fn serve_netns(&mut self, cookie: u64, served: Served) -> Result<(), CaptureError> {
        self.netns.insert(cookie, served, 0).map_err(map_error("write", &NETNS))
    }

    /// Refuses connections made in a network namespace from now on.
    pub fn stop_serving(&mut self, cookie: u64) -> Result<(), CaptureError> {
        match self.netns.remove(&cookie) {
            Ok(()) | Err(MapError::KeyNotFound) => Ok(()),
            Err(error) => Err(map_error("write", &NETNS)(error)),
        }
    }

    /// Puts lists of networks into force, for connections made from now on and packets sent from now on.
    pub fn set_networks(&mut self, networks: &Networks) -> Result<(), CaptureError> {
        self.networks.set(networks)?;
        self.listed = networks.clone();
        Ok(())
    }

    /// Has the packet filter drop what the agent's sockets send to the outside of the network namespace `socket` is in,
    /// networks that are reached without the gate left out. Again after each [`Gate::set_networks`].
    pub fn raise_backstop(&self, socket: BorrowedFd<'_>) -> Result<(), BackstopError> {
        backstop::raise(socket, self.pins.instance(), &self.agent, &self.cgroups.agent, &self.listed)
    }

    /// Takes that rule away.
    pub fn lower_backstop(&self, socket: BorrowedFd<'_>) -> Result<(), BackstopError> {
        backstop::lower(socket, self.pins.instance(), &self.agent)
    }

    /// The map [`super::originals::lookup`] reads, opened so that it cannot be written through: for the worker.
    pub fn originals_fd(&self) -> BorrowedFd<'_> {
        self.originals.as_fd()
    }

    /// How often each thing happened since the gate was attached.
    pub fn counters(&self) -> Result<Vec<(Reason, u64)>, CaptureError> {
        let read = |reason: &Reason| {
            let values = self.counters.get(&(*reason as u32), 0).map_err(map_error("read", &COUNTERS))?;
            Ok((*reason, values.iter().sum()))
        };
        Reason::ALL.iter().map(read).collect()
    }

    /// How often one thing happened since the gate was attached.
    pub fn counter(&self, reason: Reason) -> Result<u64, CaptureError> {
        let values = self.counters.get(&(reason as u32), 0).map_err(map_error("read", &COUNTERS))?;
        Ok(values.iter().sum())
    }

    /// What the hooks told and nobody has read yet. Only one reader at a time sees everything.
    pub fn events(&self) -> Result<Events, CaptureError> {
        Events::open(open_map(&self.pins, &EVENTS)?).map_err(map_error("open", &EVENTS))
    }

    /// What the hooks say in words from now on; only hooks that were built to.
    #[cfg(feature = "ebpf-log")]
    pub fn kernel_log<L: log::Log>(&self, logger: L) -> Result<aya_log::EbpfLogger<L>, aya_log::Error> {
        // All of them say it in one place.
        let connect4 = self.programs.get("gate_connect4").copied();
        aya_log::EbpfLogger::init_from_id_with_logger(connect4.unwrap_or_default(), logger)
    }

    /// Connections whose record waits for the end of their handshake.
    pub fn handoffs(&self) -> Result<usize, CaptureError> {
        let map = open_map(&self.pins, &HANDOFFS)?;
        let map: HashMap<_, Tuple, Original> =
            HashMap::try_from(map).map_err(map_error("open", &HANDOFFS))?;
        Ok(map.keys().filter(Result::is_ok).count())
    }

    /// Looks whether every hook is still attached to the cgroup that has the agent's name now, and runs the program we
    /// gave it.
    pub fn is_intact(&self) -> Result<(), Broken> {
        let running = intact::look(&self.pins, &self.cgroups, hooks_on(&self.cgroups))?;
        let replaced = running.iter().find(|(hook, program)| self.programs.get(*hook) != Some(program));
        replaced.map_or(Ok(()), |(hook, _)| Err(Broken::Replaced(hook)))
    }

    /// Programs of others that see the agent's calls beside ours.
    pub fn others(&self) -> io::Result<BTreeSet<Foreign>> {
        foreign::find(&self.cgroups.agent, &self.programs)
    }

    /// Whether a socket was made to serve this agent, and the hooks know it: nothing is sent to others.
    pub fn knows(&self, socket: BorrowedFd<'_>) -> bool {
        let Ok(owners) = sys::open_pin(&self.pins.map(OWNERS.name), Open::Whole) else { return false };
        matches!(sys::socket_storage::<u32>(owners.as_fd(), socket), Ok(Some(owner)) if owner == Owner::Proxy as u32)
    }

    /// The instance it belongs to.
    pub fn instance(&self) -> &str {
        self.pins.instance()
    }

    /// The agent behind this gate.
    pub fn agent(&self) -> &AgentName {
        &self.agent
    }

    /// The cgroups its hooks are attached to.
    pub fn cgroups(&self) -> &AgentCgroups {
        &self.cgroups
    }

    /// Where its links are pinned.
    pub fn links_dir(&self) -> PathBuf {
        self.pins.dir().join("links")
    }

    /// Opens the pinned maps.
    fn open(agent: &AgentName, cgroups: &AgentCgroups, pins: Pins) -> Result<Self, CaptureError> {
        for table in &TABLES {
            check_map(&pins, table)?;
        }
        let programs = intact::look(&pins, cgroups, intact::expected(&pins))
            .map_err(|source| CaptureError::Broken { agent: agent.clone(), source })?;
        let originals = pins.map(ORIGINALS.name);
        Ok(Self {
            netns: HashMap::try_from(open_map(&pins, &NETNS)?).map_err(map_error("open", &NETNS))?,
            networks: Tries::open(&pins)?,
            listed: Networks::default(),
            counters: PerCpuArray::try_from(open_map(&pins, &COUNTERS)?)
                .map_err(map_error("open", &COUNTERS))?,
            originals: sys::open_pin(&originals, Open::ReadOnly).map_err(pin_error("open", &originals))?,
            agent: agent.clone(),
            cgroups: cgroups.clone(),
            programs,
            pins,
        })
    }
}

/// Detaches what is pinned, last attached first, and removes the pins.
fn take_down(pins: &Pins) -> Result<(), CaptureError> {
    let names = pins.links();
    let unknown = names.iter().map(String::as_str).filter(|name| HOOKS.iter().all(|hook| hook.name != *name));
    for name in HOOKS.iter().rev().map(|hook| hook.name).chain(unknown) {
        // A link that is missing or dead is detached already; one we cannot detach goes with its pin.
        let Ok(link) = sys::open_pin(&pins.link(name), Open::Whole) else { continue };
        let _ = sys::detach(link.as_fd());
    }
    pins.remove()
}
