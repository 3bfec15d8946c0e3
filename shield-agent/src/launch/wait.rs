//! The parent's part: pass signals on to the agent, and end as it ended.

use std::os::unix::process::ExitStatusExt as _;
use std::process::ExitStatus;

use nix::sys::signal::{SigSet, Signal, kill};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

use super::LaunchError;

/// Signals meant for the agent.
const FORWARDED: &[Signal] = &[
    Signal::SIGINT,
    Signal::SIGTERM,
    Signal::SIGHUP,
    Signal::SIGQUIT,
    Signal::SIGUSR1,
    Signal::SIGUSR2,
    Signal::SIGWINCH,
];

/// Signals held back from this process so that none is lost between fork and wait.
#[derive(Debug)]
pub(super) struct Signals {
    before: SigSet,
    arrivals: SignalFd,
}

impl Signals {
    /// Holds them back from now on.
    pub(super) fn block() -> Result<Self, LaunchError> {
        let mut awaited: SigSet = FORWARDED.iter().copied().collect();
        awaited.add(Signal::SIGCHLD);
        let failed = |errno: nix::errno::Errno| LaunchError::setup("holding back", "signals")(errno.into());
        let before = SigSet::thread_get_mask().map_err(failed)?;
        awaited.thread_block().map_err(failed)?;
        let arrivals = SignalFd::with_flags(&awaited, SfdFlags::SFD_CLOEXEC).map_err(failed)?;
        Ok(Self { before, arrivals })
    }

    /// Restores what was before; for the child, whose command expects its caller's signals.
    pub(super) fn unblock(&self) -> Result<(), LaunchError> {
        self.before
            .thread_set_mask()
            .map_err(|errno| LaunchError::setup("restoring", "signals")(errno.into()))
    }

    /// Passes signals on to `child` until it ends.
    pub(super) fn forward_until_exit(&self, child: Pid) -> Result<ExitStatus, LaunchError> {
        let failed = |errno: nix::errno::Errno| LaunchError::setup("waiting for", "the agent")(errno.into());
        loop {
            match waitpid(child, Some(WaitPidFlag::WNOHANG)).map_err(failed)? {
                WaitStatus::Exited(_, code) => return Ok(ExitStatus::from_raw(code << 8)),
                WaitStatus::Signaled(_, signal, _) => return Ok(ExitStatus::from_raw(signal as i32)),
                _ => {}
            }
            let Some(arrival) = self.arrivals.read_signal().map_err(failed)? else { continue };
            // A signal of the terminal has reached the agent already: it is in the same process group.
            let from_terminal = arrival.ssi_code == libc::SI_KERNEL;
            let signal =
                i32::try_from(arrival.ssi_signo).ok().and_then(|number| Signal::try_from(number).ok());
            if let Some(signal) = signal.filter(|&signal| signal != Signal::SIGCHLD && !from_terminal) {
                // It may have ended meanwhile; the next round finds out.
                let _: Result<(), nix::errno::Errno> = kill(child, signal);
            }
        }
    }
}
