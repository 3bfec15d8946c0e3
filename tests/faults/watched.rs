//! What takes a running agent's gate apart, or comes to sit beside it, is noticed: the agent is stopped, people are told,
//! and it goes on only when the gate holds again.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use shield_agent::capture::Gate;
use shield_agent::capture::cgroup::cgroup2_mount;
use shield_common::limits::ABI;
use shield_tests::deployment::{Deployment, Settings, output};
use shield_tests::foreign::{Act, Calls, Foreign};
use shield_tests::wait;

use crate::resident::Resident;

const AGENT: &str = "resident";
const HOST: &str = "crm.acme.internal";

#[test]
fn an_agent_whose_gate_lost_a_hook_is_stopped_for_good() -> Result<()> {
    watched(|bench| {
        let pin = bench.pins().join("links/gate_connect4");
        fs::remove_file(&pin).with_context(|| format!("cannot remove {}", pin.display()))?;
        let remedy = bench.stopped_for("gate-damaged")?;
        ensure!(remedy.contains("cgroup.kill"), "the remedy is `{remedy}`");
        bench.refuses_to_thaw()
    })
}

#[test]
fn an_agent_is_stopped_while_a_program_beside_its_gate_can_overrule_it() -> Result<()> {
    watched(|bench| {
        let foreign = Foreign::attach(&bench.cgroup()?, Calls::Connect4, Act::Excuse)?;
        let remedy = bench.stopped_for("foreign-program")?;
        ensure!(remedy.contains("shield thaw resident"), "the remedy is `{remedy}`");
        bench.refuses_to_thaw()?;
        drop(foreign);
        output(&mut bench.deployment.shield(&["thaw", AGENT]))?;
        ensure!(bench.agent.ask("GET", HOST, "/mended")?.status == 200, "a thawed agent is not served");
        ensure!(bench.entry()?["frozen"] == false, "a mended agent is stopped again");
        Ok(())
    })
}

#[test]
fn a_process_that_root_moves_out_of_its_gate_is_brought_back_and_stopped() -> Result<()> {
    watched(|bench| {
        let elsewhere = Elsewhere::make(&bench.instance)?;
        // Once this is found, somebody has looked who is inside.
        let cgroup = bench.cgroup()?;
        let above = cgroup.parent().context("a cgroup has one above it")?;
        let _foreign = Foreign::attach(above, Calls::Sendmsg4, Act::Nothing)?;
        wait::until("people to be told", || bench.finding("also-judged").ok()?.map(drop))?;
        let inside = bench.processes()?;
        let moved = inside.first().context("an agent has a process")?;
        fs::write(elsewhere.0.join("cgroup.procs"), moved)?;
        let remedy = bench.stopped_for("process-moved-out")?;
        ensure!(remedy.contains("shield thaw resident"), "the remedy is `{remedy}`");
        ensure!(bench.processes()? == inside, "it was not brought back");
        output(&mut bench.deployment.shield(&["thaw", AGENT]))?;
        ensure!(bench.agent.ask("GET", HOST, "/back")?.status == 200, "a thawed agent is not served");
        ensure!(bench.entry()?["frozen"] == false, "an agent that is whole is stopped again");
        Ok(())
    })
}

#[test]
fn a_program_above_the_agent_is_told_about_and_stops_nobody() -> Result<()> {
    watched(|bench| {
        let cgroup = bench.cgroup()?;
        let above = cgroup.parent().context("a cgroup has one above it")?;
        let _foreign = Foreign::attach(above, Calls::Sendmsg4, Act::Nothing)?;
        wait::until("people to be told", || bench.finding("also-judged").ok()?.map(drop))?;
        ensure!(bench.entry()?["frozen"] == false, "the agent was stopped");
        ensure!(bench.agent.ask("GET", HOST, "/on")?.status == 200, "the agent is not served");
        Ok(())
    })
}

struct Bench<'a> {
    deployment: &'a Deployment,
    instance: String,
    agent: Resident,
}

