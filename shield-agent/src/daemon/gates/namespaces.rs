//! The network namespaces an agent is served in: the first from the start, others when a process of the agent is found
//! in one.
//!
//! Until then its connections there are refused, so a program that tries again gets through. A namespace none of the
//! agent's processes is in any more is given up: its listeners would keep it alive for ever. The first one stays, since
//! there may be no process yet. Its loopback device is never touched: where that is down, nothing is served.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::os::fd::AsFd as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use shield_common::limits::NETNS_MAX;

use super::{GateError, backstops, helper};
use crate::capture::{Gate, Listeners, listeners};
use crate::daemon::{cgroup, kept};
use crate::names::AgentName;
use crate::report::Chain;

/// Processes of one agent whose namespaces are looked at in one sweep.
const PROCESSES: usize = 4096;

/// Namespaces opened for one agent in one sweep: each costs a process of ours.
const OPENED_AT_ONCE: usize = 8;

/// Sweeps a namespace may be empty before it is given up: programs come and go in quick succession.
const PATIENCE: u32 = 3;

/// Longest pause, in sweeps, between two attempts to serve a namespace.
const LONGEST_PAUSE: u32 = 32;

/// Inode of a namespace's file: its identity as long as somebody holds it.
type Inode = u64;

/// See the module.
#[derive(Debug)]
pub(super) struct Namespaces {
    first: Inode,
    served: BTreeMap<Inode, Served>,
    refused: BTreeMap<Inode, Refused>,
    /// Whether it was said that there are too many.
    full: bool,
}

#[derive(Debug)]
struct Served {
    sockets: Listeners,
    empty_for: u32,
}

/// One that could not be served, and when to try again.
#[derive(Debug)]
struct Refused {
    pause: u32,
    left: u32,
}

/// What changed: cookies of namespaces.
#[derive(Debug, PartialEq, Eq)]
pub enum NamespaceChange {
    /// Served from now on.
    Served(u64),
    /// Not served any more.
    GivenUp(u64),
}

impl Namespaces {
    /// Serves an agent in its first namespace, and wherever listeners were kept for it.
    pub(super) fn open(gate: &mut Gate, netns: &File, kept: Vec<Listeners>) -> Result<Self, GateError> {
        let first = inode(netns)?;
        let mut namespaces = Self { first, served: BTreeMap::new(), refused: BTreeMap::new(), full: false };
        for sockets in kept {
            let known = sockets.tcp.iter().chain(&sockets.dns).all(|socket| gate.knows(socket.as_fd()));
            match sockets.netns() {
                Ok(place) if known => namespaces.take_in(gate, inode(&place)?, sockets)?,
                _ => kept::let_go(gate.instance(), gate.agent(), &sockets),
            }
        }
        if !namespaces.served.contains_key(&first) {
            namespaces.serve(gate, first, netns, None)?;
        }
        Ok(namespaces)
    }

    /// The sockets of each namespace.
    pub(super) fn sockets(&self) -> impl Iterator<Item = &Listeners> {
        self.served.values().map(|served| &served.sockets)
    }

    /// Serves the namespaces the agent's processes are in, and gives up those they have left.
    pub(super) fn sweep(&mut self, gate: &mut Gate) -> Vec<NamespaceChange> {
        let all = cgroup::processes(&gate.cgroups().agent).unwrap_or_default();
        let looked_at = &all[..all.len().min(PROCESSES)];
        let mut seen: BTreeMap<Inode, u32> = BTreeMap::new();
        for &pid in looked_at {
            if let Ok(namespace) = std::fs::metadata(format!("/proc/{pid}/ns/net")) {
                seen.entry(namespace.ino()).or_insert(pid);
            }
        }
        // Only who has looked at everybody knows that nobody is there.
        let mut changes =
            if looked_at.len() == all.len() { self.give_up_empty(gate, &seen) } else { Vec::new() };
        self.refused.retain(|namespace, _| seen.contains_key(namespace));
        for refused in self.refused.values_mut() {
            refused.left = refused.left.saturating_sub(1);
        }
        let due = |namespace: &Inode| {
            !self.served.contains_key(namespace)
                && self.refused.get(namespace).is_none_or(|refused| refused.left == 0)
        };
        let due: Vec<u32> = seen
            .iter()
            .filter(|(namespace, _)| due(namespace))
            .map(|(_, pid)| *pid)
            .take(OPENED_AT_ONCE)
            .collect();
        changes.extend(due.into_iter().filter_map(|pid| self.discover(gate, pid, None)));
        changes
    }

