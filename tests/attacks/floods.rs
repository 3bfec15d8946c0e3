//! Floods: what an agent sends without end costs it its connection or its own time, never the gate's memory and never
//! another agent's service.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::process::{Child, ChildStdout, Stdio};

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use shield_tests::client::{Client, Clients, Errand, python};
use shield_tests::deployment::{Deployment, Role, Settings};

/// Floods that the gate must end: each asks for more and more of it.
const ENDED: [&str; 9] = [
    "requests_taken_back_at_once",
    "requests_the_gate_must_take_back",
    "requests_that_are_malformed",
    "more_requests_than_allowed",
    "a_head_without_end",
    "a_head_of_empty_frames",
    "heads_that_grow_a_thousandfold",
    "empty_data",
    "data_of_one_byte",
];

/// Floods that are read away at no cost but their own.
const BORNE: [&str; 8] = [
    "settings",
    "settings_that_change_every_window",
    "pings",
    "priorities",
    "windows_opened_by_one",
    "frames_nobody_knows",
    "answers_without_a_window",
    "pings_whose_answers_nobody_reads",
];

/// What all floods together may cost, KiB.
const COST: u64 = 50 << 10;

#[test]
fn no_flood_of_frames_moves_the_gates_memory_or_another_agents_service() -> Result<()> {
    let deployment = Deployment::start(Settings::default())?;
    let clients = Clients::install(&deployment)?;
    let errand = |path: &str| Errand {
        method: "GET",
        url: format!("https://crm.acme.internal/{path}"),
        body: String::new(),
    };
    let served = |path: &str| -> Result<bool> {
        let other = clients.start(&deployment, "other", Client::CurlH2, &errand(path))?;
        Ok(other.told()?.status == 200)
    };
    ensure!(served("before")?, "nothing is served");
    let worker = deployment.daemon.pid(Role::Worker).context("no worker")?;
    let before = deployment.daemon.resident(Role::Worker)?;
    deployment.origin.pause();
    let mut flooding = Flooding::start(&deployment, &clients)?;
    let mut known = [&ENDED[..], &BORNE].concat();
    while let Some(flood) = flooding.next()? {
        let name = flood["flood"].as_str().unwrap_or_default();
        let ended = !flood["ended"].is_null();
        ensure!(ended == ENDED.contains(&name), "{flood}");
        ensure!(served(name)?, "nobody else is served after {flood}");
        known.retain(|other| *other != name);
        let now = deployment.daemon.resident(Role::Worker)?;
        ensure!(now < before + COST, "after {flood} the worker has {now} KiB, {before} KiB before all");
    }
    ensure!(known.is_empty(), "these did not come: {known:?}");
    ensure!(deployment.daemon.pid(Role::Worker) == Some(worker), "the worker is another one");
    deployment.origin.resume();
    Ok(())
}

/// The agent that floods. Its connections stay open until it is dropped.
struct Flooding {
    agent: Child,
    said: BufReader<ChildStdout>,
}

impl Flooding {
    fn start(deployment: &Deployment, clients: &Clients) -> Result<Self> {
        fs::write(clients.place("speaker.py"), include_str!("speaker.py"))?;
        fs::write(clients.place("floods.py"), include_str!("floods.py"))?;
        let words = [python(), clients.place("floods.py").display().to_string()];
        let mut agent = clients.agent(deployment, "bot", &words);
        let mut agent = agent.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let said = BufReader::new(agent.stdout.take().context("its output is a pipe")?);
        Ok(Self { agent, said })
    }

    /// Waits for what became of the next flood.
    fn next(&mut self) -> Result<Option<Value>> {
        let mut line = String::new();
        self.said.read_line(&mut line)?;
        if line == "all\n" || line.is_empty() {
            return Ok(None);
        }
        Ok(Some(serde_json::from_str(&line)?))
    }
}

impl Drop for Flooding {
    fn drop(&mut self) {
        // It ends when its input does; it may have ended already.
        drop(self.agent.stdin.take());
        let _ = self.agent.wait();
    }
}
