//! Gating what already runs: a cgroup where it is, a process by moving it into a cgroup of ours.
//!
//! A process is gated before it is moved, and brought back before its gate is removed. What it opened before keeps
//! belonging to the cgroup it came from: connections are ended where the kernel can, the rest is told.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::record::Record;
use super::{GateError, Gates};
use crate::capture::AgentCgroups;
use crate::daemon::cgroup;
use crate::daemon::{family, old_sockets, open_sockets, peer};
use crate::ipc::gate::AgentKind;
use crate::names::AgentName;

/// Times a family is looked over for newly started processes before it is given up.
const ROUNDS: usize = 32;

/// What a gate that came after its processes could do about what they had open.
#[derive(Debug)]
pub struct Made {
    /// What it does not cover.
    pub caveats: Vec<String>,
    /// Connections that were ended.
    pub ended: usize,
}

impl Gates {
    /// Gates a cgroup that exists, and leaves what is open as it is: it is somebody's service.
    pub fn attach(&mut self, agent: &AgentName, path: &Path) -> Result<Made, GateError> {
        self.refuse_taken(agent)?;
        let place = cgroup::fit(path)?;
        self.refuse_gated(|gated| cgroup::overlap(gated, &place), &place)?;
        self.claim(agent, 0)?;
        let cgroups = AgentCgroups { agent: place.clone(), ..self.cgroups.of(agent) };
        fs::create_dir_all(&cgroups.proxy).map_err(GateError::file("create cgroup", &cgroups.proxy))?;
        let record = Record { cgroup: place.clone(), kind: AgentKind::Attached, home: None, owner: 0 };
        self.make(agent, &cgroups, record, &netns_of(&place)?)?;
        let processes = cgroup::processes(&place).unwrap_or_default();
        Ok(Made { caveats: open(&processes).into_iter().collect(), ended: 0 })
    }

    /// Moves a process and everything below it into a fresh gated cgroup, and ends the connections they had.
    pub fn attach_process(&mut self, agent: &AgentName, pid: u32) -> Result<Made, GateError> {
        self.refuse_taken(agent)?;
        let process = peer::open(pid).map_err(|_| GateError::NoSuchProcess(pid))?;
        let home = self.home_of(pid)?;
        let path = PathBuf::from(format!("/proc/{pid}/ns/net"));
        let netns = File::open(&path).map_err(GateError::file("open", &path))?;
        self.claim(agent, 0)?;
        let cgroups = self.cgroups.create(agent)?;
        let record =
            Record { cgroup: cgroups.agent.clone(), kind: AgentKind::Attached, home: Some(home), owner: 0 };
        self.make(agent, &cgroups, record.clone(), &netns)?;
        let moved = bring_in(pid, &cgroups.agent).and_then(|()| match has_ended(&process) {
            // Another process may have had its number by then.
            true => Err(GateError::NoSuchProcess(pid)),
            false => Ok(()),
        });
        if let Err(error) = moved {
            bring_home(&record)?;
            self.remove(agent)?;
            return Err(error);
        }
        Ok(without_connections(&cgroups.agent))
    }

    /// The cgroup a process is in, if it may be taken out of it.
    fn home_of(&self, pid: u32) -> Result<PathBuf, GateError> {
        let unfit = |why| GateError::UnfitProcess { pid, why };
        if family::is_kernels(pid) {
            return Err(unfit("it is a thread of the kernel's"));
        }
        let family = family::of(pid);
        if family.contains(&std::process::id()) {
            return Err(unfit("the daemon itself is below it"));
        }
        if family::and_above(pid).any(|above| above == std::process::id()) {
            return Err(unfit("it is one of the daemon's own"));
        }
        for member in family {
            let Some(place) = cgroup::of_process(member) else { continue };
            self.refuse_gated(|gated| place.starts_with(gated), &place)?;
        }
        cgroup::of_process(pid).ok_or(GateError::NoSuchProcess(pid))
    }

