//! While a role is dead, its agents' traffic stops: it does not find a way round.

use anyhow::{Context as _, Result, ensure};
use nix::sys::signal::{Signal, kill};
use shield_tests::deployment::{Deployment, Role, Settings};
use shield_tests::wait;

use crate::resident::Resident;

#[test]
fn nothing_leaves_while_a_role_is_dead_and_service_returns_with_it() -> Result<()> {
    let mut deployment = Deployment::start(Settings::default())?;
    let outcome = kill_each(&mut deployment);
    outcome.with_context(|| format!("the daemon said:\n{}", deployment.daemon.log()))
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
