//! The process that becomes the agent: inside the gate first, then unprivileged, then the command.

use std::convert::Infallible;
use std::fs;
use std::os::fd::AsFd;
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::Command;

use nix::sys::stat::{SFlag, fstat};

use super::trust::TrustContent;
use super::user::AgentUser;
use super::wait::Signals;
use super::{Launch, LaunchError, environment, mounts, probe};
use crate::ipc::gate::PreparedRun;
use crate::privileges;

/// Becomes the command; returns only when that failed.
pub(super) fn become_agent(
    launch: &Launch,
    prepared: &PreparedRun,
    user: &AgentUser,
    signals: &Signals,
) -> Result<Infallible, LaunchError> {
    enter_cgroup(prepared)?;
    refuse_socket_streams()?;
    let variable = |name: &str| std::env::var_os(name).map(PathBuf::from);
    let content = TrustContent::read(&prepared.trust, variable)
        .map_err(LaunchError::setup("reading the trust files for", launch.agent.as_str()))?;
    let trusted = mounts::enter(prepared, &content)?;
    privileges::close_on_exec_from(3)?;
    privileges::become_identity(&user.identity)?;
    probe::prove(&launch.agent).map_err(LaunchError::Unproven)?;
    let env = environment::build(std::env::vars_os(), user, &trusted, &launch.env);
    execute(launch, env, signals)
}

/// Every socket made from here on belongs to the gate.
fn enter_cgroup(prepared: &PreparedRun) -> Result<(), LaunchError> {
    let members = prepared.cgroup.join("cgroup.procs");
    fs::write(&members, "0").map_err(LaunchError::setup("entering", &prepared.cgroup))
}

/// A socket made outside keeps the cgroup it was made in: through it the agent would speak past the gate.
fn refuse_socket_streams() -> Result<(), LaunchError> {
    let (input, output, error) = (std::io::stdin(), std::io::stdout(), std::io::stderr());
    let streams = [
        (input.as_fd(), "standard input"),
        (output.as_fd(), "standard output"),
        (error.as_fd(), "standard error"),
    ];
    for (stream, name) in streams {
        // A closed stream cannot be asked and is no way out.
        let kind = fstat(stream).map(|stat| SFlag::from_bits_truncate(stat.st_mode) & SFlag::S_IFMT);
        if kind == Ok(SFlag::S_IFSOCK) {
            return Err(LaunchError::SocketStream(name));
        }
    }
    Ok(())
}

fn execute(
    launch: &Launch,
    env: impl IntoIterator<Item = (std::ffi::OsString, std::ffi::OsString)>,
    signals: &Signals,
) -> Result<Infallible, LaunchError> {
    let (program, arguments) = launch.command.split_first().expect("the command line demands a command");
    signals.unblock()?;
    let source = Command::new(program).args(arguments).env_clear().envs(env).exec();
    Err(LaunchError::Exec { command: program.into(), source })
}