/// A test with an agent that is served. However it ends, so does the agent.
fn watched(test: impl FnOnce(&mut Bench<'_>) -> Result<()>) -> Result<()> {
    let settings = Settings::default();
    let instance = settings.instance.clone();
    let deployment = Deployment::start(settings)?;
    let mut bench = Bench { agent: Resident::start(&deployment)?, deployment: &deployment, instance };
    let outcome = bench.is_served().and_then(|()| test(&mut bench));
    // An agent that is stopped would be waited for forever.
    let ended = bench.cgroup().and_then(|cgroup| Ok(fs::write(cgroup.join("cgroup.kill"), "1")?));
    outcome.and(ended).with_context(|| format!("the daemon said:\n{}", deployment.daemon.log()))
}

impl Bench<'_> {
    fn is_served(&mut self) -> Result<()> {
        ensure!(self.agent.ask("GET", HOST, "/before")?.status == 200, "a read does not pass at first");
        ensure!(self.entry()?["frozen"] == false, "the agent is stopped at first");
        ensure!(Gate::pinned(&self.instance)?.iter().any(|agent| agent.as_str() == AGENT), "no gate");
        Ok(())
    }

    /// Waits until the agent is stopped and the finding is listed and written down; gives its remedy.
    fn stopped_for(&self, finding: &str) -> Result<String> {
        let found = wait::until(&format!("{finding} to be found"), || self.finding(finding).ok()?)?;
        ensure!(self.entry()?["frozen"] == true, "the agent is not said to be stopped");
        let events = self.cgroup()?.join("cgroup.events");
        wait::until("every process to stop", || {
            fs::read_to_string(&events).ok()?.contains("frozen 1").then_some(())
        })?;
        wait::until("the finding to be in the journal", || {
            let tail = ["journal", "tail", "--agent", AGENT, "-o", "jsonl"];
            let records = output(&mut self.deployment.shield(&tail)).ok()?.stdout;
            String::from_utf8_lossy(&records).contains(&format!("\"{finding}\"")).then_some(())
        })?;
        Ok(found["remedy"].as_str().context("a finding has a remedy")?.to_owned())
    }

    fn refuses_to_thaw(&self) -> Result<()> {
        let thawed = self.deployment.shield(&["thaw", AGENT]).output()?;
        ensure!(!thawed.status.success(), "an agent whose gate does not hold was let go on");
        ensure!(self.entry()?["frozen"] == true, "a refused thaw let the agent go on");
        Ok(())
    }

    fn finding(&self, id: &str) -> Result<Option<Value>> {
        let entry = self.entry()?;
        let findings = entry["findings"].as_array().context("an agent has findings")?;
        Ok(findings.iter().find(|finding| finding["id"] == id).cloned())
    }

    /// What `shield agents` says about the agent.
    fn entry(&self) -> Result<Value> {
        let list = output(&mut self.deployment.shield(&["agents", "-o", "json"]))?.stdout;
        let list: Vec<Value> = serde_json::from_slice(&list)?;
        list.into_iter().find(|entry| entry["agent"] == AGENT).context("the agent is not listed")
    }

    fn cgroup(&self) -> Result<PathBuf> {
        Ok(self.entry()?["cgroup"].as_str().context("an agent has a cgroup")?.into())
    }

    /// Numbers of the agent's processes.
    fn processes(&self) -> Result<Vec<String>> {
        let mut pids: Vec<String> =
            fs::read_to_string(self.cgroup()?.join("cgroup.procs"))?.lines().map(str::to_owned).collect();
        pids.sort();
        Ok(pids)
    }

    fn pins(&self) -> PathBuf {
        format!("/sys/fs/bpf/agent-shield/v{ABI}/{}/{AGENT}", self.instance).into()
    }
}

/// A cgroup that is nobody's.
struct Elsewhere(PathBuf);

impl Elsewhere {
    fn make(instance: &str) -> Result<Self> {
        let place = cgroup2_mount()?.join(format!("elsewhere-{instance}"));
        fs::create_dir(&place).with_context(|| format!("cannot make {}", place.display()))?;
        Ok(Self(place))
    }
}

impl Drop for Elsewhere {
    fn drop(&mut self) {
        // It stays when somebody is left inside, and says so by being there.
        let _ = fs::remove_dir(&self.0);
    }
}
