//! A process and what it started, from `/proc`: names of processes come and go, so whoever acts on them looks again.

use std::collections::BTreeMap;
use std::fs;

/// Marks the kernel's own threads in a process's flags.
const KERNEL_THREAD: u64 = 0x0020_0000;

/// Fields of `/proc/<pid>/stat` after the name: state, parent, …, flags, …, start.
const PARENT: usize = 1;
const FLAGS: usize = 6;
const START: usize = 19;

/// The parent of a process; `None` for the first one and for one that is gone.
pub fn parent(pid: u32) -> Option<u32> {
    field(pid, PARENT).and_then(|pid| u32::try_from(pid).ok()).filter(|pid| *pid != 0)
}

/// When a process was started, in clock ticks since the host was; `None` for one that is gone.
pub fn started(pid: u32) -> Option<u64> {
    field(pid, START)
}

/// A process and those it descends from.
pub fn and_above(pid: u32) -> impl Iterator<Item = u32> {
    std::iter::successors(Some(pid), |pid| parent(*pid))
}

/// Whether a process is a thread of the kernel's.
pub fn is_kernels(pid: u32) -> bool {
    field(pid, FLAGS).is_some_and(|flags| flags & KERNEL_THREAD != 0)
}

/// A process and everything below it, parents first. One that is gone has nobody.
pub fn of(pid: u32) -> Vec<u32> {
    let mut children: BTreeMap<u32, Vec<u32>> = BTreeMap::new();
    for process in processes() {
        if let Some(parent) = parent(process) {
            children.entry(parent).or_default().push(process);
        }
    }
    let mut family = Vec::new();
    if field(pid, PARENT).is_some() {
        family.push(pid);
    }
    let mut at = 0;
    while let Some(next) = family.get(at) {
        family.extend(children.remove(next).unwrap_or_default());
        at += 1;
    }
    family
}

fn processes() -> impl Iterator<Item = u32> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok())
}

/// A number in a process's line, counted after its name, which may hold anything.
fn field(pid: u32, number: usize) -> Option<u64> {
    let line = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, fields) = line.rsplit_once(") ")?;
    fields.split(' ').nth(number)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_family_is_a_process_and_everything_below_it() {
        let mut shell = std::process::Command::new("sh")
            .args(["-c", "sleep 60 & echo started; wait"])
            .stdout(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        let mut started = [0; 7];
        std::io::Read::read_exact(shell.stdout.as_mut().unwrap(), &mut started).unwrap();
        let family = of(shell.id());
        assert_eq!((family.len(), family[0]), (2, shell.id()));
        assert_eq!(parent(family[1]), Some(shell.id()));
        assert!(of(std::process::id()).contains(&family[1]));
        nix::sys::signal::kill(
            nix::unistd::Pid::from_raw(family[1].cast_signed()),
            nix::sys::signal::Signal::SIGKILL,
        )
        .unwrap();
        shell.wait().unwrap();
        assert_eq!(of(family[0]), [0; 0]);
        assert!(!is_kernels(std::process::id()));
    }
}
