//! While a role is dead, its agents' traffic stops: it does not find a way round.

use anyhow::{Context as _, Result, ensure};
use nix::sys::signal::{Signal, kill};
use shield_tests::client::{Client, Clients, Errand};
use shield_tests::deployment::{Deployment, Role, Settings};
use shield_tests::origin::PATIENT_PATH;
use shield_tests::wait;

use crate::resident::Resident;

#[test]
fn nothing_leaves_while_a_role_is_dead_and_service_returns_with_it() -> Result<()> {
    let mut deployment = Deployment::start(Settings::default())?;
    let outcome = kill_each(&mut deployment);
    outcome.with_context(|| format!("the daemon said:\n{}", deployment.daemon.log()))
}

#[test]
fn a_daemon_that_is_stopped_finishes_what_is_under_way_and_leaves_agents_blocked() -> Result<()> {
    let mut deployment = Deployment::start(Settings::default())?;
    let outcome = stop_and_start(&mut deployment);
    outcome.with_context(|| format!("the daemon said:\n{}", deployment.daemon.log()))
}

fn stop_and_start(deployment: &mut Deployment) -> Result<()> {
    let host = "crm.acme.internal";
    let mut agent = Resident::start(deployment)?;
    let clients = Clients::install(deployment)?;
    deployment.origin.pause();
    let path = format!("{PATIENT_PATH}slow");
    let errand = Errand { method: "GET", url: format!("https://{host}{path}"), body: String::new() };
    let slow = clients.start(deployment, "slow", Client::CurlH2, &errand)?;
    wait::until("the slow request to arrive", || {
        (deployment.origin.ledger.of("GET", &path).len() == 1).then_some(())
    })?;
    deployment.origin.resume();
    let ended = deployment.daemon.stop()?;
    ensure!(ended.success(), "the daemon ended with {ended}");
    ensure!(slow.told()?.status == 200, "what was under way was cut off");
    let before = deployment.origin.connections();
    ensure!(agent.ask("GET", host, "/stopped")?.status != 200, "a request got an answer without a daemon");
    ensure!(deployment.origin.connections() == before, "a connection got out without a daemon");
    deployment.restart()?;
    wait::until("service to return", || (agent.ask("GET", host, "/again").ok()?.status == 200).then_some(()))
}

fn kill_each(deployment: &mut Deployment) -> Result<()> {
    let mut agent = Resident::start(deployment)?;
    ensure!(agent.ask("GET", "crm.acme.internal", "/before")?.status == 200, "a read does not pass at first");
    // A name it has not met: without the signer there is no certificate for it.
    for (role, host) in [
        (Role::Worker, "crm.acme.internal"),
        (Role::Approver, "crm.acme.internal"),
        (Role::Signer, "git.acme.internal"),
        (Role::Supervisor, "crm.acme.internal"),
    ] {
        // A stopped supervisor brings nobody back.
        let supervisor = deployment.daemon.pid(Role::Supervisor).context("no supervisor")?;
        if role != Role::Supervisor {
            kill(supervisor, Signal::SIGSTOP)?;
        }
        let before = deployment.origin.connections();
        deployment.daemon.kill(role)?;
        let path = format!("/without/{role:?}");
        ensure!(agent.ask("GET", host, &path)?.status != 200, "a request got an answer without {role:?}");
        ensure!(deployment.origin.ledger.of("GET", &path).is_empty(), "a request got out without {role:?}");
        ensure!(deployment.origin.connections() == before, "a connection got out without {role:?}");
        if role == Role::Supervisor {
            deployment.restart()?;
        } else {
            kill(supervisor, Signal::SIGCONT)?;
        }
        wait::until(&format!("service without {role:?} to return"), || {
            (agent.ask("GET", host, "/again").ok()?.status == 200).then_some(())
        })?;
    }
    Ok(())
}
