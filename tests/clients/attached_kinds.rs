//! Systemd's units and containers, laid out as service managers and engines do it: found by name, gated, and refused
//! with the reason when they cannot be.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};

use anyhow::{Context as _, Result, ensure};
use nix::unistd::{Uid, chown};
use serde_json::Value;
use shield_agent::capture::cgroup::cgroup2_mount;
use shield_tests::deployment::{Deployment, Settings, output};

use super::attached::Cgroup;

/// A container: in its cgroup, in a network namespace of its own, where it asks when it is told to.
const CONTAINER: &str = r#"echo $$ > "$0/cgroup.procs" && exec unshare --net sh -c 'ip link set lo up && echo up && read go &&
    exec setpriv --reuid 65534 --regid 65534 --clear-groups curl --silent --max-time 20 --cacert "$1" \
    --resolve "crm.acme.internal:443:$2" --write-out " %{http_code}" https://crm.acme.internal/contained' "$0" "$@""#;

#[test]
fn a_service_is_gated_by_its_name_and_told_what_makes_it_trust_the_gate() -> Result<()> {
    let deployment = Deployment::start(Settings::default())?;
    let host = Cgroup::new()?;
    let name = format!("shield-test-{}.service", fresh()?);
    let place = make(&host, &format!("system.slice/{name}"))?;
    let attached = attach(&deployment, &["--unit", name.trim_end_matches(".service")])?;
    ensure!(place_of(&deployment)? == place, "another cgroup is gated");
    let bundle = deployment.dir().join("run/trust/bundle.pem");
    let line = format!("Environment=\"SSL_CERT_FILE={}\"", bundle.display());
    ensure!(attached.0.lines().any(|said| said == line), "no drop-in: {}", attached.0);
    ensure!(attached.1.contains(&format!("restart {name}")), "not told to restart: {}", attached.1);
    output(&mut deployment.shield(&["detach", "one"]))?;

    let slice = format!("shield{}.slice", fresh()?);
    let place = make(&host, &slice)?;
    attach(&deployment, &["--unit", &slice])?;
    ensure!(place_of(&deployment)? == place, "another cgroup is gated");
    output(&mut deployment.shield(&["detach", "one"])).map(|_| ())
}

#[test]
fn a_container_of_every_engine_is_found_by_its_id_and_served_in_its_own_network() -> Result<()> {
    let deployment = Deployment::start(Settings::default())?;
    let host = Cgroup::new()?;
    for layout in [
        "system.slice/docker-{}.scope",
        "docker/{}",
        "kubepods.slice/kubepods-pod1.slice/cri-containerd-{}.scope",
        "kubepods/burstable/pod1/{}",
        "machine.slice/libpod-{}.scope",
        "libpod_parent/libpod-{}",
    ] {
        let id = container_id()?;
        let place = make(&host, &layout.replace("{}", &id))?;
        let container = start(&deployment, &place)?;
        let attached = attach(&deployment, &["--container", &id[..12]])?;
        ensure!(place_of(&deployment)? == place, "{layout}: another cgroup is gated");
        ensure!(attached.1.contains("--env 'SSL_CERT_FILE="), "{layout}: {}", attached.1);
        let told = tell(container)?;
        ensure!(told.ends_with(" 200"), "{layout}: told {told}\n{}", deployment.daemon.log());
        output(&mut deployment.shield(&["detach", "one"]))?;
    }
    ensure!(deployment.origin.ledger.of("GET", "/contained").len() == 6, "not every one arrived once");
    Ok(())
}

