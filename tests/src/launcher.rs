//! `shield run` in a world: the real caller and launcher, with a gate's socket that says yes where the daemon would be.

use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::os::fd::{AsFd as _, FromRawFd as _, OwnedFd};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;

use anyhow::{Context as _, Result, ensure};
use nix::sys::socket::{getsockopt, sockopt};
use shield_agent::daemon::netns::isolated;
use shield_agent::ipc::gate::{GateReply, PreparedRun, SOCKET, TrustFiles};
use shield_agent::ipc::launch::{Order, Whom};
use shield_agent::launch::launcher::order_line;
use tempfile::TempDir;

use crate::proxy::Proxy;
use crate::world::{NOBODY, World, python, run};

/// What has to be there for an agent to be launched; a thread serves it as long as the tests run.
pub struct Launcher {
    dir: TempDir,
    actor: PathBuf,
}

/// What the daemon would know.
struct StandIn {
    actor: PathBuf,
    prepared: PreparedRun,
    netns: OwnedFd,
    strict: bool,
    agent: shield_agent::names::AgentName,
}

impl Launcher {
    /// Stands in for the daemon of a world, which must be served by then.
    pub fn start(world: &World) -> Result<Self> {
        Self::start_in(world, world.agent_netns.as_fd().try_clone_to_owned()?, false)
    }

    /// The same for an agent in a namespace of its own, which is served.
    pub fn start_strict(world: &mut World) -> Result<(Self, Proxy)> {
        let netns = isolated()?;
        let opened = world.listeners_in(netns.as_fd())?;
        world.gate.serve_netns(opened.netns_cookie, opened.served)?;
        let proxy = Proxy::start(opened, world.originals()?)?;
        Ok((Self::start_in(world, netns.into(), true)?, proxy))
    }

    /// The same for an agent that believes itself isolated in `netns`.
    pub fn start_in(world: &World, netns: OwnedFd, strict: bool) -> Result<Self> {
        let dir = tempfile::Builder::new().prefix("shield-launcher-").tempdir()?;
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755))?;
        let file = |name: &str| dir.path().join(name);
        for directory in ["run", "state"] {
            fs::create_dir(file(directory))?;
        }
        for trusted in ["ca.pem", "bundle.pem"] {
            fs::write(file(trusted), "")?;
        }
        fs::write(file("state/key"), "secret")?;
        let prepared = PreparedRun {
            cgroup: world.cgroups.agent.clone(),
            trust: TrustFiles { ca: file("ca.pem"), bundle: file("bundle.pem"), java: None },
            run_dir: file("run"),
            hide: vec![file("state")],
        };
        let actor = world.actor.clone();
        let stand_in = Arc::new(StandIn { actor, prepared, netns, strict, agent: world.agent.clone() });
        let socket = UnixListener::bind(file("run").join(SOCKET))?;
        std::thread::spawn(move || {
            while let Ok((asker, _)) = socket.accept() {
                let stand_in = stand_in.clone();
                // A caller that is not served fails its test.
                std::thread::spawn(move || stand_in.agree(asker));
            }
        });
        Ok(Self { dir, actor: world.actor.clone() })
    }

    /// The directory with the daemon's files, some of which the agent must not see.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// `shield run` of a program as nobody, in the agent's namespace.
    pub fn command(&self, world: &World, program: &str) -> Command {
        let mut command = world.agent_netns.command(&self.actor);
        command.arg("run").arg(self.dir.path().join("run")).arg(program);
        command.env_clear().env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin").current_dir("/");
        command
    }

    /// Launches a script and gives what it said.
    pub fn run(&self, world: &World, script: &str) -> Result<String> {
        run(self.command(world, python()), script).context("launched by `shield run`")
    }
}

impl StandIn {
    /// Answers the one question of a caller, and has a launcher attend to it.
    fn agree(&self, asker: UnixStream) -> Result<()> {
        let mut asker = BufReader::new(asker);
        asker.read_line(&mut String::new())?;
        let reply = serde_json::to_string(&GateReply::Prepared(self.prepared.clone()))? + "\n";
        asker.get_mut().write_all(reply.as_bytes())?;
        let asker = asker.into_inner();
        let pid = getsockopt(&asker, sockopt::PeerCredentials)?.pid();
        // SAFETY: the call takes plain numbers.
        let process = unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) };
        ensure!(process >= 0, "the caller has ended");
        // SAFETY: the kernel has just made it; nothing else owns it.
        let process = unsafe { OwnedFd::from_raw_fd(process.try_into()?) };
        let order = Order {
            agent: self.agent.clone(),
            prepared: self.prepared.clone(),
            whom: Whom::User(NOBODY),
            caller: pid.cast_unsigned(),
            strict: self.strict,
        };
        let (line, theirs) = order_line()?;
        let mut command = Command::new(&self.actor);
        command.arg("launcher").stdin(Stdio::from(theirs)).stdout(Stdio::null());
        let mut launcher = command.env_clear().current_dir("/").spawn()?;
        line.send(&order, &[asker.as_fd(), process.as_fd(), self.netns.as_fd()])?;
        drop(asker);
        launcher.wait()?;
        Ok(())
    }
}