    /// Also a gate that is shut: its cgroup has one.
    fn refuse_gated(&self, meets: impl Fn(&Path) -> bool, place: &Path) -> Result<(), GateError> {
        let gated = self.gated.iter().map(|(agent, gated)| (agent, &gated.record));
        let shut = self.shut.iter().map(|(agent, shut)| (agent, &shut.record));
        match gated.chain(shut).find(|(_, record)| meets(&record.cgroup)) {
            Some((agent, _)) => {
                Err(GateError::AlreadyGated { cgroup: place.to_owned(), agent: agent.clone() })
            }
            None => Ok(()),
        }
    }
}

/// The network namespace of a cgroup's processes, or ours when it has none.
pub(super) fn netns_of(place: &Path) -> Result<File, GateError> {
    let first = cgroup::processes(place).unwrap_or_default().first().map(ToString::to_string);
    let path = Path::new("/proc").join(first.as_deref().unwrap_or("self")).join("ns/net");
    File::open(&path).map_err(GateError::file("open", &path))
}

/// Moves the processes of an agent back to where they were taken from. Those of a cgroup that is not ours stay.
pub(super) fn bring_home(record: &Record) -> Result<(), GateError> {
    let Some(home) = &record.home else { return Ok(()) };
    for _ in 0..ROUNDS {
        let inside = match cgroup::processes(&record.cgroup) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            inside => inside.map_err(GateError::file("read the processes of", &record.cgroup))?,
        };
        if inside.is_empty() {
            return Ok(());
        }
        for pid in inside {
            move_home(pid, home)?;
        }
    }
    Err(GateError::Restless(
        cgroup::processes(&record.cgroup).unwrap_or_default().first().copied().unwrap_or(0),
    ))
}

/// A home that is gone, or takes no processes any more, is replaced by what is above it.
fn move_home(pid: u32, home: &Path) -> Result<(), GateError> {
    let mut refused = None;
    for place in home.ancestors().filter(|place| place.is_dir()).take_while(|place| cgroup::is_cgroup(place))
    {
        match move_to(place, pid) {
            Ok(()) => return Ok(()),
            Err(error) => refused = Some(error),
        }
    }
    refused.map_or_else(|| Err(GateError::NoSuchProcess(pid)), Err)
}

/// Moves a process and everything below it, until nobody is left behind.
fn bring_in(pid: u32, place: &Path) -> Result<(), GateError> {
    for _ in 0..ROUNDS {
        let outside: Vec<u32> =
            family::of(pid).into_iter().filter(|member| !cgroup::contains(place, *member)).collect();
        if outside.is_empty() {
            return Ok(());
        }
        for member in outside {
            move_to(place, member)?;
        }
    }
    Err(GateError::Restless(pid))
}

/// Moves a process with all its threads. One that has ended is where it should be.
fn move_to(place: &Path, pid: u32) -> Result<(), GateError> {
    match fs::write(place.join("cgroup.procs"), pid.to_string()) {
        Err(error) if error.raw_os_error() == Some(Errno::ESRCH as i32) => Ok(()),
        moved => moved.map_err(GateError::file("move a process to", place)),
    }
}

fn has_ended(process: &impl std::os::fd::AsFd) -> bool {
    poll(&mut [PollFd::new(process.as_fd(), PollFlags::POLLIN)], PollTimeout::ZERO) != Ok(0)
}

fn without_connections(place: &Path) -> Made {
    let processes = cgroup::processes(place).unwrap_or_default();
    let old_sockets::Ended { ended, failed } = old_sockets::end(&processes);
    let mut caveats = Vec::new();
    if let Some(error) = failed {
        caveats.push(format!("the kernel does not end connections that were there before ({error})"));
    }
    caveats.extend(open(&processes));
    Made { caveats, ended }
}

/// What processes have open that was made before their gate.
fn open(processes: &[u32]) -> Option<String> {
    match open_sockets::count(processes) {
        0 => None,
        sockets => Some(format!(
            "{sockets} network sockets of processes already inside were made before the gate and pass by it: restart \
             those processes"
        )),
    }
}
