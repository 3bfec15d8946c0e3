//! Starting one role: the same program again, with nothing of ours but one socket.

use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::process::{ExitStatus, Stdio};
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::net::UnixStream;
use tokio::process::{Child, Command};
use tokio::time::timeout;

use super::users::RoleUser;
use crate::ipc::fds;
use crate::ipc::frame::FrameError;
use crate::ipc::supervisor::{Duty, Start};
use crate::role::RoleKind;

/// This very program, even when its file was replaced by a newer one.
pub const OURSELVES: &str = "/proc/self/exe";

/// The one variable a role keeps: how much it logs.
const LOG_VARIABLE: &str = "SHIELD_LOG";

/// How long a role may take to take a message.
const SAY_TIMEOUT: Duration = Duration::from_secs(5);

/// A role's process and our end of its channel.
#[derive(Debug)]
pub struct Role {
    kind: RoleKind,
    child: Child,
    channel: Arc<UnixStream>,
}

/// Why a role is not there.
#[derive(Debug, thiserror::Error)]
pub enum RoleError {
    /// Its process could not be started.
    #[error("the {0} could not be started")]
    Spawn(RoleKind, #[source] io::Error),
    /// It ended.
    #[error("the {0} ended ({1})")]
    Ended(RoleKind, ExitStatus),
    /// Its channel broke while it lives.
    #[error("the channel to the {0} broke")]
    Channel(RoleKind, #[source] FrameError),
    /// It said something it may not say now.
    #[error("the {0} did not answer as it must: {1}")]
    Unexpected(RoleKind, String),
    /// It stayed silent.
    #[error("the {0} did not answer within {1:?}")]
    Silent(RoleKind, Duration),
}

impl Role {
    /// Starts the process and tells it who it is. It dies with this thread's process, whatever happens to either.
    pub async fn start(
        kind: RoleKind,
        user: RoleUser,
        duty: Duty,
        descriptors: &[BorrowedFd<'_>],
    ) -> Result<Self, RoleError> {
        let (ours, theirs) = UnixStream::pair().map_err(|error| RoleError::Spawn(kind, error))?;
        let child = spawn(kind, theirs).map_err(|error| RoleError::Spawn(kind, error))?;
        let mut role = Self { kind, child, channel: Arc::new(ours) };
        let start = Start { uid: user.uid, gid: user.gid, supervisor: std::process::id(), duty };
        role.say(&start, descriptors).await?;
        Ok(role)
    }

    /// Sends a message and the descriptors it speaks of. A role that does not take it is as good as gone.
    pub async fn say<M: Serialize>(
        &mut self,
        message: &M,
        descriptors: &[BorrowedFd<'_>],
    ) -> Result<(), RoleError> {
        match timeout(SAY_TIMEOUT, fds::send(&self.channel, message, descriptors)).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(self.fate(error).await),
            Err(_) => Err(RoleError::Silent(self.kind, SAY_TIMEOUT)),
        }
    }

    /// Waits for a message that is due.
    pub async fn hear_within<M: DeserializeOwned>(&mut self, within: Duration) -> Result<M, RoleError> {
        match timeout(within, fds::receive(&self.channel)).await {
            Ok(Ok((message, _))) => Ok(message),
            Ok(Err(error)) => Err(self.fate(error).await),
            Err(_) => Err(RoleError::Silent(self.kind, within)),
        }
    }

    /// Our end of the channel, for whoever listens from now on.
    pub fn channel(&self) -> Arc<UnixStream> {
        Arc::clone(&self.channel)
    }

    /// Kills the process and waits until it is gone: two approvers must never write one store.
    pub async fn end(&mut self) {
        if let Err(error) = self.child.kill().await {
            tracing::warn!("the {} could not be ended: {error}", self.kind);
        }
    }

    /// Why the channel broke. It is nearly always a process that has ended: its exit status says more.
    pub async fn fate(&mut self, error: FrameError) -> RoleError {
        match timeout(Duration::from_secs(1), self.child.wait()).await {
            Ok(Ok(status)) => RoleError::Ended(self.kind, status),
            _ => RoleError::Channel(self.kind, error),
        }
    }
}

fn spawn(kind: RoleKind, channel: UnixStream) -> io::Result<Child> {
    let channel = channel.into_std()?;
    // The other side takes it as it is; ours is set anew by tokio.
    channel.set_nonblocking(true)?;
    let mut command = Command::new(OURSELVES);
    command.arg0("shield").args(["role", kind.name()]);
    command.env_clear().envs(std::env::var_os(LOG_VARIABLE).map(|value| (LOG_VARIABLE, value)));
    command.current_dir("/").stdin(OwnedFd::from(channel)).stdout(Stdio::null());
    command.kill_on_drop(true).spawn()
}
