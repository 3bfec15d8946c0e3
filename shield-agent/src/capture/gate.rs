//! A gate: the hooks attached to one agent's cgroup, their maps, and the pins that keep them.
//!
//! Attaching is all or nothing. A gate stays shut without its owner: only [`Gate::detach`] opens it.

use std::fs::{self, File};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use aya::Ebpf;
use aya::maps::{HashMap, Map, MapData, MapError, MapInfo, PerCpuArray};
use shield_common::event::Reason;
use shield_common::handoff::Tuple;
use shield_common::original::Original;
use shield_common::served::Served;

use super::cgroup::{AgentCgroups, cgroup_error};
use super::error::CaptureError;
use super::host;
use super::object::{self, COUNTERS, HANDOFFS, HOOKS, Hook, NETNS, ORIGINALS, Side, TABLES, Table};
use super::pins::{self, Pins, pin_error};
use super::sys::{self, Open};
use crate::names::AgentName;

/// The hooks on one agent's cgroup. Dropping it changes nothing in the kernel.
pub struct Gate {
    agent: AgentName,
    cgroups: AgentCgroups,
    pins: Pins,
    netns: HashMap<MapData, u64, Served>,
    counters: PerCpuArray<MapData, u64>,
    originals: OwnedFd,
}

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
    #[error("hook {hook} is not attached to {cgroup}, which is another cgroup of the same name")]
    Elsewhere {
        /// The hook.
        hook: &'static str,
        /// Where it should be.
        cgroup: PathBuf,
    },
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
        if pins.exist() {
            return Err(CaptureError::AlreadyGated { instance: instance.to_owned(), agent: agent.clone() });
        }
        let hooks: Vec<&Hook> = HOOKS.iter().filter(|hook| !omitted.contains(&hook.name)).collect();
        let attached =
            attach_all(&pins, cgroups, &hooks).and_then(|()| Self::open(agent, cgroups, pins.clone()));
        if attached.is_err() {
            // The links go with their pins. What failed is the news; what could not be cleaned up is found again.
            let _ = pins.remove();
        }
        attached
    }

    /// Takes over a gate whose owner is gone, after checking that it is whole and of this version.
    ///
    /// Its listeners are gone too: open new ones and call [`Gate::serve_netns`] again.
    pub fn adopt(instance: &str, agent: &AgentName, cgroups: &AgentCgroups) -> Result<Self, CaptureError> {
        let pins = Pins::of(instance, agent)?;
        if !pins.exist() {
            let path = pins.dir().to_owned();
            return Err(CaptureError::NotGated { instance: instance.to_owned(), agent: agent.clone(), path });
        }
        let gate = Self::open(agent, cgroups, pins)?;
        gate.is_intact().map_err(|source| CaptureError::Broken { agent: agent.clone(), source })?;
        Ok(gate)
    }

    /// The agents of an instance that have a gate, whole or broken.
    pub fn pinned(instance: &str) -> Result<Vec<AgentName>, CaptureError> {
        pins::pinned(instance)
    }

    /// Removes what is left of a gate that cannot be adopted: its hooks are detached, its pins removed.
    pub fn clear(instance: &str, agent: &AgentName) -> Result<(), CaptureError> {
        take_down(&Pins::of(instance, agent)?)
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

    /// Connections whose record waits for the end of their handshake.
    pub fn handoffs(&self) -> Result<usize, CaptureError> {
        let map = open_map(&self.pins, &HANDOFFS)?;
        let map: HashMap<_, Tuple, Original> =
            HashMap::try_from(map).map_err(map_error("open", &HANDOFFS))?;
        Ok(map.keys().filter(Result::is_ok).count())
    }

    /// Looks whether every hook is still attached to the cgroup that has the agent's name now.
    pub fn is_intact(&self) -> Result<(), Broken> {
        let [agent, proxy] = [&self.cgroups.agent, &self.cgroups.proxy]
            .map(|path| cgroup_id(path).map_err(|_| Broken::CgroupGone(path.clone())));
        let (agent, proxy) = (agent?, proxy?);
        HOOKS.iter().try_for_each(|hook| {
            let (cgroup, id) = match hook.side {
                Side::Agent => (&self.cgroups.agent, agent),
                Side::Proxy => (&self.cgroups.proxy, proxy),
            };
            holds(&self.pins, hook, cgroup, id)
        })
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
        let originals = pins.map(ORIGINALS.name);
        Ok(Self {
            netns: HashMap::try_from(open_map(&pins, &NETNS)?).map_err(map_error("open", &NETNS))?,
            counters: PerCpuArray::try_from(open_map(&pins, &COUNTERS)?)
                .map_err(map_error("open", &COUNTERS))?,
            originals: sys::open_pin(&originals, Open::ReadOnly).map_err(pin_error("open", &originals))?,
            agent: agent.clone(),
            cgroups: cgroups.clone(),
            pins,
        })
    }
}

