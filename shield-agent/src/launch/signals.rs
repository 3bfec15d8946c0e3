//! The caller's signals: held back, so that each can be passed on to the agent.

use nix::errno::Errno;
use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, sigaction};
use nix::sys::signalfd::{SfdFlags, SignalFd};

use super::LaunchError;

/// Signals meant for the agent.
pub(super) const FORWARDED: &[Signal] = &[
    Signal::SIGINT,
    Signal::SIGTERM,
    Signal::SIGHUP,
    Signal::SIGQUIT,
    Signal::SIGUSR1,
    Signal::SIGUSR2,
    Signal::SIGTSTP,
];

/// Signals meant for us.
const OURS: &[Signal] = &[Signal::SIGCONT, Signal::SIGWINCH];

/// Signals held back from this process.
#[derive(Debug)]
pub(super) struct Signals(pub(super) SignalFd);

/// One that arrived.
#[derive(Clone, Copy, Debug)]
pub(super) struct Arrival {
    pub(super) signal: Signal,
    /// The terminal sends its signals to a whole process group, everybody else to one process.
    pub(super) from_terminal: bool,
}

impl Signals {
    /// Holds them back from now on; those the caller ignores, as `nohup` does, stay ignored.
    pub(super) fn hold() -> Result<Self, LaunchError> {
        let mut awaited: SigSet = OURS.iter().copied().collect();
        for &signal in FORWARDED {
            if !is_ignored(signal).map_err(failed)? {
                awaited.add(signal);
            }
        }
        awaited.thread_block().map_err(failed)?;
        let flags = SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK;
        SignalFd::with_flags(&awaited, flags).map(Self).map_err(failed)
    }

    /// The next one, if one has arrived.
    pub(super) fn next(&self) -> Result<Option<Arrival>, LaunchError> {
        let Some(arrival) = self.0.read_signal().map_err(failed)? else { return Ok(None) };
        let number = i32::try_from(arrival.ssi_signo).map_err(|_| failed(Errno::EINVAL))?;
        let signal = Signal::try_from(number).map_err(failed)?;
        Ok(Some(Arrival { signal, from_terminal: arrival.ssi_code == libc::SI_KERNEL }))
    }
}

fn is_ignored(signal: Signal) -> Result<bool, Errno> {
    let usual = SigAction::new(SigHandler::SigDfl, SaFlags::empty(), SigSet::empty());
    // SAFETY: the action every process starts with runs no code of ours.
    let before = unsafe { sigaction(signal, &usual) }?;
    if matches!(before.handler(), SigHandler::SigIgn) {
        // SAFETY: what was there before is put back.
        unsafe { sigaction(signal, &before) }?;
        return Ok(true);
    }
    Ok(false)
}

fn failed(errno: Errno) -> LaunchError {
    LaunchError::setup("holding back", "signals")(errno.into())
}
