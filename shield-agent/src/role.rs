//! The other side of [`crate::daemon`]'s spawning: a process becomes one role and nothing else.
//!
//! Born as root with one socket, a role closes every other descriptor, learns who it is, gives up everything for good
//! and only then starts a second thread or looks at a message of its work.

mod approver;
mod cage;
mod signer;
mod worker;

use std::fmt;
use std::fs::OpenOptions;
use std::io;
use std::os::fd::{AsFd as _, OwnedFd};

use clap::ValueEnum;
use nix::sys::prctl;
use nix::sys::resource::{Resource, setrlimit};
use nix::sys::signal::Signal;
use nix::unistd::{Gid, Uid, getppid};
use tokio::net::UnixStream;

use crate::capture::CaptureError;
use crate::capture::listeners;
use crate::ipc::fds;
use crate::ipc::frame::FrameError;
use crate::ipc::supervisor::{Duty, Start};
use crate::launch::{LaunchError, launcher};
use crate::privileges::{self, Identity, PrivilegeError};

/// The roles a process can take. Only the supervisor starts them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum RoleKind {
    /// Serves agents' connections.
    Worker,
    /// Keeps holds, decisions and the journal.
    Approver,
    /// Keeps the CA's key.
    Signer,
    /// Opens an agent's sockets in its network namespace, then ends.
    Listeners,
    /// Starts an agent and attends to it.
    Launcher,
}

impl RoleKind {
    /// Its name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Worker => "worker",
            Self::Approver => "approver",
            Self::Signer => "signer",
            Self::Listeners => "listeners",
            Self::Launcher => "launcher",
        }
    }
}

impl fmt::Display for RoleKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Why a role ended.
#[derive(Debug, thiserror::Error)]
pub enum RoleEnd {
    /// Not started by the supervisor.
    #[error("a role is started by `shield daemon`, not by hand")]
    NotSpawned(#[source] FrameError),
    /// The process outlived its supervisor.
    #[error("the supervisor is gone")]
    Orphaned,
    /// The first message is for another role, or lacks descriptors.
    #[error("the supervisor's first message is for another role")]
    WrongDuty,
    /// A standard stream could not be set up.
    #[error("the role's descriptors could not be set up")]
    Descriptors(#[source] io::Error),
    /// A privilege could not be dropped.
    #[error("the role could not give up its privileges")]
    Privileges(#[source] PrivilegeError),
    /// A limit of the process could not be set.
    #[error("the role could not limit itself")]
    Limits(#[source] nix::errno::Errno),
    /// What the role has no use for could not be taken away.
    #[error("the role could not lock itself in")]
    Cage(#[source] cage::CageError),
    /// The listeners' helper failed.
    #[error(transparent)]
    Listeners(#[from] CaptureError),
    /// The launcher failed.
    #[error(transparent)]
    Launcher(#[from] LaunchError),
    /// The role's own work failed.
    #[error(transparent)]
    Work(Box<dyn std::error::Error + Send + Sync>),
}

impl RoleEnd {
    fn work(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self::Work(error.into())
    }
}

/// What a role starts with: the supervisor's channel and what came over it.
struct Belongings {
    supervisor: std::os::unix::net::UnixStream,
    duty: Duty,
    descriptors: Vec<OwnedFd>,
}

/// Runs a role until it ends. The process must have one thread and own no descriptor but the standard streams.
pub fn run(kind: RoleKind) -> Result<(), RoleEnd> {
    privileges::close_from(3).map_err(RoleEnd::Privileges)?;
    match kind {
        RoleKind::Listeners => return Ok(listeners::helper_main()?),
        RoleKind::Launcher => return Ok(launcher::main()?),
        RoleKind::Worker | RoleKind::Approver | RoleKind::Signer => {}
    }
    let belongings = settle()?;
    // One thread: handing work to another costs more than most of it. The worker adds lanes for its connections.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(RoleEnd::Descriptors)?;
    runtime.block_on(async {
        match kind {
            RoleKind::Worker => worker::run(belongings).await,
            RoleKind::Approver => approver::run(belongings).await,
            RoleKind::Signer => signer::run(belongings).await,
            RoleKind::Listeners | RoleKind::Launcher => Ok(()),
        }
    })
}

/// Learns who it is and becomes just that.
fn settle() -> Result<Belongings, RoleEnd> {
    let inherited = take_standard_input().map_err(RoleEnd::Descriptors)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build();
    let (start, descriptors, supervisor) = runtime.map_err(RoleEnd::Descriptors)?.block_on(async {
        let not_a_channel = |error| RoleEnd::NotSpawned(FrameError::Io(error));
        let channel = UnixStream::from_std(inherited).map_err(not_a_channel)?;
        let (start, descriptors) = fds::receive::<Start>(&channel).await.map_err(RoleEnd::NotSpawned)?;
        Ok::<_, RoleEnd>((start, descriptors, channel.into_std().map_err(RoleEnd::Descriptors)?))
    })?;
    confine(&start)?;
    if !cage::close(&start.duty).map_err(RoleEnd::Cage)? {
        tracing::info!("this kernel has no Landlock: the role is kept from files by its user alone");
    }
    Ok(Belongings { supervisor, duty: start.duty, descriptors })
}

/// The socket we inherited, moved away from standard input, which becomes empty.
fn take_standard_input() -> io::Result<std::os::unix::net::UnixStream> {
    let inherited = io::stdin().as_fd().try_clone_to_owned()?;
    let nothing = OpenOptions::new().read(true).open("/dev/null")?;
    nix::unistd::dup2_stdin(&nothing)?;
    let channel = std::os::unix::net::UnixStream::from(inherited);
    channel.set_nonblocking(true)?;
    Ok(channel)
}

/// Gives up everything a role does not need. Order matters: changing the user resets the death signal and the
/// dumpable flag.
fn confine(start: &Start) -> Result<(), RoleEnd> {
    setrlimit(Resource::RLIMIT_CORE, 0, 0).map_err(RoleEnd::Limits)?;
    let (uid, gid) = (Uid::from_raw(start.uid), Gid::from_raw(start.gid));
    privileges::become_identity(&Identity { uid, gid, groups: vec![] }).map_err(RoleEnd::Privileges)?;
    prctl::set_pdeathsig(Signal::SIGKILL).map_err(RoleEnd::Limits)?;
    prctl::set_dumpable(false).map_err(RoleEnd::Limits)?;
    // The supervisor may have died before the line above.
    if getppid().as_raw() != start.supervisor.cast_signed() {
        return Err(RoleEnd::Orphaned);
    }
    nix::sys::stat::umask(nix::sys::stat::Mode::from_bits_truncate(0o077));
    Ok(())
}

/// A descriptor as the Unix stream it is, for the running runtime.
fn stream(descriptor: OwnedFd) -> Result<UnixStream, RoleEnd> {
    let stream = std::os::unix::net::UnixStream::from(descriptor);
    stream.set_nonblocking(true).map_err(RoleEnd::Descriptors)?;
    UnixStream::from_std(stream).map_err(RoleEnd::Descriptors)
}
