//! One process, held by a descriptor of its directory in `/proc`: it never becomes another.

use std::fs::File;
use std::io::Read as _;
use std::os::fd::OwnedFd;

use nix::fcntl::{OFlag, open, openat, readlinkat};
use nix::sys::stat::Mode;

use crate::flow::http::canonical::lossy;

/// `USER_HZ`: the unit of start times in `/proc/<pid>/stat`, fixed by the kernel's ABI.
const TICK_NANOS: u64 = 10_000_000;

/// Longest command line that is kept, bytes.
const MAX_CMDLINE: u64 = 4096;

/// Longest argument that is kept, characters.
const MAX_ARGUMENT: usize = 512;

/// Longest file that is read of `/proc` else, bytes.
const MAX_FILE: u64 = 8192;

/// See the module.
#[derive(Debug)]
pub(super) struct Process(OwnedFd);

/// What the kernel says of a process in one line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Stat {
    /// Its name.
    pub(super) comm: String,
    /// Its parent's id; 0 when it has none.
    pub(super) parent: u32,
    /// When it began, nanoseconds of `CLOCK_BOOTTIME`, never after the true moment.
    pub(super) began_ns: u64,
}

impl Process {
    /// The process that has this id now.
    pub(super) fn open(pid: u32) -> Option<Self> {
        let flags = OFlag::O_DIRECTORY | OFlag::O_RDONLY | OFlag::O_CLOEXEC;
        open(format!("/proc/{pid}").as_str(), flags, Mode::empty()).ok().map(Self)
    }

    /// `None` when it has ended.
    pub(super) fn stat(&self) -> Option<Stat> {
        read_stat(&self.read("stat", MAX_FILE)?)
    }

    /// Where it is below the root of the unified hierarchy.
    pub(super) fn cgroup(&self) -> Option<String> {
        let text = String::from_utf8(self.read("cgroup", MAX_FILE)?).ok()?;
        text.lines().find_map(|line| line.strip_prefix("0::")).map(str::to_owned)
    }

    /// Where one of its links leads; empty when that cannot be told.
    pub(super) fn link(&self, name: &str) -> String {
        readlinkat(&self.0, name).map(|path| lossy(path.as_encoded_bytes())).unwrap_or_default()
    }

    /// Its command line, as it stands in its memory: it can be changed.
    pub(super) fn arguments(&self) -> Vec<String> {
        let bytes = self.read("cmdline", MAX_CMDLINE).unwrap_or_default();
        let whole = bytes.strip_suffix(b"\0").unwrap_or(&bytes);
        match whole {
            [] => Vec::new(),
            _ => whole.split(|&byte| byte == 0).map(|argument| shorten(lossy(argument))).collect(),
        }
    }

    fn read(&self, name: &str, limit: u64) -> Option<Vec<u8>> {
        let file = openat(&self.0, name, OFlag::O_RDONLY | OFlag::O_CLOEXEC, Mode::empty()).ok()?;
        let mut bytes = Vec::new();
        File::from(file).take(limit).read_to_end(&mut bytes).ok()?;
        Some(bytes)
    }
}

/// Reads `/proc/<pid>/stat`; a process that has ended and waits for its parent is `None`, too.
fn read_stat(line: &[u8]) -> Option<Stat> {
    // The name is in brackets and may contain some.
    let (open, close) =
        (line.iter().position(|&byte| byte == b'(')?, line.iter().rposition(|&byte| byte == b')')?);
    let rest = std::str::from_utf8(line.get(close + 2..)?).ok()?;
    let fields: Vec<&str> = rest.split_ascii_whitespace().collect();
    // Field 3 is the state, 4 the parent, 22 the start.
    if matches!(*fields.first()?, "Z" | "X" | "x") {
        return None;
    }
    let ticks: u64 = fields.get(22 - 3)?.parse().ok()?;
    Some(Stat {
        comm: lossy(line.get(open + 1..close)?),
        parent: fields.get(1)?.parse().ok()?,
        began_ns: ticks.saturating_mul(TICK_NANOS),
    })
}

fn shorten(argument: String) -> String {
    match argument.char_indices().nth(MAX_ARGUMENT) {
        Some((end, _)) => format!("{}…", &argument[..end]),
        None => argument,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_brackets_and_spaces_does_not_shift_the_fields() {
        let fields = "S 41 7 7 0 -1 4194560 0 0 0 0 0 0 0 0 20 0 1 0 250 4096 0";
        let stat = read_stat(format!("42 (a) (b c) {fields}").as_bytes()).unwrap();
        assert_eq!((stat.comm.as_str(), stat.parent, stat.began_ns), ("a) (b c", 41, 2_500_000_000));
    }

    #[test]
    fn what_has_ended_is_nothing() {
        let fields = "Z 41 7 7 0 -1 4194560 0 0 0 0 0 0 0 0 20 0 1 0 250 4096 0";
        assert_eq!(read_stat(format!("42 (sh) {fields}").as_bytes()), None);
        assert_eq!(read_stat(b""), None);
        assert_eq!(read_stat(b"42 (sh)"), None);
    }

    #[test]
    fn a_process_that_ended_is_never_another() {
        let mut child = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        let process = Process::open(child.id()).unwrap();
        // It is there a moment before its memory is.
        while process.arguments().is_empty() {
            std::thread::yield_now();
        }
        assert_eq!(process.arguments(), ["sleep", "60"]);
        child.kill().unwrap();
        child.wait().unwrap();
        assert_eq!((process.stat(), process.arguments()), (None, vec![]));
        assert_eq!((process.link("exe"), process.cgroup()), (String::new(), None));
    }

    #[test]
    fn a_long_argument_is_cut() {
        assert_eq!(shorten("é".repeat(600)).chars().count(), MAX_ARGUMENT + 1);
        assert_eq!(shorten("short".into()), "short");
    }
}
