//! Processes that were moved out of their gate, which takes root: found at the next look and brought back.
//!
//! Remembered is who was inside at the last look. Whoever comes and leaves between two looks is not, nor is a process that
//! was started outside by one that ended before the next; and what a stray does until it is found goes where it wants.
//! Whoever was moved into another agent's gate is that agent's.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::{cgroup, family, old_sockets};

/// Who was inside a gate at the last look.
#[derive(Debug, Default)]
pub struct Inhabitants(BTreeMap<u32, Inhabitant>);

#[derive(Debug)]
struct Inhabitant {
    /// Tells it from another that has its number later; clock ticks since the host started.
    started: u64,
    /// The cgroup it was in: the gate's, or one below.
    place: PathBuf,
}

/// A process that was found outside of its gate.
#[derive(Debug)]
pub struct Stray {
    /// Its number.
    pub pid: u32,
    /// Where it was.
    pub found: PathBuf,
    /// Where it belongs.
    place: PathBuf,
}

impl Inhabitants {
    /// Those inside when the gate was made or taken over.
    pub fn of(gate: &Path) -> Self {
        let mut inhabitants = Self::default();
        inhabitants.look(gate, &[]);
        inhabitants
    }

    /// Who of those that were inside at the last look is outside of every gate now, with what they started there.
    pub fn look(&mut self, gate: &Path, gates: &[PathBuf]) -> Vec<Stray> {
        let inside = cgroup::inhabitants(gate).unwrap_or_default();
        let mut strays: Vec<Stray> = Vec::new();
        self.0.retain(|pid, inhabitant| {
            if !inside.contains_key(pid) && family::started(*pid) == Some(inhabitant.started) {
                // One that ended and waits for its parent is where it died.
                strays.extend(outside(gate, gates, *pid, &inhabitant.place));
            }
            inside.contains_key(pid)
        });
        for (pid, place) in inside {
            if let Some(inhabitant) = self.0.get_mut(&pid) {
                inhabitant.place = place;
            } else if let Some(started) = family::started(pid) {
                self.0.insert(pid, Inhabitant { started, place });
            }
        }
        strays
    }

    /// Puts strays where they belong and ends the connections they have; how many those were. One that cannot be put back
    /// is looked for again.
    pub fn bring_back(&mut self, gate: &Path, strays: Vec<Stray>) -> io::Result<usize> {
        let pids: Vec<u32> = strays.iter().map(|stray| stray.pid).collect();
        let mut outcome = Ok(());
        for Stray { pid, place, .. } in strays {
            if let Err(error) = put(pid, &place).or_else(|_| put(pid, gate)) {
                outcome = Err(error);
                if let Some(started) = family::started(pid) {
                    self.0.insert(pid, Inhabitant { started, place });
                }
            }
        }
        outcome.map(|()| old_sockets::end(&pids).ended)
    }
}

/// A process and what is below it, as far as they are outside of every gate.
fn outside(gate: &Path, gates: &[PathBuf], pid: u32, place: &Path) -> Vec<Stray> {
    if cgroup::contains(gate, pid) {
        return Vec::new();
    }
    let at = |pid| Some((pid, cgroup::of_process(pid)?));
    let family = family::of(pid).into_iter().filter_map(at);
    let is_gated = |found: &Path| found.starts_with(gate) || gates.iter().any(|gate| found.starts_with(gate));
    let family = family.filter(|(_, found)| !is_gated(found));
    family.map(|(pid, found)| Stray { pid, found, place: place.to_owned() }).collect()
}

fn put(pid: u32, place: &Path) -> io::Result<()> {
    match fs::write(place.join("cgroup.procs"), pid.to_string()) {
        // It has ended.
        Err(error) if error.raw_os_error() == Some(nix::errno::Errno::ESRCH as i32) => Ok(()),
        moved => moved,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_in_another_agents_gate_is_no_stray() {
        let ourselves = std::process::id();
        let here = cgroup::of_process(ourselves).unwrap();
        let gate = here.join("a-gate-we-left");
        let strays = outside(&gate, &[], ourselves, &gate);
        assert!(strays.iter().any(|stray| stray.pid == ourselves && stray.found == here), "{strays:?}");
        let strays = outside(&gate, std::slice::from_ref(&here), ourselves, &gate);
        assert!(strays.is_empty(), "{strays:?}");
    }
}