#[test]
fn what_is_gone_ambiguous_or_somebody_elses_is_refused_with_the_reason() -> Result<()> {
    let deployment = Deployment::start(Settings::default())?;
    let host = Cgroup::new()?;
    let (stopped, first) = (container_id()?, container_id()?);
    let second = format!("{}{}", &first[..63], if first.ends_with('0') { '1' } else { '0' });
    for id in [&stopped, &first, &second] {
        make(&host, &format!("system.slice/docker-{id}.scope"))?;
    }
    let twice = format!("shield-test-{}.service", fresh()?);
    make(&host, &format!("system.slice/{twice}"))?;
    make(&host, &format!("user.slice/{twice}"))?;
    let theirs = make(&host, "user.slice/user-1000.slice/user@1000.service/app.slice")?;
    chown(theirs.parent().context("it has one")?, Some(Uid::from_raw(1000)), None)?;
    let theirs = theirs.to_str().context("a path of ASCII")?;
    let gone = container_id()?;
    for (what, name, reason) in [
        ("--container", gone.as_str(), "no cgroup of a container"),
        ("--container", &stopped[..12], "has ended"),
        ("--container", &first[..20], "means several"),
        ("--container", "my-container", "is not a container's id"),
        ("--unit", "no-such-thing-here.service", "has no cgroup"),
        ("--unit", &twice, "means several"),
        ("--unit", "x.socket", "is not the name of a systemd service"),
        ("--cgroup", theirs, "delegated to user 1000"),
        ("--pid", "4194305", "there is no process"),
        ("--pid", "1", "process 1"),
        ("--pid", "2", "process 2"),
        ("--pid", &daemon(&deployment)?, "process "),
    ] {
        let refused = deployment.shield(&["attach", "--agent", "one", what, name]).output()?;
        let said = String::from_utf8(refused.stderr)?;
        ensure!(refused.status.code() == Some(1), "{what} {name}: {}: {said}", refused.status);
        ensure!(said.contains(reason), "{what} {name}: {said}");
    }
    ensure!(agents(&deployment)?.is_empty(), "something refused is gated");
    let several = deployment.shield(&["attach", "--agent", "one", "--pid", "1", "--unit", "x"]).output()?;
    ensure!(several.status.code() == Some(2), "two at a time: {}", several.status);
    Ok(())
}

fn daemon(deployment: &Deployment) -> Result<String> {
    let pid = deployment.daemon.pid(shield_tests::deployment::Role::Worker).context("the worker is gone")?;
    Ok(pid.to_string())
}

/// Attaches as `one`; what was said on standard output and standard error.
pub(super) fn attach(deployment: &Deployment, what: &[&str]) -> Result<(String, String)> {
    let said = output(&mut deployment.shield(&[&["attach", "--agent", "one"], what].concat()))?;
    Ok((String::from_utf8(said.stdout)?, String::from_utf8(said.stderr)?))
}

pub(super) fn agents(deployment: &Deployment) -> Result<Vec<Value>> {
    let listed = output(&mut deployment.shield(&["agents", "-o", "json"]))?;
    Ok(serde_json::from_slice(&listed.stdout)?)
}

/// The cgroup of the one agent there is.
pub(super) fn place_of(deployment: &Deployment) -> Result<PathBuf> {
    let agents = agents(deployment)?;
    ensure!(agents.len() == 1, "not one agent: {agents:?}");
    Ok(agents[0]["cgroup"].as_str().context("a path")?.into())
}

fn make(host: &Cgroup, place: &str) -> Result<PathBuf> {
    let place = host.0.join(place);
    fs::create_dir_all(&place).with_context(|| format!("cannot make {}", place.display()))?;
    ensure!(place.starts_with(cgroup2_mount()?), "not a cgroup");
    Ok(place)
}

fn start(deployment: &Deployment, place: &Path) -> Result<Child> {
    let mut command = deployment.place.command("sh");
    command.args(["-c", CONTAINER]).arg(place).arg(deployment.dir().join("run/trust/ca.pem"));
    command.arg(deployment.origin.address.to_string()).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut container = command.spawn()?;
    let mut up = [0; 3];
    std::io::Read::read_exact(container.stdout.as_mut().context("piped")?, &mut up)?;
    Ok(container)
}

fn tell(mut container: Child) -> Result<String> {
    std::io::Write::write_all(&mut container.stdin.take().context("piped")?, b"go\n")?;
    Ok(String::from_utf8(container.wait_with_output()?.stdout)?)
}

/// Nobody's: a search looks through the whole host.
fn fresh() -> Result<String> {
    let random = fs::read_to_string("/proc/sys/kernel/random/uuid").context("cannot read random digits")?;
    Ok(random.trim().replace('-', ""))
}

fn container_id() -> Result<String> {
    Ok(fresh()? + &fresh()?)
}
