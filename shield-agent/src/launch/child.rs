//! The process that becomes the agent: inside the gate first, then unprivileged, then the command.
//!
//! Until it is unprivileged it uses nothing the caller said but descriptors that were looked at and certificates.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::ffi::{OsStr, OsString};
use std::io::{self, PipeWriter, Write as _};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStringExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::Command;

use nix::errno::Errno;
use nix::sched::{CloneFlags, setns};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::stat::{Mode, umask};
use nix::unistd::{Pid, getpid, setpgid, tcsetpgrp};

use super::borrowed::{Borrowed, Cage};
use super::confine::Caveat;
use super::deputies::{self, Deputies};
use super::launcher::not_started;
use super::trust::{TrustContent, Trusted};
use super::user::AgentUser;
use super::{LaunchError, NOT_STARTED, confine, environment, mounts, probe};
use crate::ipc::launch::{Belongings, News, Order};
use crate::privileges;

/// Everything the agent is made of.
pub(super) struct Plan<'a> {
    pub(super) order: &'a Order,
    pub(super) user: AgentUser,
    pub(super) trust: TrustContent,
    pub(super) cage: Cage,
    pub(super) borrowed: Borrowed,
    pub(super) deputies: Deputies,
    pub(super) belongings: Belongings,
    pub(super) streams: [OwnedFd; 3],
    pub(super) netns: OwnedFd,
}

/// Becomes the command, or says over `words` why not.
pub(super) fn become_agent(plan: Plan<'_>, mut words: PipeWriter) -> ! {
    let Err(error) = start(plan, &mut words);
    // Without a last word the launcher knows that something went wrong.
    let _ = say(&mut words, &not_started(&error));
    std::process::exit(NOT_STARTED.into());
}

fn start(plan: Plan<'_>, words: &mut PipeWriter) -> Result<Infallible, LaunchError> {
    let Order { agent, prepared, strict, .. } = plan.order;
    plan.cage.enter()?;
    install(&plan.streams, plan.belongings.terminal)?;
    let trusted = mounts::enter(prepared, &plan.trust, &plan.user.identity)?;
    let allowed: Vec<PathBuf> = plan.belongings.allowed_sockets.iter().cloned().map(path).collect();
    let hidden = deputies::hide(&plan.deputies, &allowed, &trusted.nothing)?;
    setns(&plan.netns, CloneFlags::CLONE_NEWNET)
        .map_err(|errno| LaunchError::setup("entering", "the agent's network namespace")(errno.into()))?;
    privileges::close_on_exec_from(3)?;
    plan.borrowed.limit()?;
    privileges::become_identity(&plan.user.identity)?;
    forget_the_launcher()?;
    let caveat = confine::confine()?;
    if let (true, Some(caveat @ Caveat::Everything)) = (strict, caveat) {
        return Err(LaunchError::Strict(caveat.to_string()));
    }
    probe::prove(agent).map_err(LaunchError::Unproven)?;
    if *strict {
        probe::prove_isolated().map_err(LaunchError::Unproven)?;
    }
    let warnings = caveat.iter().map(ToString::to_string).collect();
    say(words, &News::Started { warnings, hidden })
        .map_err(LaunchError::setup("telling the launcher about", agent.as_str()))?;
    execute(plan.belongings, &plan.user, &trusted)
}

fn say(words: &mut PipeWriter, news: &News) -> io::Result<()> {
    let line = serde_json::to_string(news)? + "\n";
    words.write_all(line.as_bytes())
}

/// The caller's streams, and of the terminal the foreground.
fn install(streams: &[OwnedFd; 3], terminal: Option<u8>) -> Result<(), LaunchError> {
    let failed = |errno: Errno| LaunchError::setup("installing", "standard streams")(errno.into());
    let [input, output, error] = streams;
    nix::unistd::dup2_stdin(input).map_err(failed)?;
    nix::unistd::dup2_stdout(output).map_err(failed)?;
    nix::unistd::dup2_stderr(error).map_err(failed)?;
    setpgid(Pid::from_raw(0), Pid::from_raw(0)).map_err(failed)?;
    match terminal.and_then(|index| streams.get(usize::from(index))) {
        Some(terminal) => tcsetpgrp(terminal, getpid()).map_err(failed),
        None => Ok(()),
    }
}

/// Keys are not inherited, and an agent without its launcher would have nobody to tell how it ended.
fn forget_the_launcher() -> Result<(), LaunchError> {
    // SAFETY: the call takes plain numbers; a name of null means a new, empty ring. A kernel without rings has no keys.
    unsafe { libc::syscall(libc::SYS_keyctl, libc::KEYCTL_JOIN_SESSION_KEYRING, 0) };
    nix::sys::prctl::set_pdeathsig(Signal::SIGKILL)
        .map_err(|errno| LaunchError::setup("tying the agent to", "its launcher")(errno.into()))
}

fn execute(belongings: Belongings, user: &AgentUser, trusted: &Trusted) -> Result<Infallible, LaunchError> {
    let directory = path(belongings.directory);
    // By its path, so that it is the one the agent sees, and with the agent's rights.
    std::env::set_current_dir(&directory).map_err(LaunchError::setup("entering", &directory))?;
    let inherited = belongings.env.into_iter().map(|(name, value)| (word(name), word(value)));
    let env = environment::build(inherited, user.account.as_ref(), trusted, &belongings.wishes);
    let command: Vec<OsString> = belongings.command.into_iter().map(word).collect();
    let (program, arguments) = command.split_first().ok_or(LaunchError::Caller("there is no command"))?;
    let missing = is_missing(program, env.get(OsStr::new("PATH")));
    SigSet::all()
        .thread_unblock()
        .map_err(|errno| LaunchError::setup("releasing", "signals")(errno.into()))?;
    umask(Mode::from_bits_truncate(belongings.umask));
    let mut source = clean(program, arguments, env).exec();
    // A directory of PATH that the agent may not enter hides that no other has the program.
    if missing && source.kind() == io::ErrorKind::PermissionDenied {
        source = io::Error::from_raw_os_error(libc::ENOENT);
    }
    Err(LaunchError::Exec { command: program.into(), source })
}

/// Names with `=` inside, or none at all, are no variables, and would be refused.
fn clean(program: &OsStr, arguments: &[OsString], env: BTreeMap<OsString, OsString>) -> Command {
    let is_variable = |name: &OsStr| !name.is_empty() && !name.as_encoded_bytes()[1..].contains(&b'=');
    let mut command = Command::new(program);
    command.args(arguments).env_clear().envs(env.into_iter().filter(|(name, _)| is_variable(name)));
    command
}

fn word(bytes: Vec<u8>) -> OsString {
    OsString::from_vec(bytes)
}

fn path(bytes: Vec<u8>) -> PathBuf {
    word(bytes).into()
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
