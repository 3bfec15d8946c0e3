//! A throwaway deployment: a real daemon of its own instance, real clients as gated agents, and an origin elsewhere on the
//! network. It leaves nothing behind, however it ends.

mod daemon;
mod manager;
mod settings;

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use anyhow::{Context as _, Result, bail};
use nix::unistd::{Gid, Uid, setgroups, setresgid, setresuid};
use shield_agent::approval::view::{HoldState, HoldView};
use tempfile::TempDir;

pub use self::daemon::{Daemon, Role, remove_empty_parents, ticks, tool};
use self::manager::ServiceManager;
pub use self::settings::Settings;
use crate::netns::Netns;
use crate::origin::Origin;
use crate::sniffer::AGENT_MAC;
use crate::wait;

/// User agents run as.
pub const AGENT_USER: &str = "nobody";

/// The group whose members may start agents.
pub const GROUP: u32 = 64_250;

/// A deployment and everything in it.
#[derive(Debug)]
pub struct Deployment {
    // Dropped in this order: the daemon has files in `dir`.
    /// The product.
    pub daemon: Daemon,
    /// The service agents talk to, and its ledger.
    pub origin: Origin,
    /// The namespace daemon and agents live in.
    pub place: Netns,
    /// The namespace the origin lives in.
    pub elsewhere: Netns,
    _disk: Option<SmallDisk>,
    dir: TempDir,
}

impl Deployment {
    /// A deployment cut off from every real network: daemon and agents in one namespace, the origin in another.
    pub fn start(settings: Settings) -> Result<Self> {
        Self::start_in(Netns::new()?, settings)
    }

    /// A deployment whose daemon lives in `place`; only that and the origin can talk to each other through it.
    pub fn start_in(place: Netns, settings: Settings) -> Result<Self> {
        let dir = tempfile::Builder::new()
            .prefix("shield-deployment-")
            .tempdir()
            .context("cannot make a directory")?;
        open_to_all(dir.path())?;
        let network = settings.network();
        let elsewhere = Netns::new()?;
        place.join(
            (&network.ours, &[&network.our_address]),
            &elsewhere,
            ("eth0", &[&network.origin_address]),
        )?;
        // What the sniffer knows the near end by.
        place.ip(&["link", "set", &network.ours, "address", AGENT_MAC])?;
        let repositories = dir.path().join("repositories");
        std::fs::create_dir(&repositories).context("cannot make a directory for repositories")?;
        let origin = Origin::start(&elsewhere, network.origin, &repositories)?;
        let disk = settings.state_size.map(|size| SmallDisk::mount(&dir.path().join("state"), size));
        let config = settings.write(dir.path(), &origin)?;
        let manager = settings.managed.then(|| ServiceManager::start(dir.path())).transpose()?;
        let daemon = Daemon::start(&place, &config, &settings.instance, manager)?;
        Ok(Self { daemon, origin, place, elsewhere, _disk: disk.transpose()?, dir })
    }

    /// A directory agents and tests may use.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// Starts the daemon again after its supervisor died.
    pub fn restart(&mut self) -> Result<()> {
        self.daemon.restart(&self.place)
    }

    /// The origin's address with a port, for clients that resolve no name.
    pub fn address(&self, port: u16) -> String {
        format!("{}:{port}", self.origin.address)
    }

    /// A `shield` command of this deployment's instance.
    pub fn shield(&self, arguments: &[&str]) -> Command {
        self.daemon.shield(&self.place, arguments)
    }

    /// A command line that will run as a gated agent.
    pub fn agent(&self, name: &str, command: &[impl AsRef<std::ffi::OsStr>]) -> Command {
        let mut shield = self.shield(&["run", "--agent", name, "--user", AGENT_USER, "--"]);
        shield.args(command).current_dir(self.dir());
        shield
    }

    /// A command of somebody who is not root: a user and groups that no database need know.
    pub fn by(&self, uid: u32, groups: &[u32], program: impl AsRef<std::ffi::OsStr>) -> Command {
        let groups: Vec<Gid> = groups.iter().copied().map(Gid::from_raw).collect();
        let mut command = self.place.command(program);
        let become_them = move || {
            setgroups(&groups)?;
            setresgid(Gid::from_raw(uid), Gid::from_raw(uid), Gid::from_raw(uid))?;
            Ok(setresuid(Uid::from_raw(uid), Uid::from_raw(uid), Uid::from_raw(uid))?)
        };
        // SAFETY: between fork and exec the closure makes system calls only; it allocates nothing.
        unsafe { std::os::unix::process::CommandExt::pre_exec(&mut command, become_them) };
        command.env("SHIELD_CONFIG", self.daemon.config()).stdin(std::process::Stdio::null());
        command.current_dir("/");
        command
    }

    /// All holds, newest last.
    pub fn holds(&self) -> Result<Vec<HoldView>> {
        let output = output(&mut self.shield(&["holds", "--state", "all", "-o", "json"]))?;
        let mut holds: Vec<HoldView> = serde_json::from_slice(&output.stdout)
            .with_context(|| format!("holds are not JSON: {}", String::from_utf8_lossy(&output.stdout)))?;
        holds.sort_by_key(|hold| hold.id);
        Ok(holds)
    }

    /// Waits until a hold of `agent` is pending, and gives it.
    pub fn pending(&self, agent: &str) -> Result<HoldView> {
        wait::until(&format!("a pending hold of {agent}"), || {
            let holds = self.holds().ok()?;
            holds.into_iter().find(|hold| hold.agent.as_str() == agent && hold.state == HoldState::Pending)
        })
    }

    /// Decides as a reviewer at this host's terminal: `verb` is `approve` or `deny`.
    pub fn decide(&self, verb: &str, hold: &HoldView, reason: &str) -> Result<()> {
        output(&mut self.shield(&[verb, &hold.id.to_string(), "--reason", reason])).map(|_| ())
    }
}

/// A file system that is soon full.
#[derive(Debug)]
struct SmallDisk(PathBuf);

impl SmallDisk {
    fn mount(place: &Path, size: &str) -> Result<Self> {
        std::fs::create_dir(place).context("cannot make a mount point")?;
        let mut mount = Command::new("mount");
        output(mount.args(["-t", "tmpfs", "-o", &format!("size={size}"), "shield-test"]).arg(place))?;
        Ok(Self(place.to_owned()))
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Left mounted, it would only keep the directory from being removed.
        let _ = Command::new("umount").arg(&self.0).status();
    }
}

/// Runs a command that must succeed.
pub fn output(command: &mut Command) -> Result<Output> {
    let output = command.output().with_context(|| format!("cannot start {command:?}"))?;
    if !output.status.success() {
        bail!("{command:?}: {}\n{}", output.status, String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(output)
}

/// Where the built programs of this workspace are: beside whoever asks.
pub fn programs() -> Result<PathBuf> {
    let ourselves = std::env::current_exe().context("cannot find this program")?;
    let directory = ourselves.parent().context("a program is in a directory")?;
    let directory =
        if directory.ends_with("deps") { directory.parent().unwrap_or(directory) } else { directory };
    Ok(directory.to_owned())
}

fn open_to_all(directory: &Path) -> Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    let mode = std::fs::Permissions::from_mode(0o755);
    std::fs::set_permissions(directory, mode).context("cannot open a directory to agents")
}
