//! A daemon whose agents are guarded: it holds while the daemon is dead, is told about, and is refused where it would
//! see nothing.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use shield_agent::capture::cgroup::cgroup2_mount;
use shield_tests::deployment::{Deployment, Role, Settings, output, tool};
use shield_tests::wait;
use shield_tests::world::python;

use crate::resident::Resident;

const HOST: &str = "crm.acme.internal";

/// Has a program inherit a socket that was made outside.
const HAND_DOWN: &str = r#"
import os, socket, subprocess, sys
made = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
os.dup2(made.fileno(), 20)
sys.exit(subprocess.run(sys.argv[1:], close_fds=False).returncode)
"#;
const USE: &str = r#"
import errno, socket, sys
try:
    socket.socket(fileno=20).sendto(b"secret", (sys.argv[1], 9))
    print("sent")
except OSError as error:
    print(errno.errorcode[error.errno])
"#;

#[test]
fn a_guard_holds_while_the_daemon_is_dead_and_after_it_came_back() -> Result<()> {
    let mut deployment = Deployment::start(Settings { guarded: true, ..Settings::default() })?;
    let outcome = holds_throughout(&mut deployment);
    outcome.with_context(|| format!("the daemon said:\n{}", deployment.daemon.log()))
}

fn holds_throughout(deployment: &mut Deployment) -> Result<()> {
    let mut agent = Resident::start(deployment)?;
    ensure!(agent.ask("GET", HOST, "/served")?.status == 200, "a guarded agent is not served");
    let cgroup = cgroup_of(deployment)?;
    let guard = guard_of(deployment)?;
    let outside = guard.join("outside");
    fs::create_dir(&outside)?;
    let told = sent(deployment, &outside, &outside)?;
    ensure!(told == "sent", "somebody outside was told {told}");
    ensure!(sent(deployment, &outside, &cgroup)? == "EPERM", "the agent used a socket from outside");
    wait::until("people to be told", || {
        let list = output(&mut deployment.shield(&["agents", "-o", "json"])).ok()?.stdout;
        let list: Value = serde_json::from_slice(&list).ok()?;
        (list[0]["refusals"]["foreign_socket"] == 1).then_some(())
    })?;
    for check in ["guard", "gates"] {
        ensure!(doctor(deployment, check)? == "ok", "the doctor complains of {check}");
    }
    deployment.daemon.kill(Role::Supervisor)?;
    ensure!(sent(deployment, &outside, &cgroup)? == "EPERM", "without the daemon there is no guard");
    deployment.restart()?;
    ensure!(sent(deployment, &outside, &cgroup)? == "EPERM", "the next daemon took the guard away");
    ensure!(agent.ask("GET", HOST, "/again")?.status == 200, "the next daemon does not serve the agent");
    Ok(())
}

#[test]
fn a_guard_that_would_not_see_an_agent_is_refused_with_what_to_do() -> Result<()> {
    let deployment = Deployment::start(Settings { guarded: true, ..Settings::default() })?;
    let elsewhere = Elsewhere::new()?;
    let place = elsewhere.0.to_str().context("a path of ASCII")?;
    // An agent that is not below the guard.
    let refused = deployment.shield(&["attach", "--agent", "service", "--cgroup", place]).output()?;
    complains(&refused.stderr, &guard_of(&deployment)?)?;
    ensure!(!refused.status.success());
    // A daemon none of whose agents would be.
    let text = fs::read_to_string(deployment.daemon.config())?;
    let changed = deployment.dir().join("elsewhere.yaml");
    let from = format!("guard: \"{}\"", guard_of(&deployment)?.display());
    ensure!(text.contains(&from), "{text}");
    fs::write(&changed, text.replace(&from, &format!("guard: \"{place}\"")))?;
    let changed = changed.to_str().context("a path of ASCII")?;
    let refused = deployment.shield(&["daemon", "--config", changed]).output()?;
    complains(&refused.stderr, &elsewhere.0)?;
    ensure!(!refused.status.success());
    Ok(())
}

#[test]
fn without_a_guard_the_doctor_says_what_is_weaker_and_what_to_set() -> Result<()> {
    let deployment = Deployment::start(Settings::default())?;
    ensure!(doctor(&deployment, "guard")? == "weaker");
    Ok(())
}

fn complains(said: &[u8], guard: &Path) -> Result<()> {
    let said = String::from_utf8_lossy(said);
    let named = said.contains(&guard.display().to_string());
    ensure!(named && said.contains("set gate.guard to one that is above every agent"), "{said}");
    Ok(())
}

/// How it ends when a program in `place` sends a datagram by a socket that was made in `outside`.
fn sent(deployment: &Deployment, outside: &Path, place: &Path) -> Result<String> {
    let mut command: Command = deployment.place.command(tool("actor"));
    command.arg("enter").arg(outside).args([python(), "-c", HAND_DOWN]);
    command.arg(tool("actor")).arg("enter-without-closing").arg(place).args([python(), "-c", USE]);
    command.arg(deployment.origin.address.to_string());
    Ok(String::from_utf8(output(&mut command)?.stdout)?.trim_end().to_owned())
}

/// How a check of the doctor's stands.
fn doctor(deployment: &Deployment, id: &str) -> Result<String> {
    let said = deployment.shield(&["doctor", "--json"]).output()?.stdout;
    let checks: Vec<Value> = serde_json::from_slice(&said)?;
    let check = checks.iter().find(|check| check["id"] == id).context("the doctor does not look at it")?;
    Ok(check["status"].as_str().unwrap_or_default().to_owned())
}

fn cgroup_of(deployment: &Deployment) -> Result<PathBuf> {
    let list = output(&mut deployment.shield(&["agents", "-o", "json"]))?.stdout;
    let list: Value = serde_json::from_slice(&list)?;
    Ok(list[0]["cgroup"].as_str().context("an agent has a cgroup")?.into())
}

fn guard_of(deployment: &Deployment) -> Result<PathBuf> {
    Ok(cgroup2_mount()?.join("agent-shield").join(deployment.daemon.instance()))
}

/// A cgroup of the test's own that no agent of the deployment's own lives below.
struct Elsewhere(PathBuf);

impl Elsewhere {
    fn new() -> Result<Self> {
        let place = cgroup2_mount()?.join(format!("shield-elsewhere-{}", std::process::id()));
        fs::create_dir(&place)?;
        Ok(Self(place))
    }
}

impl Drop for Elsewhere {
    fn drop(&mut self) {
        let _ = fs::remove_dir(&self.0);
    }
}
