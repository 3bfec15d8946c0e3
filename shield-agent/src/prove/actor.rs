//! The agent of a world: a process that became what it should be, and tries one way out after the other, each in a
//! child of its own so that none finds what another left.
//!
//! It runs as `shield prove …`, started by the prover only, and reads what to try from standard input.

use std::convert::Infallible;
use std::fs;
use std::io::{self, BufRead as _, Write as _};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use clap::{Args, Subcommand};
use nix::sched::{CloneFlags, unshare};
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::{ForkResult, alarm, fork};

use super::facts::{Ask, Outcome, Say};
use super::identity::Identity;
use super::probes::hollow;
use super::{neighbour, path};
use crate::capture::cgroup;
use crate::launch::{self, Launch};
use crate::privileges;

/// This program, whatever became of its file.
pub(super) const OURSELVES: &str = "/proc/self/exe";

/// Name of every agent of the proof.
pub(super) const AGENT: &str = "proof";

/// Longest attempt, seconds.
const PATIENCE: u32 = 3;

/// What the prover starts itself again as.
#[derive(Debug, Subcommand)]
pub enum Part {
    /// Enter a cgroup as somebody, and act or be a neighbour there
    Enter(Enter),
    /// Be started by the launcher, and act
    Launch(Launched),
    /// Try what standard input says
    Act(Acting),
    /// Be worth stealing from
    Neighbour,
}

/// See [`Part::Enter`].
#[derive(Debug, Args)]
pub struct Enter {
    #[arg(long)]
    cgroup: PathBuf,
    #[arg(long)]
    identity: Identity,
    #[arg(long)]
    neighbour: bool,
}

/// See [`Part::Launch`].
#[derive(Debug, Args)]
pub struct Launched {
    #[arg(long)]
    run_dir: PathBuf,
    #[arg(long)]
    strict: bool,
    #[arg(long)]
    identity: Identity,
}

/// See [`Part::Act`].
#[derive(Debug, Args)]
pub struct Acting {
    #[arg(long)]
    identity: Identity,
}

/// Plays a part; gives the exit code.
pub fn play(part: &Part) -> io::Result<u8> {
    match part {
        Part::Enter(how) => enter(how).map(|never| match never {}),
        Part::Launch(how) => launch(how),
        Part::Act(how) => act(how.identity).map(|()| 0),
        Part::Neighbour => neighbour::be().map(|()| 0),
    }
}

/// The least a way into a gated cgroup does: goes there, becomes somebody, and the program. Sockets from before stay.
fn enter(how: &Enter) -> io::Result<Infallible> {
    cgroup::enter(&how.cgroup).map_err(io::Error::other)?;
    if let Some(ids) = how.identity.ids() {
        privileges::become_identity(&ids).map_err(io::Error::other)?;
    }
    let mut next = Command::new(OURSELVES);
    match how.neighbour {
        true => next.args(["prove", "neighbour"]),
        false => next.args(["prove", "act", "--identity", how.identity.name()]),
    };
    Err(next.exec())
}

/// The real launcher, whatever it does.
fn launch(how: &Launched) -> io::Result<u8> {
    let command = [OURSELVES, "prove", "act", "--identity", how.identity.name()];
    let launch = Launch {
        run_dir: how.run_dir.clone(),
        agent: AGENT.parse().expect("a word of letters is a name"),
        user: Some(how.identity.uid().to_string()),
        strict: how.strict,
        env: Vec::new(),
        allowed_sockets: Vec::new(),
        verbose: false,
        command: command.iter().map(Into::into).collect(),
    };
    launch::run(&launch).map_err(|error| io::Error::other(crate::report::Chain(&error).to_string()))
}

/// Tries what it is asked to, until nobody asks any more.
fn act(identity: Identity) -> io::Result<()> {
    if identity == Identity::UsernsRoot
        && let Err(error) = become_root_of_a_namespace()
    {
        return say(&Say::Unable(format!("no user namespace for user {}: {error}", identity.uid())));
    }
    say(&Say::Hello { hollow: hollow::answers() })?;
    let mut line = String::new();
    while io::stdin().lock().read_line(&mut line)? > 0 {
        // An empty line was for an attempt that waited for a caller.
        if !line.trim().is_empty() {
            attempt(&serde_json::from_str(&line)?)?;
        }
        line.clear();
    }
    Ok(())
}

/// As any user may, where the kernel lets them.
fn become_root_of_a_namespace() -> io::Result<()> {
    let uid = nix::unistd::getuid();
    let gid = nix::unistd::getgid();
    unshare(CloneFlags::CLONE_NEWUSER)?;
    fs::write("/proc/self/setgroups", "deny")?;
    fs::write("/proc/self/uid_map", format!("0 {uid} 1"))?;
    fs::write("/proc/self/gid_map", format!("0 {gid} 1"))
}

/// One attempt in a child; says how it ended, when the child cannot.
fn attempt(ask: &Ask) -> io::Result<()> {
    let path = path::find(&ask.path).ok_or_else(|| io::Error::other("there is no such path"))?;
    // SAFETY: this process has one thread, so the child may use everything the parent could.
    match unsafe { fork() }? {
        ForkResult::Child => {
            alarm::set(PATIENCE);
            let outcome = match (path.attempt)(&ask.facts) {
                Ok(()) => Outcome::Done,
                Err(refused) => Outcome::Refused { call: refused.call.to_owned(), errno: refused.errno },
            };
            let said = say(&Say::Over(outcome));
            std::process::exit(i32::from(said.is_err()));
        }
        ForkResult::Parent { child } => match waitpid(child, None)? {
            WaitStatus::Exited(_, 0) => Ok(()),
            _ => say(&Say::Over(Outcome::Hung)),
        },
    }
}

/// Says something to the prover.
pub(super) fn say(what: &Say) -> io::Result<()> {
    let line = serde_json::to_string(what)? + "\n";
    let mut stdout = io::stdout().lock();
    stdout.write_all(line.as_bytes())?;
    stdout.flush()
}

/// A command that plays the agent, entered the least way.
pub(super) fn entering(command: &mut Command, cgroup: &Path, identity: Identity) {
    command.args(["prove", "enter", "--identity", identity.name(), "--cgroup"]).arg(cgroup);
}

/// A command that plays the agent, started by the launcher.
pub(super) fn launched(command: &mut Command, run_dir: &Path, identity: Identity, strict: bool) {
    command.args(["prove", "launch", "--identity", identity.name(), "--run-dir"]).arg(run_dir);
    command.args(strict.then_some("--strict"));
}
