//! The product as processes: started, found, killed, and cleared away.

use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc;

use anyhow::{Context as _, Result, bail};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::manager::ServiceManager;
use crate::netns::Netns;
use crate::wait;

/// A process of the product.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Role {
    /// Root: attaches hooks and starts the others.
    Supervisor,
    /// Terminates TLS and talks to upstreams.
    Worker,
    /// Keeps holds and shows the console.
    Approver,
    /// Keeps the CA's key.
    Signer,
}

impl Role {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Supervisor, Self::Worker, Self::Approver, Self::Signer];

    fn argument(self) -> &'static str {
        match self {
            Self::Supervisor => "daemon",
            Self::Worker => "worker",
            Self::Approver => "approver",
            Self::Signer => "signer",
        }
    }
}

/// A running daemon.
#[derive(Debug)]
pub struct Daemon {
    config: PathBuf,
    instance: String,
    supervisor: Child,
    manager: Option<ServiceManager>,
}

impl Daemon {
    /// Starts a daemon inside `place` and waits until agents may attach.
    pub(super) fn start(
        place: &Netns,
        config: &Path,
        instance: &str,
        manager: Option<ServiceManager>,
    ) -> Result<Self> {
        let supervisor = start(place, config, manager.as_ref())?;
        Ok(Self { config: config.to_owned(), instance: instance.to_owned(), supervisor, manager })
    }

    /// Starts the daemon again after it died.
    pub(super) fn restart(&mut self, place: &Netns) -> Result<()> {
        self.supervisor.wait().context("cannot wait for the supervisor")?;
        self.supervisor = start(place, &self.config, self.manager.as_ref())?;
        Ok(())
    }

    /// How many descriptors the service manager keeps.
    pub fn kept(&self) -> usize {
        self.manager.as_ref().map_or(0, ServiceManager::kept)
    }

    /// Everything the daemon has written to stderr so far.
    pub fn log(&self) -> String {
        fs::read_to_string(log_of(&self.config)).unwrap_or_default()
    }

    /// The configuration file.
    pub fn config(&self) -> &Path {
        &self.config
    }

    /// The name of its instance.
    pub fn instance(&self) -> &str {
        &self.instance
    }

    /// Process id of a role, when it runs.
    pub fn pid(&self, role: Role) -> Option<Pid> {
        let supervisor = self.supervisor.id();
        if role == Role::Supervisor {
            return Some(pid(supervisor));
        }
        children(supervisor)
            .into_iter()
            .find(|child| arguments(*child).iter().any(|word| word == role.argument()))
            .map(pid)
    }

    /// Memory of a role, KiB.
    pub fn resident(&self, role: Role) -> Result<u64> {
        let pid = self.pid(role).with_context(|| format!("{role:?} does not run"))?;
        let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("no VmRSS")?;
        Ok(line.trim().trim_end_matches(" kB").parse()?)
    }

    /// Ends a role with SIGKILL and waits until it is gone.
    pub fn kill(&mut self, role: Role) -> Result<()> {
        let target = self.pid(role).with_context(|| format!("{role:?} does not run"))?;
        kill(target, Signal::SIGKILL).with_context(|| format!("cannot kill {role:?}"))?;
        if role == Role::Supervisor {
            self.supervisor.wait().context("cannot wait for the supervisor")?;
            return Ok(());
        }
        wait::until(&format!("{role:?} to be gone"), || {
            arguments(target.as_raw().cast_unsigned()).is_empty().then_some(())
        })
    }

    /// Tells the daemon to end, as a service manager does, and waits until it has.
    pub fn stop(&mut self) -> Result<ExitStatus> {
        kill(pid(self.supervisor.id()), Signal::SIGTERM).context("cannot stop the daemon")?;
        self.supervisor.wait().context("cannot wait for the supervisor")
    }

    /// CPU time each role has used, in clock ticks.
    pub fn cpu_ticks(&self) -> [u64; 4] {
        Role::ALL.map(|role| self.pid(role).map_or(0, |pid| ticks(pid.as_raw().cast_unsigned())))
    }

    /// Process ids of all roles.
    pub fn pids(&self) -> Vec<u32> {
        Role::ALL.iter().filter_map(|role| self.pid(*role)).map(|pid| pid.as_raw().cast_unsigned()).collect()
    }

    pub(super) fn shield(&self, place: &Netns, arguments: &[&str]) -> Command {
        let mut shield = place.command(tool("shield"));
        shield.args(arguments).env("SHIELD_CONFIG", &self.config).stdin(Stdio::null());
        shield
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // A daemon that is gone already has nothing to stop.
        let _ = kill(pid(self.supervisor.id()), Signal::SIGTERM);
        let stopped = wait::within(wait::PATIENCE, || self.supervisor.try_wait().ok().flatten());
        if stopped.is_none() {
            let _ = self.supervisor.kill();
            let _ = self.supervisor.wait();
        }
        clear_away(&self.instance);
    }
}

