//! Exit codes, and how an error reaches the person who caused it.

use std::error::Error;
use std::process::ExitCode;

use nix::sys::signal::{SigHandler, Signal, signal};

use crate::control::ControlError;
use crate::ipc::gate::AskError;
use crate::journal::read::ReadError;
use crate::report;

/// Exit codes of the command line.
pub mod code {
    /// Done.
    pub const OK: u8 = 0;
    /// Something failed.
    pub const ERROR: u8 = 1;
    /// Wrong usage.
    pub const USAGE: u8 = 2;
    /// Somebody else denied.
    pub const DENIED: u8 = 3;
    /// Not decided: still pending, or expired.
    pub const UNDECIDED: u8 = 4;
    /// A prerequisite fails.
    pub const DOCTOR: u8 = 5;
    /// The daemon is not reachable.
    pub const UNREACHABLE: u8 = 69;
    /// Not permitted.
    pub const NOT_PERMITTED: u8 = 77;
}

/// An error and the exit code that says so.
#[derive(Debug)]
pub struct Failure {
    /// The exit code.
    pub code: u8,
    /// What went wrong.
    pub error: Box<dyn Error + Send + Sync>,
}

impl Failure {
    /// With an exit code of its own.
    pub fn new(code: u8, error: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self { code, error: error.into() }
    }
}

impl<E: Error + Send + Sync + 'static> From<E> for Failure {
    /// Everything is exit code 1, but a daemon that is not there or does not let us.
    fn from(error: E) -> Self {
        let any = &error as &dyn Error;
        let code = any.downcast_ref().map(of_gate);
        let code = code.or_else(|| any.downcast_ref().map(of_control));
        let code = code.or_else(|| any.downcast_ref().map(of_journal)).unwrap_or(code::ERROR);
        Self { code, error: Box::new(error) }
    }
}

fn of_gate(error: &AskError) -> u8 {
    match error {
        AskError::NotReachable(..) | AskError::Broken(_) => code::UNREACHABLE,
        AskError::NotPermitted(..) | AskError::Forbidden(_) => code::NOT_PERMITTED,
        _ => code::ERROR,
    }
}

fn of_control(error: &ControlError) -> u8 {
    match error {
        ControlError::NotReachable(..) | ControlError::Broken(_) | ControlError::Silent => code::UNREACHABLE,
        ControlError::NotPermitted(..) | ControlError::HungUp(_) => code::NOT_PERMITTED,
        ControlError::Problem(problem) if matches!(problem.status, 401 | 403) => code::NOT_PERMITTED,
        _ => code::ERROR,
    }
}

fn of_journal(error: &ReadError) -> u8 {
    match error {
        ReadError::NotPermitted(..) => code::NOT_PERMITTED,
        _ => code::ERROR,
    }
}

/// Ends the process when the reader of its output is gone, as other programs of a pipeline do. Not for daemons, nor
/// for the parent of an agent: to them it is an error like any other.
pub(super) fn quietly_when_nobody_reads() {
    // SAFETY: this installs no handler; it restores the action every process starts with.
    let restored = unsafe { signal(Signal::SIGPIPE, SigHandler::SigDfl) };
    restored.expect("SIGPIPE exists and may be set");
}

/// Prints the error, when there is one, and ends with its code.
pub(super) fn report(result: Result<u8, Failure>) -> ExitCode {
    let code = result.unwrap_or_else(|failure| {
        report::error("shield", failure.error.as_ref());
        failure.code
    });
    ExitCode::from(code)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_absent_daemon_and_a_forbidden_one_have_their_own_codes() {
        let refused = || std::io::Error::from(std::io::ErrorKind::ConnectionRefused);
        let of = |error: AskError| Failure::from(error).code;
        assert_eq!(of(AskError::NotReachable("/run/x".into(), refused())), 69);
        assert_eq!(of(AskError::NotPermitted("/run/x".into(), refused())), 77);
        assert_eq!(of(AskError::Refused("no".into())), 1);
        let of = |error: ControlError| Failure::from(error).code;
        assert_eq!(of(ControlError::NotReachable("/run/x".into(), refused())), 69);
        assert_eq!(of(ControlError::Silent), 69);
        assert_eq!(of(ControlError::NotPermitted("/run/x".into(), refused())), 77);
        assert_eq!(Failure::from(ReadError::NotPermitted("/x".into(), refused())).code, 77);
        assert_eq!(Failure::from(ReadError::Missing("/x".into())).code, 1);
    }
}
