//! A systemd unit's cgroup: as systemd says, or, where it does not answer, by its name in the hierarchy.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::{NotFound, tree};
use crate::capture::cgroup::cgroup2_mount;

/// There when systemd runs the host.
const RUNS_SYSTEMD: &str = "/run/systemd/system";

/// Kinds of units that have processes.
const KINDS: [&str; 3] = [".service", ".slice", ".scope"];

/// A unit and where its processes are.
#[derive(Debug, PartialEq, Eq)]
pub struct Unit {
    /// Its full name.
    pub name: String,
    /// Its cgroup.
    pub cgroup: PathBuf,
}

/// Finds a unit of the system manager; a name without a kind is a service's.
pub fn find(given: &str) -> Result<Unit, NotFound> {
    let name = full_name(given)?;
    let root = cgroup2_mount()?;
    let asked = Path::new(RUNS_SYSTEMD).is_dir().then(|| ask_systemd(&name)).flatten();
    match asked {
        Some(control_group) => {
            let cgroup = root.join(control_group.trim_start_matches('/'));
            let runs = !control_group.is_empty() && cgroup.is_dir();
            if runs { Ok(Unit { name, cgroup }) } else { Err(NotFound::UnitGone(name)) }
        }
        None => search(&root, name),
    }
}

fn search(root: &Path, name: String) -> Result<Unit, NotFound> {
    let mut found = tree::find(root, |directory| directory == name)?;
    match (found.pop(), found.is_empty()) {
        (Some(cgroup), true) => Ok(Unit { name, cgroup }),
        (None, _) => Err(NotFound::UnitGone(name)),
        (Some(last), false) => {
            found.push(last);
            Err(NotFound::Ambiguous { given: name, found })
        }
    }
}

fn full_name(given: &str) -> Result<String, NotFound> {
    let wanted = "the name of a systemd service, slice or scope";
    let fits = |letter: char| letter.is_ascii_alphanumeric() || ":-_.\\@".contains(letter);
    let bad =
        given.is_empty() || given.len() > 255 || given.starts_with(['-', '.']) || !given.chars().all(fits);
    if bad {
        return Err(NotFound::Name { given: given.to_owned(), wanted });
    }
    match given.rsplit_once('.') {
        Some((_, kind)) if KINDS.iter().any(|known| known[1..] == *kind) => Ok(given.to_owned()),
        Some((_, "socket" | "timer" | "mount" | "target" | "path" | "device" | "swap" | "automount")) => {
            Err(NotFound::Name { given: given.to_owned(), wanted })
        }
        _ => Ok(format!("{given}.service")),
    }
}

/// Path of the unit's cgroup in its hierarchy, empty when it does not run; `None` when systemd does not answer.
fn ask_systemd(name: &str) -> Option<String> {
    let mut systemctl = Command::new("systemctl");
    systemctl.args(["show", "--property=ControlGroup", "--value", "--", name]);
    let output = systemctl.stdin(Stdio::null()).stderr(Stdio::null()).output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_without_a_kind_is_a_services_and_what_has_no_processes_is_refused() {
        for (given, full) in [
            ("cleanup", "cleanup.service"),
            ("cleanup.service", "cleanup.service"),
            ("agents-x.slice", "agents-x.slice"),
            ("getty@tty1", "getty@tty1.service"),
            ("org.example.bot", "org.example.bot.service"),
        ] {
            assert_eq!(full_name(given).unwrap(), full);
        }
        for given in ["", "a/b", "../x", "--now", "x.socket", "x.timer", "a b", ".service"] {
            assert!(matches!(full_name(given), Err(NotFound::Name { .. })), "{given}");
        }
    }

    #[test]
    fn a_unit_is_found_wherever_it_is_and_two_of_a_name_are_told() {
        let root = tempfile::tempdir().unwrap();
        let deep = root.path().join("system.slice/system-x.slice/cleanup.service");
        std::fs::create_dir_all(&deep).unwrap();
        let unit = search(root.path(), "cleanup.service".into()).unwrap();
        assert_eq!(unit.cgroup, deep);
        assert!(matches!(search(root.path(), "other.service".into()), Err(NotFound::UnitGone(_))));
        std::fs::create_dir_all(root.path().join("user.slice/cleanup.service")).unwrap();
        let twice = search(root.path(), "cleanup.service".into()).unwrap_err();
        assert!(matches!(twice, NotFound::Ambiguous { ref found, .. } if found.len() == 2), "{twice}");
    }
}
