//! `shield run` in a world: the real launcher, with a gate's socket that says yes where the daemon would be.

use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result};
use shield_agent::ipc::gate::{GateReply, PreparedRun, SOCKET, TrustFiles};
use tempfile::TempDir;

use crate::world::{World, python, run};

/// What has to be there for an agent to be launched; a thread serves it as long as the tests run.
pub struct Launcher {
    dir: TempDir,
    actor: std::path::PathBuf,
}

impl Launcher {
    /// Stands in for the daemon of a world, which must be served by then.
    pub fn start(world: &World) -> Result<Self> {
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
        let reply = serde_json::to_string(&GateReply::Prepared(prepared))? + "\n";
        let socket = UnixListener::bind(file("run").join(SOCKET))?;
        std::thread::spawn(move || {
            while let Ok((asker, _)) = socket.accept() {
                let reply = reply.clone();
                std::thread::spawn(move || agree(asker, &reply));
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

/// Answers every question of one launcher, until it hangs up.
fn agree(asker: UnixStream, reply: &str) {
    let mut asker = BufReader::new(asker);
    let mut question = String::new();
    while asker.read_line(&mut question).is_ok_and(|read| read > 0) {
        // The launcher may have died, which its test will see.
        let _ = asker.get_mut().write_all(reply.as_bytes());
    }
}
