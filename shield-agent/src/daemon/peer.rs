//! Who is at the other end of a local socket, and what it may ask: the kernel's word, never the peer's.

use std::fs::{self, File};
use std::io;
use std::os::fd::{AsFd as _, AsRawFd as _, FromRawFd as _, OwnedFd, RawFd};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use tokio::net::UnixStream;

use crate::ipc::gate::GateRequest;
use crate::ipc::launch::Whom;

/// A process outside every gate.
#[derive(Debug)]
pub struct Peer {
    /// Its number, as we see it.
    pub pid: u32,
    /// Its user.
    pub uid: u32,
    /// Its cgroup, from the root of the unified hierarchy.
    pub cgroup: String,
    gid: u32,
    groups: Vec<u32>,
    process: OwnedFd,
}

/// Why a process may not ask.
#[derive(Debug, thiserror::Error)]
pub enum NotPermitted {
    /// Not root.
    #[error("only root may ask this: run the command with sudo")]
    NotRoot,
    /// Not as another user.
    #[error("only root may start agents of other users: leave --user out, or use sudo")]
    OtherUser,
    /// Inside a gate.
    #[error("an agent cannot ask about gates")]
    Agent,
    /// The kernel does not say.
    #[error("the asking process cannot be identified: {0}")]
    Unknown(io::Error),
}

/// Lets root pass, unless the process is inside an agent's cgroup of any instance.
pub fn check(stream: &UnixStream) -> Result<(), NotPermitted> {
    let peer = identify(stream)?;
    if peer.uid == 0 { Ok(()) } else { Err(NotPermitted::NotRoot) }
}

/// Finds out who is there; a process inside an agent's cgroup of any instance is nobody.
pub fn identify(stream: &UnixStream) -> Result<Peer, NotPermitted> {
    let credentials = stream.peer_cred().map_err(NotPermitted::Unknown)?;
    let pid = credentials.pid().and_then(|pid| u32::try_from(pid).ok()).filter(|&pid| pid > 0);
    let pid = pid.ok_or_else(|| NotPermitted::Unknown(io::ErrorKind::NotFound.into()))?;
    let peer = Peer {
        pid,
        uid: credentials.uid(),
        gid: credentials.gid(),
        groups: groups(stream).map_err(NotPermitted::Unknown)?,
        process: process(stream, pid).map_err(NotPermitted::Unknown)?,
        cgroup: outside_every_gate(&pid.to_string())?,
    };
    // What was read about the number is about this process only if it lives still.
    if peer.has_ended() { Err(NotPermitted::Unknown(io::ErrorKind::NotFound.into())) } else { Ok(peer) }
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
        File::open(format!("/proc/{}/ns/net", self.pid))
    }

    /// Its process, which cannot be mistaken for another.
    pub fn process(&self) -> io::Result<OwnedFd> {
        self.process.try_clone()
    }

    /// Whether it may ask this: root everything, others for agents of their own.
    pub fn may(&self, request: &GateRequest) -> Result<(), NotPermitted> {
        match request {
            _ if self.uid == 0 => Ok(()),
            GateRequest::Agents => Ok(()),
            GateRequest::Run { uid, .. } if *uid == self.uid => Ok(()),
            GateRequest::Run { .. } => Err(NotPermitted::OtherUser),
            _ => Err(NotPermitted::NotRoot),
        }
    }

    /// Whom an agent of user `uid` that this peer asks for runs as.
    pub fn whom(&self, uid: u32) -> Whom {
        match uid == self.uid {
            true => Whom::Caller { uid, gid: self.gid, groups: self.groups.clone() },
            false => Whom::User(uid),
        }
    }

    fn has_ended(&self) -> bool {
        let ended = poll(&mut [PollFd::new(self.process.as_fd(), PollFlags::POLLIN)], PollTimeout::ZERO);
        ended != Ok(0)
    }
}