    /// Serves the namespace a process of the agent is in now, unless it is served. With `cookie` it must be that one.
    pub(super) fn discover(
        &mut self,
        gate: &mut Gate,
        pid: u32,
        cookie: Option<u64>,
    ) -> Option<NamespaceChange> {
        let netns = File::open(format!("/proc/{pid}/ns/net")).ok()?;
        // Looked at after the file was opened: the process may have gone, and another have its number.
        if !cgroup::contains(&gate.cgroups().agent, pid) {
            return None;
        }
        let namespace = inode(&netns).ok()?;
        if self.served.contains_key(&namespace) {
            return None;
        }
        let agent = gate.agent().clone();
        if self.served.len() >= NETNS_MAX as usize {
            if !std::mem::replace(&mut self.full, true) {
                tracing::warn!(%agent, "processes are in more than {NETNS_MAX} network namespaces: connections from the further ones are refused until some end");
            }
            return None;
        }
        match self.serve(gate, namespace, &netns, cookie) {
            Ok(served) => {
                tracing::info!(%agent, pid, namespace, "a process is in a network namespace of its own, which is served from now on");
                self.refused.remove(&namespace);
                Some(NamespaceChange::Served(served))
            }
            Err(error) => {
                self.postpone(namespace, &agent, pid, &error);
                None
            }
        }
    }

    /// The first failure is news; the pauses between attempts grow.
    fn postpone(&mut self, namespace: Inode, agent: &AgentName, pid: u32, error: &GateError) {
        let refused = self.refused.entry(namespace).or_insert(Refused { pause: 0, left: 0 });
        if refused.pause == 0 {
            tracing::warn!(%agent, pid, namespace, "connections from a network namespace are refused, because it cannot be served: {}", Chain(error));
        }
        refused.pause = (refused.pause * 2).clamp(1, LONGEST_PAUSE);
        refused.left = refused.pause;
    }

    fn serve(
        &mut self,
        gate: &mut Gate,
        namespace: Inode,
        netns: &File,
        expected: Option<u64>,
    ) -> Result<u64, GateError> {
        let sockets = listeners::open(helper(), &gate.cgroups().proxy, netns.as_fd())?;
        let cookie = sockets.netns_cookie;
        if expected.is_some_and(|expected| expected != cookie) {
            return Err(GateError::OtherNamespace);
        }
        self.take_in(gate, namespace, sockets)?;
        Ok(cookie)
    }

    fn take_in(&mut self, gate: &mut Gate, namespace: Inode, sockets: Listeners) -> Result<(), GateError> {
        backstops::raise(gate, &sockets);
        gate.serve_netns(sockets.netns_cookie, sockets.served)?;
        kept::keep(gate, &sockets);
        self.served.insert(namespace, Served { sockets, empty_for: 0 });
        Ok(())
    }

    fn give_up_empty(&mut self, gate: &mut Gate, seen: &BTreeMap<Inode, u32>) -> Vec<NamespaceChange> {
        for (namespace, served) in &mut self.served {
            served.empty_for = if seen.contains_key(namespace) { 0 } else { served.empty_for + 1 };
        }
        let over = |(namespace, served): (&Inode, &Served)| {
            (*namespace != self.first && served.empty_for >= PATIENCE).then_some(*namespace)
        };
        let over: BTreeSet<Inode> = self.served.iter().filter_map(over).collect();
        let mut changes = Vec::new();
        for namespace in over {
            let Some(served) = self.served.remove(&namespace) else { continue };
            let cookie = served.sockets.netns_cookie;
            backstops::lower(gate, &served.sockets);
            kept::let_go(gate.instance(), gate.agent(), &served.sockets);
            if let Err(error) = gate.stop_serving(cookie) {
                // Its listeners are closed all the same: connections there find nobody.
                tracing::error!(agent = %gate.agent(), "{}", Chain(&error));
            }
            tracing::info!(agent = %gate.agent(), namespace, "no process is in that network namespace any more: it is not served from now on");
            changes.push(NamespaceChange::GivenUp(cookie));
            self.full = false;
        }
        changes
    }
}

fn inode(netns: &File) -> Result<Inode, GateError> {
    netns
        .metadata()
        .map(|file| file.ino())
        .map_err(GateError::file("look at", Path::new("/proc/<pid>/ns/net")))
}