/// Path of a program of this workspace.
pub fn tool(name: &str) -> PathBuf {
    super::programs().unwrap_or_default().join(name)
}

fn start(place: &Netns, config: &Path, manager: Option<&ServiceManager>) -> Result<Child> {
    let shield = tool("shield");
    let mut command = match manager {
        Some(manager) => manager.command(place, &shield),
        None => place.command(shield),
    };
    command.arg("daemon").arg("--config").arg(config).stdin(Stdio::null()).stderr(Stdio::piped());
    // Ctrl-C at a terminal is for whoever made this deployment; the daemon is stopped in its turn.
    std::os::unix::process::CommandExt::process_group(&mut command, 0);
    let mut child = command.spawn().context("cannot start shield: build the workspace first")?;
    let stderr = child.stderr.take().context("stderr is piped")?;
    let mut log = fs::File::options().create(true).append(true).open(log_of(config))?;
    let (ready, is_ready) = mpsc::channel();
    std::thread::spawn(move || {
        for line in BufReader::new(stderr).lines().map_while(Result::ok) {
            // The log is for people who look into a failure; a test does not fail for want of it.
            let _ = writeln!(log, "{line}");
            if line.trim() == "ready" {
                let _ = ready.send(());
            }
        }
    });
    if is_ready.recv_timeout(wait::PATIENCE).is_err() {
        let _ = child.kill();
        let _ = child.wait();
        bail!("the daemon did not become ready:\n{}", fs::read_to_string(log_of(config)).unwrap_or_default());
    }
    Ok(child)
}

fn log_of(config: &Path) -> PathBuf {
    config.with_extension("log")
}

/// Detaches what a dead daemon left attached: hooks stay on purpose, and this deployment is over.
fn clear_away(instance: &str) {
    for version in entries(Path::new("/sys/fs/bpf/agent-shield")) {
        // Pins of other instances are not ours.
        let _ = fs::remove_dir_all(version.join(instance));
    }
    for mount in ["/sys/fs/cgroup", "/sys/fs/cgroup/unified"] {
        remove_cgroups(&Path::new(mount).join("agent-shield").join(instance));
    }
}

/// Removes the directories all instances share, if none is left. Not for tests, which run beside each other: another may
/// be about to use them.
pub fn remove_empty_parents() {
    let pins = Path::new("/sys/fs/bpf/agent-shield");
    let versions = entries(pins);
    let shared = versions.iter().map(PathBuf::as_path).chain([
        pins,
        Path::new("/sys/fs/cgroup/agent-shield"),
        Path::new("/sys/fs/cgroup/unified/agent-shield"),
    ]);
    // What is not there, or is somebody's, stays as it is.
    shared.for_each(|directory| drop(fs::remove_dir(directory)));
}

/// Removes a tree of cgroups, deepest first, ending what still runs in it.
fn remove_cgroups(cgroup: &Path) {
    if !cgroup.is_dir() {
        return;
    }
    let _ = fs::write(cgroup.join("cgroup.kill"), "1");
    entries(cgroup).into_iter().filter(|entry| entry.is_dir()).for_each(|child| remove_cgroups(&child));
    // A process that was just killed may keep it busy for a moment.
    let _ = wait::within(wait::PATIENCE, || fs::remove_dir(cgroup).ok());
}

fn entries(directory: &Path) -> Vec<PathBuf> {
    fs::read_dir(directory).into_iter().flatten().filter_map(|entry| Some(entry.ok()?.path())).collect()
}

fn children(parent: u32) -> Vec<u32> {
    let list = format!("/proc/{parent}/task/{parent}/children");
    let text = fs::read_to_string(list).unwrap_or_default();
    text.split_whitespace().filter_map(|word| word.parse().ok()).collect()
}

fn arguments(process: u32) -> Vec<String> {
    let text = fs::read_to_string(format!("/proc/{process}/cmdline")).unwrap_or_default();
    text.split_terminator('\0').map(str::to_owned).collect()
}

/// User and system time of a process, all its threads together, in clock ticks.
pub fn ticks(process: u32) -> u64 {
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
    let fields = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
    fields.split_whitespace().skip(11).take(2).filter_map(|field| field.parse::<u64>().ok()).sum()
}

fn pid(number: u32) -> Pid {
    Pid::from_raw(number.cast_signed())
}