/// The supplementary groups of the peer when it connected.
fn groups(stream: &UnixStream) -> io::Result<Vec<u32>> {
    let mut groups = vec![0_u32; 1 << 16];
    let mut size = libc::socklen_t::try_from(size_of_val(&groups[..])).map_err(io::Error::other)?;
    let at = groups.as_mut_ptr().cast();
    // SAFETY: `groups` has the size `size` says: as many as a process can have.
    let result = unsafe {
        libc::getsockopt(stream.as_raw_fd(), libc::SOL_SOCKET, libc::SO_PEERGROUPS, at, &raw mut size)
    };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    groups.truncate(size as usize / size_of::<u32>());
    Ok(groups)
}

/// A descriptor of the process that connected; before Linux 6.5 of the one that has its number now.
fn process(stream: &UnixStream, pid: u32) -> io::Result<OwnedFd> {
    let mut descriptor: RawFd = -1;
    let mut size = size_of::<RawFd>() as libc::socklen_t;
    let at = (&raw mut descriptor).cast();
    // SAFETY: `descriptor` has the size `size` says.
    let result = unsafe {
        libc::getsockopt(stream.as_raw_fd(), libc::SOL_SOCKET, libc::SO_PEERPIDFD, at, &raw mut size)
    };
    if result < 0 {
        return open(pid);
    }
    owned(descriptor)
}

/// A descriptor of the process that has this number now.
pub(super) fn open(pid: u32) -> io::Result<OwnedFd> {
    // SAFETY: the call takes plain numbers.
    let opened = unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) };
    owned(RawFd::try_from(opened).map_err(io::Error::other)?)
}

fn owned(descriptor: RawFd) -> io::Result<OwnedFd> {
    if descriptor < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel has just made it for us; nothing else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(descriptor) })
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
    async fn the_kernel_says_who_asks_and_only_root_may_ask_everything() {
        let (ours, _theirs) = UnixStream::pair().unwrap();
        let mut peer = identify(&ours).unwrap();
        assert_eq!((peer.pid, peer.uid), (std::process::id(), nix::unistd::geteuid().as_raw()));
        assert_eq!(
            peer.groups,
            nix::unistd::getgroups().unwrap().iter().map(|gid| gid.as_raw()).collect::<Vec<_>>()
        );
        assert_eq!(check(&ours).is_ok(), peer.uid == 0);

        let agent = || "bot".parse().unwrap();
        let run = |uid| GateRequest::Run { agent: agent(), uid, strict: false };
        peer.uid = 0;
        assert!(peer.may(&GateRequest::PolicyReload).is_ok() && peer.may(&run(1000)).is_ok());
        peer.uid = 1000;
        assert!(peer.may(&run(1000)).is_ok() && peer.may(&GateRequest::Agents).is_ok());
        assert!(matches!(peer.may(&run(1001)), Err(NotPermitted::OtherUser)));
        for roots in [
            GateRequest::PolicyReload,
            GateRequest::Detach { agent: agent() },
            GateRequest::Attach { agent: agent(), cgroup: "/x".into() },
            GateRequest::AttachProcess { agent: agent(), pid: 1 },
            GateRequest::Freeze { agent: agent() },
            GateRequest::Thaw { agent: agent() },
        ] {
            assert!(matches!(peer.may(&roots), Err(NotPermitted::NotRoot)), "{roots:?}");
        }
    }

    #[tokio::test]
    async fn a_peer_keeps_its_ids_and_root_may_name_another_user() {
        let (ours, _theirs) = UnixStream::pair().unwrap();
        let mut peer = identify(&ours).unwrap();
        (peer.uid, peer.gid, peer.groups) = (1000, 100, vec![4, 5]);
        assert_eq!(peer.whom(1000), Whom::Caller { uid: 1000, gid: 100, groups: vec![4, 5] });
        peer.uid = 0;
        assert_eq!(peer.whom(1000), Whom::User(1000));
    }
}
