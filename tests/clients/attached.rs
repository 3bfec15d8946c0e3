//! A cgroup somebody else made, gated by `shield attach`: what is started inside is held like any other agent.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, ensure};
use shield_agent::capture::cgroup::cgroup2_mount;
use shield_tests::deployment::{Deployment, Settings, output};

/// Enters the cgroup, becomes an ordinary user and asks. The certificates are those `shield attach` names.
const ASK: &str = r#"echo $$ > "$0/cgroup.procs" && exec setpriv --reuid 65534 --regid 65534 --clear-groups \
    curl --silent --max-time 20 --cacert "$1" --resolve "crm.acme.internal:443:$2" --write-out ' %{http_code}' \
    --request "$3" "https://crm.acme.internal$4""#;

#[test]
fn what_runs_in_an_attached_cgroup_is_gated_until_it_is_detached() -> Result<()> {
    let deployment = Deployment::start(Settings::default())?;
    let cgroup = Cgroup::new()?;
    let outcome = attach_and_detach(&deployment, &cgroup);
    outcome.with_context(|| format!("the daemon said:\n{}", deployment.daemon.log()))
}

#[test]
fn a_cgroup_that_cannot_be_gated_is_refused_with_the_reason() -> Result<()> {
    let deployment = Deployment::start(Settings::default())?;
    let cgroup = Cgroup::new()?;
    let place = cgroup.0.to_str().context("a path of ASCII")?;
    output(&mut deployment.shield(&["attach", "--agent", "first", "--cgroup", place]))?;
    let mount = cgroup2_mount()?;
    let root = mount.to_str().context("a path of ASCII")?;
    for (wanted, reason) in
        [(place, "first"), (root, "root"), ("/proc", "cgroup"), ("/nonexistent", "nonexistent")]
    {
        let refused = deployment.shield(&["attach", "--agent", "second", "--cgroup", wanted]).output()?;
        let said = String::from_utf8(refused.stderr)?;
        ensure!(refused.status.code() == Some(1), "{wanted}: {}", refused.status);
        ensure!(said.contains(reason), "{wanted}: {said}");
    }
    output(&mut deployment.shield(&["detach", "first"])).map(|_| ())
}

fn attach_and_detach(deployment: &Deployment, cgroup: &Cgroup) -> Result<()> {
    let place = cgroup.0.to_str().context("a path of ASCII")?;
    let attached = output(&mut deployment.shield(&["attach", "--agent", "service", "--cgroup", place]))?;
    let said = String::from_utf8(attached.stderr)?;
    ensure!(said.contains("SSL_CERT_FILE"), "what the gate does not cover is not said: {said}");

    let told = ask(deployment, cgroup, "GET", "/read").output()?;
    ensure!(told.stdout.ends_with(b" 200"), "a read does not pass: {told:?}");
    let mut deleting = ask(deployment, cgroup, "DELETE", "/held");
    let deleting = deleting.stdout(Stdio::piped()).spawn()?;
    let hold = deployment.pending("service")?;
    ensure!(deployment.origin.ledger.of("DELETE", "/held").is_empty(), "a delete arrived unapproved");
    deployment.decide("deny", &hold, "not now")?;
    let told = String::from_utf8(deleting.wait_with_output()?.stdout)?;
    ensure!(told.contains("not now") && told.ends_with(" 403"), "told {told}");

    output(&mut deployment.shield(&["detach", "service"]))?;
    // Nobody vouches for the origin any more: the connection is the program's own again.
    let told = ask(deployment, cgroup, "GET", "/direct").output()?;
    ensure!(told.stdout.ends_with(b" 000"), "still gated: {told:?}");
    ensure!(deployment.holds()?.len() == 1, "more was held than one delete");
    Ok(())
}

fn ask(deployment: &Deployment, cgroup: &Cgroup, method: &str, path: &str) -> Command {
    let ca = deployment.dir().join("run/trust/ca.pem");
    let mut command = deployment.place.command("sh");
    command.args(["-c", ASK]).arg(&cgroup.0).arg(ca).arg(deployment.origin.address.to_string());
    command.args([method, path]);
    command
}

/// A cgroup of the test's own, and all that is below it.
pub(super) struct Cgroup(pub(super) PathBuf);

impl Cgroup {
    pub(super) fn new() -> Result<Self> {
        let place = cgroup2_mount()?.join(format!(
            "shield-attached-{}-{:?}",
            std::process::id(),
            std::thread::current().id()
        ));
        fs::create_dir(&place).with_context(|| format!("cannot make {}", place.display()))?;
        Ok(Self(place))
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        // A process that just ended may keep it for a moment.
        let _ = shield_tests::wait::within(shield_tests::wait::PATIENCE, || remove(&self.0).ok());
    }
}

fn remove(place: &Path) -> std::io::Result<()> {
    for entry in fs::read_dir(place)?.flatten().filter(|entry| entry.path().is_dir()) {
        remove(&entry.path())?;
    }
    fs::remove_dir(place)
}
