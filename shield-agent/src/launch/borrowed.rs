//! What an agent takes over from its caller's process by the kernel's word: limits, and the namespaces it lives in.
//!
//! Nothing here comes from a message of the caller's.

use std::fs::{self, File};
use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sched::{CloneFlags, setns};

use super::LaunchError;

/// Limits of a process, by the kernel's numbers; `/proc` lists them in this order.
const LIMITS: u32 = 16;

/// Where a line of `/proc/…/limits` ends to name and begins to say.
const NAME_WIDTH: usize = 26;

/// Namespaces the agent shares with its caller, but for those the launcher makes or is told.
const NAMESPACES: [(&str, CloneFlags); 4] = [
    ("mnt", CloneFlags::CLONE_NEWNS),
    ("uts", CloneFlags::CLONE_NEWUTS),
    ("ipc", CloneFlags::CLONE_NEWIPC),
    ("pid", CloneFlags::CLONE_NEWPID),
];

/// The caller's process, while it lives.
#[derive(Debug)]
pub(super) struct Borrowed {
    process: OwnedFd,
    limits: Vec<libc::rlimit>,
    out_of_memory: String,
    namespaces: CloneFlags,
}

impl Borrowed {
    /// Looks at the process with this id, which `process` refers to.
    pub(super) fn examine(pid: u32, process: OwnedFd) -> Result<Self, LaunchError> {
        let place = PathBuf::from(format!("/proc/{pid}"));
        let failed = || LaunchError::setup("looking at the caller's process", &place);
        if fs::read_link(place.join("root")).map_err(failed())? != Path::new("/") {
            return Err(LaunchError::Caller("`shield run` works outside changed roots only"));
        }
        if differs(&place, "user").map_err(failed())? {
            return Err(LaunchError::Caller("`shield run` works outside user namespaces only"));
        }
        let mut namespaces = CloneFlags::empty();
        for (name, flag) in NAMESPACES {
            namespaces.set(flag, differs(&place, name).map_err(failed())?);
        }
        let limits = fs::read_to_string(place.join("limits")).map_err(failed())?;
        let unknown = || failed()(io::ErrorKind::InvalidData.into());
        let borrowed = Self {
            limits: parse_limits(&limits).ok_or_else(unknown)?,
            out_of_memory: fs::read_to_string(place.join("oom_score_adj")).map_err(failed())?,
            namespaces,
            process,
        };
        // Its number may be another's only once it has ended.
        match poll(&mut [PollFd::new(borrowed.process.as_fd(), PollFlags::POLLIN)], PollTimeout::ZERO) {
            Ok(0) => Ok(borrowed),
            Ok(_) => Err(LaunchError::Caller("the caller has ended")),
            Err(errno) => Err(failed()(errno.into())),
        }
    }

    /// Goes where the caller is; of its process ids, what is forked from here on.
    pub(super) fn follow(&self) -> Result<(), LaunchError> {
        if self.namespaces.is_empty() {
            return Ok(());
        }
        setns(&self.process, self.namespaces)
            .map_err(|errno| LaunchError::setup("entering the namespaces of", "the caller")(errno.into()))
    }

    /// Takes the caller's limits; as root, because they may be higher than ours.
    pub(super) fn limit(&self) -> Result<(), LaunchError> {
        let failed = || LaunchError::setup("setting", "the caller's limits");
        for (number, limit) in (0..LIMITS).zip(&self.limits) {
            // SAFETY: the call reads an `rlimit` that outlives it.
            let result = unsafe { libc::setrlimit(number, limit) };
            Errno::result(result).map_err(|errno| failed()(errno.into()))?;
        }
        let ours = "/proc/self/oom_score_adj";
        match fs::read_to_string(ours) {
            // Lowering it takes a privilege, even to what it is.
            Ok(same) if same == self.out_of_memory => Ok(()),
            _ => fs::write(ours, &self.out_of_memory).map_err(failed()),
        }
    }
}

/// Whether a process is in another namespace of a kind than we are.
fn differs(process: &Path, kind: &str) -> io::Result<bool> {
    let name = Path::new("ns").join(kind);
    Ok(fs::read_link(process.join(&name))? != fs::read_link(Path::new("/proc/self").join(&name))?)
}

/// The kernel's word as text: asking for it as numbers takes a privilege.
fn parse_limits(table: &str) -> Option<Vec<libc::rlimit>> {
    let number = |word: &str| if word == "unlimited" { Some(libc::RLIM_INFINITY) } else { word.parse().ok() };
    let limit = |line: &str| {
        let mut words = line.get(NAME_WIDTH..)?.split_whitespace();
        Some(libc::rlimit { rlim_cur: number(words.next()?)?, rlim_max: number(words.next()?)? })
    };
    let limits: Option<Vec<_>> = table.lines().skip(1).map(limit).collect();
    limits.filter(|limits| limits.len() == LIMITS as usize)
}

/// The gate's cgroup, opened while its files can still be seen.
#[derive(Debug)]
pub(super) struct Cage {
    members: File,
    kill: File,
}

impl Cage {
    pub(super) fn open(cgroup: &Path) -> Result<Self, LaunchError> {
        let open = |name: &str| {
            let path = cgroup.join(name);
            File::options().write(true).open(&path).map_err(LaunchError::setup("opening", &path))
        };
        Ok(Self { members: open("cgroup.procs")?, kill: open("cgroup.kill")? })
    }

    /// Every socket the calling process makes from here on belongs to the gate.
    pub(super) fn enter(&self) -> Result<(), LaunchError> {
        io::Write::write_all(&mut &self.members, b"0")
            .map_err(LaunchError::setup("entering", "the agent's cgroup"))
    }

    /// Ends every process of the agent.
    pub(super) fn kill(&self) -> io::Result<()> {
        io::Write::write_all(&mut &self.kill, b"1")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_limits_are_read_as_the_kernel_gives_them() {
        let limits = parse_limits(&fs::read_to_string("/proc/self/limits").unwrap()).unwrap();
        for (number, limit) in (0..LIMITS).zip(limits) {
            let mut expected = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
            // SAFETY: the call fills an `rlimit` that outlives it.
            assert_eq!(unsafe { libc::getrlimit(number, &raw mut expected) }, 0);
            assert_eq!((limit.rlim_cur, limit.rlim_max), (expected.rlim_cur, expected.rlim_max), "{number}");
        }
        assert!(parse_limits("Limit\nMax cpu time   unlimited\n").is_none());
    }

    #[test]
    fn a_process_that_has_ended_lends_nothing() {
        let mut child = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        // SAFETY: the call takes plain numbers and gives a descriptor of ours.
        let raw = unsafe { libc::syscall(libc::SYS_pidfd_open, child.id(), 0) };
        // SAFETY: the kernel has just made it; nothing else owns it.
        let process = unsafe { <OwnedFd as std::os::fd::FromRawFd>::from_raw_fd(raw.try_into().unwrap()) };
        let again = process.try_clone().unwrap();
        let borrowed = Borrowed::examine(child.id(), process).unwrap();
        assert!(borrowed.namespaces.is_empty());
        child.kill().unwrap();
        let error = nix::poll::poll(&mut [PollFd::new(again.as_fd(), PollFlags::POLLIN)], PollTimeout::NONE)
            .map(|_| Borrowed::examine(child.id(), again).unwrap_err());
        child.wait().unwrap();
        assert!(!error.unwrap().to_string().is_empty());
    }
}
