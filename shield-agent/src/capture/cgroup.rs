//! Where agents live: `<cgroup2>/agent-shield/<instance>/agents/<agent>`, with a twin under `proxy/` for the sockets
//! that serve them.
//!
//! Directly under the mount and owned by root, so never inside a subtree that was delegated to a user: whoever owns
//! a subtree can move processes out of it.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use super::error::CaptureError;
use super::guard;
use super::pins::instance_name;
use crate::names::AgentName;

const TOP: &str = "agent-shield";

/// The cgroups of one instance.
#[derive(Clone, Debug)]
pub struct Cgroups {
    root: PathBuf,
    guard: Option<PathBuf>,
}

/// What the hooks of one agent are attached to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AgentCgroups {
    /// Its processes; the gate's hooks are attached here.
    pub agent: PathBuf,
    /// Empty but for the moment its listeners are opened: the sockets keep belonging to it, and the hook that claims
    /// records is attached here.
    pub proxy: PathBuf,
    /// One above `agent`, where the guard's hooks are attached; without it there is no guard.
    pub guard: Option<PathBuf>,
}

impl Cgroups {
    /// Finds the cgroup2 mount; creates nothing.
    pub fn find(instance: &str) -> Result<Self, CaptureError> {
        let instance = instance_name(instance)?;
        Ok(Self { root: cgroup2_mount()?.join(TOP).join(instance), guard: None })
    }

    /// With a guard on a cgroup that must be above every agent's.
    pub fn guarded_by(self, guard: Option<&Path>) -> Result<Self, CaptureError> {
        let guard = guard.map(|guard| guard::fit(guard, &self.root)).transpose()?;
        Ok(Self { guard, ..self })
    }

    /// The instance's own directory, above all its agents'.
    pub fn instance(&self) -> &Path {
        &self.root
    }

    /// Where an agent's cgroups are or would be.
    pub fn of(&self, agent: &AgentName) -> AgentCgroups {
        AgentCgroups {
            agent: self.root.join("agents").join(agent.as_str()),
            proxy: self.root.join("proxy").join(agent.as_str()),
            guard: self.guard.clone(),
        }
    }

    /// Creates an agent's cgroups, or finds them.
    pub fn create(&self, agent: &AgentName) -> Result<AgentCgroups, CaptureError> {
        let cgroups = self.of(agent);
        for path in [&cgroups.agent, &cgroups.proxy] {
            fs::create_dir_all(path).map_err(cgroup_error("create", path))?;
        }
        Ok(cgroups)
    }

    /// Removes an agent's cgroups, and the instance's directories when they became empty. Fails while a process
    /// lives in them. Only after [`super::Gate::detach`]: removing a cgroup leaves its links hanging in the air.
    pub fn remove(&self, agent: &AgentName) -> Result<(), CaptureError> {
        let cgroups = self.of(agent);
        for path in [&cgroups.agent, &cgroups.proxy] {
            remove_tree(path).map_err(cgroup_error("remove", path))?;
        }
        for path in [self.root.join("agents"), self.root.join("proxy"), self.root.clone()] {
            // Other agents may live there.
            let _ = fs::remove_dir(path);
        }
        Ok(())
    }
}

/// Moves the calling process into `cgroup`, with all its threads.
pub fn enter(cgroup: &Path) -> Result<(), CaptureError> {
    fs::write(cgroup.join("cgroup.procs"), "0").map_err(cgroup_error("enter", cgroup))
}

/// Where cgroup2 is mounted, hybrid hierarchies included.
pub fn cgroup2_mount() -> Result<PathBuf, CaptureError> {
    // It is asked for with every connection, and the kernel makes the table anew for each reader.
    static FOUND: OnceLock<PathBuf> = OnceLock::new();
    if let Some(found) = FOUND.get() {
        return Ok(found.clone());
    }
    let mounts = Path::new("/proc/self/mounts");
    let table = fs::read_to_string(mounts).map_err(cgroup_error("find the mount of", mounts))?;
    let found = cgroup2_in(&table).ok_or(CaptureError::NoCgroup2)?;
    Ok(FOUND.get_or_init(|| found).clone())
}

/// The mount point of the first cgroup2 file system in a table like `/proc/self/mounts`.
fn cgroup2_in(table: &str) -> Option<PathBuf> {
    table.lines().find_map(|line| {
        let mut words = line.split(' ');
        let (_, place, kind) = (words.next()?, words.next()?, words.next()?);
        (kind == "cgroup2").then(|| PathBuf::from(place.replace("\\040", " ")))
    })
}

/// Removes a cgroup and the ones below it, deepest first. One that is not there is removed.
pub fn remove_tree(path: &Path) -> io::Result<()> {
    let entries = match fs::read_dir(path) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    for entry in entries {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            remove_tree(&entry.path())?;
        }
    }
    fs::remove_dir(path)
}

pub(super) fn cgroup_error(act: &'static str, path: &Path) -> impl FnOnce(io::Error) -> CaptureError {
    move |source| CaptureError::Cgroup { act, path: path.to_owned(), source }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cgroup2_mount_is_found_in_a_hybrid_hierarchy() {
        let hybrid = "tmpfs /sys/fs/cgroup tmpfs rw 0 0\n\
                      cgroup /sys/fs/cgroup/memory cgroup rw,memory 0 0\n\
                      cgroup2 /sys/fs/cgroup/unified cgroup2 rw,relatime 0 0\n";
        assert_eq!(cgroup2_in(hybrid), Some(PathBuf::from("/sys/fs/cgroup/unified")));
    }

    #[test]
    fn the_cgroup2_mount_is_found_in_a_unified_hierarchy_and_its_name_is_unescaped() {
        assert_eq!(cgroup2_in("cgroup2 /a\\040b cgroup2 rw 0 0"), Some(PathBuf::from("/a b")));
    }

    #[test]
    fn a_host_without_cgroup2_is_told_so() {
        assert_eq!(cgroup2_in("cgroup /sys/fs/cgroup/cpu cgroup rw,cpu 0 0\n"), None);
    }

    #[test]
    fn removing_removes_the_deepest_first_and_what_is_missing_is_removed() {
        let scratch = tempfile::tempdir().unwrap();
        let tree = scratch.path().join("agent");
        fs::create_dir_all(tree.join("a/b/c")).unwrap();
        fs::create_dir_all(tree.join("d")).unwrap();
        remove_tree(&tree).unwrap();
        assert!(!tree.exists());
        remove_tree(&tree).unwrap();
    }
}
