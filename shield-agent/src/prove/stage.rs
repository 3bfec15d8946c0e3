//! Where the proof is performed: a child does it, its parent waits and clears up by name, however the child ended.

use std::fs;
use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::prctl;
use nix::sys::signal::{SigSet, Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::{ForkResult, Pid, fork};

use super::identity::{Identity, Mode};
use super::matrix;
use super::report::Proof;
use super::site::Plan;
use crate::capture::cgroup::remove_tree;
use crate::capture::{CaptureError, Cgroups, Gate};

/// How long killed processes may take to be gone.
const DYING: Duration = Duration::from_secs(3);

/// What ends a proof early, and the news that it has ended.
const AWAITED: [Signal; 5] =
    [Signal::SIGCHLD, Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP, Signal::SIGQUIT];

/// Hooks to leave out, comma-separated, to see the proof fail. Only programs built for tests know it.
#[cfg(debug_assertions)]
const WITHOUT: &str = "SHIELD_PROVE_WITHOUT";

/// Why nothing could be proved.
#[derive(Debug, thiserror::Error)]
pub enum ProveError {
    /// This host cannot gate anything, or its cgroups cannot be used.
    #[error("nothing can be proved here")]
    Host(#[from] CaptureError),
    /// A directory for the proof.
    #[error("directory {} could not be made", .0.display())]
    Scratch(PathBuf, #[source] io::Error),
    /// Ours.
    #[error("a thread of the proof panicked")]
    Panicked,
    /// Starting the child that does it, or waiting for it.
    #[error("the proof could not be started or watched")]
    Watch(#[from] Errno),
}

/// What belongs to one proof, by name.
#[derive(Debug)]
pub(super) struct Stage {
    instance: String,
    tmp: PathBuf,
    run: PathBuf,
    omitted: Vec<String>,
}

/// Proves, shows what was proved, and gives the exit code `show` gave; leaves nothing behind.
///
/// The calling process must have one thread: it forks.
pub fn prove(show: impl FnOnce(Result<Proof, ProveError>) -> u8) -> Result<u8, ProveError> {
    crate::capture::check_host()?;
    let name = format!("prove-{}", std::process::id());
    let stage = Stage {
        tmp: Path::new("/tmp").join(format!("shield-{name}")),
        run: Path::new("/run").join(format!("shield-{name}")),
        omitted: omitted(),
        instance: name,
    };
    let before = SigSet::thread_get_mask()?;
    SigSet::from_iter(AWAITED).thread_block()?;
    // SAFETY: this process has one thread, so the child may use everything the parent could.
    match unsafe { fork() }? {
        ForkResult::Child => {
            // A parent that is gone cannot clear up: the least is to stop.
            let lonely = prctl::set_pdeathsig(Signal::SIGKILL).is_err() || before.thread_set_mask().is_err();
            let code = if lonely { 1 } else { show(stage.prepare().and_then(|()| matrix::run(&stage))) };
            std::process::exit(code.into());
        }
        ForkResult::Parent { child } => {
            let code = wait(child);
            stage.clear();
            Ok(code?)
        }
    }
}

/// Until the child has ended. A signal that would end us ends the child first; a terminal's reaches it by itself.
fn wait(child: Pid) -> Result<u8, Errno> {
    let awaited = SigSet::from_iter(AWAITED);
    loop {
        match waitpid(child, Some(WaitPidFlag::WNOHANG))? {
            WaitStatus::Exited(_, code) => return Ok(u8::try_from(code).unwrap_or(1)),
            WaitStatus::Signaled(_, signal, _) => return Ok(128 + signal as u8),
            _ => {}
        }
        if awaited.wait()? != Signal::SIGCHLD {
            // It may have ended meanwhile; the next round finds out.
            let _ = kill(child, Signal::SIGTERM);
        }
    }
}

#[cfg(debug_assertions)]
fn omitted() -> Vec<String> {
    let named = std::env::var(WITHOUT).unwrap_or_default();
    named.split(',').filter(|name| !name.is_empty()).map(str::to_owned).collect()
}

#[cfg(not(debug_assertions))]
fn omitted() -> Vec<String> {
    Vec::new()
}

impl Stage {
    pub(super) fn plan(&self, mode: Option<Mode>, identity: Identity) -> Plan {
        Plan {
            instance: self.instance.clone(),
            mode,
            identity,
            tmp: self.tmp.clone(),
            run: self.run.clone(),
            omitted: self.omitted.clone(),
        }
    }

    /// Directories everybody may enter, and nobody else may have made.
    fn prepare(&self) -> Result<(), ProveError> {
        for place in [&self.tmp, &self.run] {
            let made = fs::DirBuilder::new().mode(0o755).create(place);
            made.map_err(|error| ProveError::Scratch(place.clone(), error))?;
        }
        Ok(())
    }

    /// Ends every process of the proof and removes what has its name. What cannot be removed has a name nobody else uses.
    fn clear(&self) {
        if let Ok(cgroups) = Cgroups::find(&self.instance) {
            let root = cgroups.instance();
            let _ = fs::write(root.join("cgroup.kill"), "1");
            let deadline = Instant::now() + DYING;
            while is_populated(root) && Instant::now() < deadline {
                std::thread::sleep(Duration::from_millis(5));
            }
            for agent in Gate::pinned(&self.instance).unwrap_or_default() {
                let _ = Gate::clear(&self.instance, &agent);
            }
            let _ = remove_tree(root);
        }
        for place in [&self.tmp, &self.run] {
            let _ = fs::remove_dir_all(place);
        }
    }
}

fn is_populated(cgroup: &Path) -> bool {
    fs::read_to_string(cgroup.join("cgroup.events")).is_ok_and(|events| events.contains("populated 1"))
}
