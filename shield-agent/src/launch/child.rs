//! The process that becomes the agent: inside the gate first, then unprivileged, then the command.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::io;
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::Command;

use super::streams::Streams;
use super::trust::TrustContent;
use super::user::AgentUser;
use super::wait::Signals;
use super::{Launch, LaunchError, confine, environment, mounts, probe};
use crate::ipc::gate::PreparedRun;
use crate::privileges;

/// Becomes the command; returns only when that failed.
pub(super) fn become_agent(
    launch: &Launch,
    prepared: &PreparedRun,
    user: &AgentUser,
    streams: &Streams,
    signals: &Signals,
) -> Result<Infallible, LaunchError> {
    enter_cgroup(prepared)?;
    streams.install()?;
    let variable = |name: &str| std::env::var_os(name).map(PathBuf::from);
    let content = TrustContent::read(&prepared.trust, variable)
        .map_err(LaunchError::setup("reading the trust files for", launch.agent.as_str()))?;
    let trusted = mounts::enter(prepared, &content, &user.identity)?;
    privileges::close_on_exec_from(3)?;
    privileges::become_identity(&user.identity)?;
    if let Some(caveat) = confine::confine()? {
        eprintln!("shield: warning: {caveat}");
    }
    probe::prove(&launch.agent).map_err(LaunchError::Unproven)?;
    let env = environment::build(std::env::vars_os(), user, &trusted, &launch.env);
    execute(launch, env, signals)
}

/// Every socket made from here on belongs to the gate.
fn enter_cgroup(prepared: &PreparedRun) -> Result<(), LaunchError> {
    let members = prepared.cgroup.join("cgroup.procs");
    fs::write(&members, "0").map_err(LaunchError::setup("entering", &prepared.cgroup))
}

fn execute(
    launch: &Launch,
    env: BTreeMap<OsString, OsString>,
    signals: &Signals,
) -> Result<Infallible, LaunchError> {
    let (program, arguments) = launch.command.split_first().expect("the command line demands a command");
    let missing = is_missing(program, env.get(OsStr::new("PATH")));
    signals.unblock()?;
    let mut source = Command::new(program).args(arguments).env_clear().envs(env).exec();
    // A directory of PATH that the agent may not enter hides that no other has the program.
    if missing && source.kind() == io::ErrorKind::PermissionDenied {
        source = io::Error::from_raw_os_error(libc::ENOENT);
    }
    Err(LaunchError::Exec { command: program.into(), source })
}

/// Whether no directory of `path` shows a program of that name.
fn is_missing(program: &OsStr, path: Option<&OsString>) -> bool {
    let searched = !program.as_encoded_bytes().contains(&b'/');
    searched && path.is_none_or(|path| !std::env::split_paths(path).any(|place| place.join(program).exists()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_is_missing_when_no_directory_shows_it() {
        let path = OsString::from("/no/such/place:/bin:/usr/bin");
        assert!(is_missing(OsStr::new("no-such-program"), Some(&path)));
        assert!(!is_missing(OsStr::new("sh"), Some(&path)));
        assert!(!is_missing(OsStr::new("./no-such-program"), Some(&path)));
    }
}