/// Loads the object, then pins its maps, then attaches and pins each hook in order.
fn attach_all(pins: &Pins, cgroups: &AgentCgroups, hooks: &[&Hook]) -> Result<(), CaptureError> {
    let mut object = object::load()?;
    pins.create()?;
    for table in &TABLES {
        let path = pins.map(table.name);
        let map = object.map(table.name).ok_or(CaptureError::ForeignMap { path: path.clone() })?;
        map.pin(&path).map_err(|error| pin_error("create", &path)(io::Error::other(error)))?;
    }
    let agent = open_cgroup(&cgroups.agent)?;
    let proxy = open_cgroup(&cgroups.proxy)?;
    for hook in hooks {
        let (path, cgroup) = match hook.side {
            Side::Agent => (&cgroups.agent, &agent),
            Side::Proxy => (&cgroups.proxy, &proxy),
        };
        let refused = |source| CaptureError::HookRefused { hook: hook.name, cgroup: path.clone(), source };
        let program = program(&mut object, hook).map_err(refused)?;
        let link = sys::attach(program, cgroup.as_fd(), hook.attach_type)
            .map_err(|source| CaptureError::HookRefused { hook: hook.name, cgroup: path.clone(), source })?;
        let pin = pins.link(hook.name);
        sys::pin(link.as_fd(), &pin).map_err(pin_error("create", &pin))?;
    }
    Ok(())
}

fn program<'a>(object: &'a mut Ebpf, hook: &Hook) -> io::Result<BorrowedFd<'a>> {
    let program =
        object.program(hook.name).ok_or_else(|| io::Error::other("the object has no such program"))?;
    program.fd().map(|fd| fd.as_fd()).map_err(io::Error::other)
}

/// Detaches what is pinned, last attached first, and removes the pins.
fn take_down(pins: &Pins) -> Result<(), CaptureError> {
    for hook in HOOKS.iter().rev() {
        // A link that is missing or dead is detached already; one we cannot detach goes with its pin.
        let Ok(link) = sys::open_pin(&pins.link(hook.name), Open::Whole) else { continue };
        let _ = sys::detach(link.as_fd());
    }
    pins.remove()
}

/// Whether `hook` is attached to the cgroup whose id is `id`.
fn holds(pins: &Pins, hook: &Hook, cgroup: &Path, id: u64) -> Result<(), Broken> {
    let link = sys::open_pin(&pins.link(hook.name), Open::Whole).map_err(|_| Broken::PinGone(hook.name))?;
    let attached = sys::attached(link.as_fd()).map_err(|_| Broken::PinGone(hook.name))?;
    match attached.cgroup_id {
        0 => Err(Broken::Dead(hook.name)),
        _ if attached.cgroup_id == id && attached.attach_type == hook.attach_type => Ok(()),
        _ => Err(Broken::Elsewhere { hook: hook.name, cgroup: cgroup.to_owned() }),
    }
}

/// A map of another shape would be misread.
fn check_map(pins: &Pins, table: &Table) -> Result<(), CaptureError> {
    let path = pins.map(table.name);
    let info = MapInfo::from_pin(&path).map_err(map_error("open", table))?;
    let same = info.key_size() as usize == table.key
        && info.value_size() as usize == table.value
        && info.max_entries() == table.entries;
    if same { Ok(()) } else { Err(CaptureError::ForeignMap { path }) }
}

fn open_map(pins: &Pins, table: &Table) -> Result<Map, CaptureError> {
    let data = MapData::from_pin(pins.map(table.name)).map_err(map_error("open", table))?;
    Map::from_map_data(data).map_err(map_error("open", table))
}

fn open_cgroup(path: &Path) -> Result<File, CaptureError> {
    File::open(path).map_err(cgroup_error("open", path))
}

/// A cgroup's id is its directory's inode number.
fn cgroup_id(path: &Path) -> io::Result<u64> {
    fs::metadata(path).map(|data| data.ino())
}

fn map_error(act: &'static str, table: &Table) -> impl FnOnce(MapError) -> CaptureError {
    let map = table.name;
    move |source| CaptureError::Map { act, map, source }
}
