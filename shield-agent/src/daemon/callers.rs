//! What `/proc` says of the process that made a connection: told to the worker, which may not look itself.
//!
//! ```text
//! worker ── WhichCaller ──► supervisor ──► a thread of its own ──► supervisor ── Caller ──► worker
//! ```
//! Everything is read through one descriptor of `/proc/<pid>`, which means one process for ever: when that is gone, it
//! reads nothing, whoever has its number then. A process that began after the connection was not the one that made it.
//!
//! On a thread of its own, because reading a command line reads the memory of a process, and one that is ill-disposed can
//! make that take for ever. Then nobody's caller is told any more; nothing else waits.

mod cgroup;
mod process;

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use jiff::{SignedDuration, Timestamp};
use nix::time::{ClockId, clock_gettime};
use tokio::sync::mpsc;

use self::process::{Process, Stat};
use super::Supervisor;
use super::crew::Crew;
use super::roles::RoleError;
use crate::capture::cgroup::cgroup2_mount;
use crate::flow::origin::Ancestor;
use crate::ipc::worker::CallerFacts;

/// Questions that may wait; more are answered with nothing.
const QUEUE: usize = 1024;

/// Processes above the caller that are told.
const MAX_ANCESTORS: usize = 8;

/// Processes whose ancestors are remembered.
const MAX_KNOWN: usize = 1024;

/// A process that made a connection.
#[derive(Clone, Copy, Debug)]
pub(super) struct Asked {
    /// The worker's number for the question.
    pub(super) ask: u64,
    /// Its id.
    pub(super) pid: u32,
    /// `CLOCK_MONOTONIC` nanoseconds of the connection.
    pub(super) connected_at_ns: u64,
    /// Id of the cgroup it was in.
    pub(super) cgroup_id: u64,
}

/// What was found.
#[derive(Debug)]
pub(super) struct Found {
    ask: u64,
    /// Where it is below the root of the unified hierarchy; empty when nothing was found.
    cgroup: String,
    facts: CallerFacts,
}

/// The supervisor's end of the thread that looks.
#[derive(Debug)]
pub(super) struct Callers {
    asks: SyncSender<Asked>,
    found: mpsc::Receiver<Found>,
}

impl Callers {
    /// Starts the thread.
    pub(super) fn start() -> std::io::Result<Self> {
        let (asks, asked) = sync_channel(QUEUE);
        let (tell, found) = mpsc::channel(QUEUE);
        std::thread::Builder::new().name("callers".to_owned()).spawn(move || look(&asked, &tell))?;
        Ok(Self { asks, found })
    }

    /// Has the thread look for a process.
    pub(super) fn ask(&self, asked: Asked) {
        if self.asks.try_send(asked).is_err() {
            tracing::debug!(pid = asked.pid, "too many questions about callers: this one is not answered");
        }
    }

    /// The next answer; never the end, while this is there.
    pub(super) async fn next(&mut self) -> Option<Found> {
        self.found.recv().await
    }
}

impl Supervisor {
    /// Tells the worker, if it is about a process of an agent: of others it learns nothing.
    pub(super) async fn tell_caller(&self, crew: &mut Crew, found: Found) -> Result<(), RoleError> {
        let Found { ask, cgroup, facts } = found;
        // Without a cgroup nothing was read.
        let ours = cgroup.is_empty() || self.gates.owner_of(&cgroup).is_some();
        crew.tell_caller(ask, if ours { facts } else { CallerFacts::default() }).await
    }
}

fn look(asked: &Receiver<Asked>, tell: &mpsc::Sender<Found>) {
    let mut ancestries = HashMap::new();
    let mount = cgroup2_mount().unwrap_or_default();
    while let Ok(asked) = asked.recv() {
        let found = find(asked, &mount, &mut ancestries);
        if tell.blocking_send(found).is_err() {
            return;
        }
    }
}

/// Ancestors by process: its id and when it began.
type Ancestries = HashMap<(u32, u64), Arc<[Ancestor]>>;

fn find(asked: Asked, mount: &Path, known: &mut Ancestries) -> Found {
    let nothing = |facts| Found { ask: asked.ask, cgroup: String::new(), facts };
    let gone = CallerFacts { exited: true, ..CallerFacts::default() };
    let connected_ns = asked.connected_at_ns.saturating_add(time_asleep_ns());
    let process = Process::open(asked.pid).and_then(|process| Some((process.stat()?, process)));
    let Some((stat, process)) = process.filter(|(stat, _)| stat.began_ns <= connected_ns) else {
        return nothing(gone);
    };
    let Some(cgroup) = process.cgroup().filter(|path| cgroup::id(mount, path) == Some(asked.cgroup_id))
    else {
        // It may have been moved, or its cgroup removed: then it cannot be told from another.
        return nothing(CallerFacts { exited: process.stat().is_none(), ..CallerFacts::default() });
    };
    let facts = CallerFacts {
        start_time: start_time(stat.began_ns),
        exe: process.link("exe"),
        cmdline: process.arguments(),
        cwd: process.link("cwd"),
        ancestry: ancestry(asked.pid, &stat, known),
        container: cgroup::container(&cgroup),
        unit: cgroup::unit(&cgroup),
        exited: process.stat().is_none(),
    };
    Found { ask: asked.ask, cgroup, facts }
}

/// The processes above one; remembered, because they are many reads and a parent may be gone the next time.
fn ancestry(pid: u32, stat: &Stat, known: &mut Ancestries) -> Arc<[Ancestor]> {
    if let Some(ancestry) = known.get(&(pid, stat.began_ns)) {
        return Arc::clone(ancestry);
    }
    let mut ancestry = Vec::new();
    let mut child = stat.clone();
    while ancestry.len() < MAX_ANCESTORS && child.parent != 0 {
        let Some(process) = Process::open(child.parent) else { break };
        // A parent that began after its child has the number of the one that was.
        let Some(parent) = process.stat().filter(|parent| parent.began_ns <= child.began_ns) else { break };
        let exe = process.link("exe");
        ancestry.push(Ancestor { pid: child.parent, comm: parent.comm.clone(), exe });
        child = parent;
    }
    if known.len() >= MAX_KNOWN {
        known.clear();
    }
    let ancestry: Arc<[Ancestor]> = ancestry.into();
    known.insert((pid, stat.began_ns), Arc::clone(&ancestry));
    ancestry
}

/// The time of day of a moment of `CLOCK_BOOTTIME`.
fn start_time(boot_ns: u64) -> Option<Timestamp> {
    let age = nanos(ClockId::CLOCK_BOOTTIME)?.saturating_sub(boot_ns);
    let began = Timestamp::now().checked_sub(SignedDuration::from_nanos(age.try_into().ok()?)).ok()?;
    // As exact as it is known.
    Timestamp::from_millisecond(began.as_millisecond() / 10 * 10).ok()
}

/// How far `CLOCK_BOOTTIME`, in which start times are given, is ahead of `CLOCK_MONOTONIC`, the clock of the hooks.
fn time_asleep_ns() -> u64 {
    let (boot, awake) = (nanos(ClockId::CLOCK_BOOTTIME), nanos(ClockId::CLOCK_MONOTONIC));
    boot.unwrap_or(0).saturating_sub(awake.unwrap_or(u64::MAX))
}

fn nanos(clock: ClockId) -> Option<u64> {
    let time = clock_gettime(clock).ok()?;
    Some(time.tv_sec().cast_unsigned() * 1_000_000_000 + time.tv_nsec().cast_unsigned())
}

#[cfg(test)]
mod tests;
