//! Real processes, asked about as the hooks would have recorded them.

use std::process::{Child, Command};

use super::*;

/// A process of ours that lives until this is dropped.
struct Living(Child);

impl Living {
    fn start() -> Self {
        let child = Command::new("sleep").arg("60").spawn().unwrap();
        // It is there a moment before its memory is.
        while Process::open(child.id()).unwrap().arguments() != ["sleep", "60"] {
            std::thread::yield_now();
        }
        Self(child)
    }
}

impl Drop for Living {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn now_ns() -> u64 {
    nanos(ClockId::CLOCK_MONOTONIC).unwrap()
}

/// Asks about `pid` as the hooks would have recorded it.
fn asked(pid: u32, connected_at_ns: u64) -> Option<Asked> {
    let cgroup = Process::open(pid)?.cgroup()?;
    let cgroup_id = cgroup::id(&cgroup2_mount().ok()?, &cgroup)?;
    Some(Asked { ask: 1, pid, connected_at_ns, cgroup_id })
}

fn found(asked: Asked) -> Found {
    find(asked, &cgroup2_mount().unwrap(), &mut HashMap::new())
}

#[test]
fn a_living_process_is_described() {
    let child = Living::start();
    let Some(asked) = asked(child.0.id(), now_ns()) else { return };
    let found = found(asked).facts;
    assert!(found.exe.ends_with("sleep") || found.exe.ends_with("coreutils"), "{}", found.exe);
    assert_eq!((found.cmdline, found.exited), (vec!["sleep".to_owned(), "60".to_owned()], false));
    assert_eq!(found.cwd, std::env::current_dir().unwrap().to_str().unwrap());
    let ourselves = std::env::current_exe().unwrap();
    assert_eq!(
        (found.ancestry[0].pid, found.ancestry[0].exe.as_str()),
        (std::process::id(), ourselves.to_str().unwrap())
    );
    assert!(found.ancestry.len() <= MAX_ANCESTORS);
    let age = Timestamp::now().duration_since(found.start_time.unwrap());
    assert!((0..60).contains(&age.as_secs()), "{age}");
}

#[test]
fn a_process_that_began_after_the_connection_is_not_the_one_that_made_it() {
    let child = Living::start();
    let Some(asked) = asked(child.0.id(), now_ns()) else { return };
    // As if the number had belonged to another process when the connection was made.
    let before = found(Asked { connected_at_ns: asked.connected_at_ns - 5_000_000_000, ..asked });
    assert_eq!(before.facts, CallerFacts { exited: true, ..CallerFacts::default() });
}

#[test]
fn a_process_in_another_cgroup_than_the_connections_is_not_described() {
    let child = Living::start();
    let Some(asked) = asked(child.0.id(), now_ns()) else { return };
    let elsewhere = found(Asked { cgroup_id: asked.cgroup_id + 1, ..asked });
    assert_eq!((elsewhere.facts, elsewhere.cgroup.as_str()), (CallerFacts::default(), ""));
}

#[test]
fn a_process_that_has_exited_is_said_to_have() {
    let child = Living::start();
    let Some(asked) = asked(child.0.id(), now_ns()) else { return };
    drop(child);
    assert_eq!(found(asked).facts, CallerFacts { exited: true, ..CallerFacts::default() });
}

#[test]
fn ancestors_are_remembered_for_one_process_and_not_for_its_number() {
    let child = Living::start();
    let Some(asked) = asked(child.0.id(), now_ns()) else { return };
    let mut known = HashMap::new();
    find(asked, &cgroup2_mount().unwrap(), &mut known);
    let ((pid, began), remembered) = known.iter().next().unwrap();
    let same = Stat { comm: String::new(), parent: 0, began_ns: *began };
    let another = Stat { began_ns: began + 1, ..same.clone() };
    let (pid, expected) = (*pid, Arc::clone(remembered));
    assert_eq!(ancestry(pid, &same, &mut known), expected);
    assert!(ancestry(pid, &another, &mut known).is_empty());
}
