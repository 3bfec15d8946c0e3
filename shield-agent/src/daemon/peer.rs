//! Who is at the other end of a local socket: the kernel's word, never the peer's.

use std::fs::{self, File};
use std::io;
use std::path::PathBuf;

use tokio::net::UnixStream;

/// A process that may ask.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    pid: i32,
    /// Its cgroup, from the root of the unified hierarchy.
    pub cgroup: String,
}

/// Why a process may not ask.
#[derive(Debug, thiserror::Error)]
pub enum NotPermitted {
    /// Not root.
    #[error("only root may ask this: run the command with sudo")]
    NotRoot,
    /// Inside a gate.
    #[error("an agent cannot ask about gates")]
    Agent,
    /// The kernel does not say.
    #[error("the asking process cannot be identified: {0}")]
    Unknown(io::Error),
}

/// Lets root pass, unless the process is inside an agent's cgroup of any instance.
pub fn check(stream: &UnixStream) -> Result<Peer, NotPermitted> {
    let credentials = stream.peer_cred().map_err(NotPermitted::Unknown)?;
    if credentials.uid() != 0 {
        return Err(NotPermitted::NotRoot);
    }
    let pid = credentials.pid().filter(|&pid| pid > 0);
    let pid = pid.ok_or_else(|| NotPermitted::Unknown(io::ErrorKind::NotFound.into()))?;
    Ok(Peer { pid, cgroup: outside_every_gate(&pid.to_string())? })
}

/// What [`check`] would say of this process: a socket that is closed on us does not say why.
pub fn check_ourselves() -> Result<(), NotPermitted> {
    if !nix::unistd::Uid::effective().is_root() {
        return Err(NotPermitted::NotRoot);
    }
    outside_every_gate("self").map(drop)
}

/// The cgroup of a process, by its name in `/proc`.
fn outside_every_gate(process: &str) -> Result<String, NotPermitted> {
    let membership = fs::read_to_string(format!("/proc/{process}/cgroup")).map_err(NotPermitted::Unknown)?;
    let cgroup = membership.lines().find_map(|line| line.strip_prefix("0::")).unwrap_or_default();
    if in_agents_cgroup(cgroup) { Err(NotPermitted::Agent) } else { Ok(cgroup.to_owned()) }
}

impl Peer {
    /// Its network namespace.
    pub fn netns(&self) -> io::Result<File> {
        File::open(PathBuf::from(format!("/proc/{}/ns/net", self.pid)))
    }
}

/// Whether a cgroup is an agent's: `…/agent-shield/<instance>/agents/<agent>…`.
fn in_agents_cgroup(cgroup: &str) -> bool {
    let parts: Vec<&str> = cgroup.split('/').collect();
    parts.windows(3).any(|parts| parts[0] == "agent-shield" && parts[2] == "agents")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_inside_any_agents_cgroup_is_known() {
        assert!(in_agents_cgroup("/agent-shield/default/agents/bot/below"));
        assert!(!in_agents_cgroup("/user.slice/agent-shield.service"));
        assert!(!in_agents_cgroup("/agent-shield/default/proxy/bot"));
    }

    #[tokio::test]
    async fn root_outside_every_gate_may_ask() {
        let (ours, _theirs) = UnixStream::pair().unwrap();
        let allowed = check(&ours);
        match nix::unistd::Uid::effective().is_root() {
            true => assert_eq!(allowed.unwrap().pid, std::process::id().cast_signed()),
            false => assert!(matches!(allowed, Err(NotPermitted::NotRoot))),
        }
    }
}
