//! Many agents at once, attached and detached: what is left of them afterwards is nothing.

use std::fs;

use anyhow::{Context as _, Result, ensure};
use shield_agent::capture::cgroup::cgroup2_mount;
use shield_agent::ipc::gate::{GateClient, GateReply, GateRequest};
use shield_agent::names::AgentName;
use shield_tests::deployment::{Deployment, Role, Settings, output};
use shield_tests::wait;

use super::attached::Cgroup;
use super::attached_kinds::agents;

const AGENTS: usize = 200;

/// Questions under way at a time: the supervisor answers one after the other, and an answer may take 15 seconds.
const AT_ONCE: usize = 20;

#[test]
fn two_hundred_agents_attached_and_detached_at_once_leave_nothing() -> Result<()> {
    let deployment = Deployment::start(Settings::default())?;
    let host = Cgroup::new()?;
    let outcome = come_and_go(&deployment, &host);
    outcome.with_context(|| format!("the daemon said:\n{}", deployment.daemon.log()))
}

fn come_and_go(deployment: &Deployment, host: &Cgroup) -> Result<()> {
    let before = [descriptors(deployment, Role::Supervisor)?, descriptors(deployment, Role::Worker)?];
    at_once(deployment, &|agent, number| {
        let cgroup = host.0.join(number.to_string());
        fs::create_dir(&cgroup)?;
        Ok(GateRequest::Attach { agent, cgroup })
    })?;
    ensure!(agents(deployment)?.len() == AGENTS, "not all of them are listed");
    ensure!(rules(deployment)?.matches("chain").count() >= AGENTS, "not all of them have a second backstop");
    ensure!(!left_over(deployment)?.is_empty(), "nothing to be removed is found");
    at_once(deployment, &|agent, _| Ok(GateRequest::Detach { agent }))?;
    ensure!(agents(deployment)?.is_empty(), "some are still gated");
    ensure!(left_over(deployment)?.is_empty(), "left over: {:?}", left_over(deployment)?);
    ensure!(rules(deployment)?.is_empty(), "left over: {}", rules(deployment)?);
    // Maps, links, programs and listeners all are descriptors of the daemon's.
    wait::until("every descriptor of theirs to be closed", || {
        let after =
            [descriptors(deployment, Role::Supervisor).ok()?, descriptors(deployment, Role::Worker).ok()?];
        (after == before).then_some(())
    })
}

/// Asks about all agents from several connections.
fn at_once(
    deployment: &Deployment,
    request: &(dyn Fn(AgentName, usize) -> Result<GateRequest> + Sync),
) -> Result<()> {
    let run_dir = deployment.dir().join("run");
    let share = |first: usize| -> Result<()> {
        for number in (first..AGENTS).step_by(AT_ONCE) {
            let agent: AgentName = format!("many-{number}").parse()?;
            let reply = GateClient::connect(&run_dir)?.ask(&request(agent, number)?)?;
            let answered = matches!(reply, GateReply::Attached { .. } | GateReply::Done { .. });
            ensure!(answered, "agent {number} was told {reply:?}");
        }
        Ok(())
    };
    std::thread::scope(|scope| {
        let shares: Vec<_> = (0..AT_ONCE).map(|first| scope.spawn(move || share(first))).collect();
        shares.into_iter().try_for_each(|share| share.join().expect("it does not panic"))
    })
}

/// What agents leave in the cgroup hierarchy and among the pins.
fn left_over(deployment: &Deployment) -> Result<Vec<String>> {
    let instance = deployment.daemon.instance();
    let cgroups = cgroup2_mount()?.join("agent-shield").join(instance);
    let versions = fs::read_dir("/sys/fs/bpf/agent-shield").context("nothing was ever pinned")?.flatten();
    let mut places = vec![cgroups.join("agents"), cgroups.join("proxy")];
    places.extend(versions.map(|version| version.path().join(instance)));
    let entries = places.iter().flat_map(fs::read_dir).flatten().flatten();
    Ok(entries.map(|entry| entry.path().display().to_string()).collect())
}

fn rules(deployment: &Deployment) -> Result<String> {
    let listed = output(deployment.place.command("nft").args(["list", "ruleset"]))?;
    Ok(String::from_utf8(listed.stdout)?.trim().to_owned())
}

fn descriptors(deployment: &Deployment, role: Role) -> Result<usize> {
    let pid = deployment.daemon.pid(role).context("a role is gone")?;
    Ok(fs::read_dir(format!("/proc/{pid}/fd"))?.count())
}
