//! Clients that take all the time there is: each is cut at its limit, and takes its own agent's share, never another's.

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _};
use std::process::{Child, ChildStdout, Stdio};

use anyhow::{Context as _, Result, ensure};
use shield_tests::client::{Client, Clients, Errand, python};
use shield_tests::deployment::{Deployment, Role, Settings, output};

/// Short, so that a test need not wait for what a deployment would.
const LIMITS: &str = "connections_per_agent: 32, requests_per_agent: 6, head_within: 1s, idle: 2s, \
                      handshake_within: 1s, body_silence: 1s";

/// What a flood may cost the worker, KiB.
const COST: u64 = 50 << 10;

#[test]
fn whoever_is_slow_is_cut_at_the_limit_that_is_for_it() -> Result<()> {
    let site = Site::new()?;
    for (slow, expected) in [
        ("fast_and_served", "HTTP/1.1 200 OK"),
        ("a_head_that_never_ends", "HTTP/1.1 408 Request Timeout"),
        ("a_head_that_never_ends_in_plain_text", "HTTP/1.1 408 Request Timeout"),
        ("a_body_that_stops", "HTTP/1.1 408 Request Timeout"),
        ("a_handshake_that_stops", "closed"),
        ("a_connection_without_a_request", "closed"),
    ] {
        let told = output(&mut site.agent("bot", slow))?;
        let told = String::from_utf8(told.stdout)?;
        ensure!(told.trim() == expected, "{slow} was told {told:?}\n{}", site.deployment.daemon.log());
    }
    let arrived = site.deployment.origin.ledger.all();
    ensure!(arrived.len() == 1, "arrived: {arrived:?}");
    Ok(())
}

#[test]
fn connections_beyond_an_agents_share_wait_while_others_are_served() -> Result<()> {
    let site = Site::new()?;
    let kept = Kept::start(&site, "greedy", "many_connections_that_say_nothing")?;
    ensure!(site.serves("other")?, "another agent is not served");
    kept.release()?;
    ensure!(site.serves("greedy")?, "the agent is not served when its connections are closed");
    Ok(())
}

#[test]
fn requests_beyond_an_agents_share_wait_for_their_turn_while_others_are_served() -> Result<()> {
    let site = Site::new()?;
    site.deployment.origin.pause();
    let kept = Kept::start(&site, "greedy", "many_requests_that_wait")?;
    ensure!(site.serves("other")?, "another agent is not served");
    let patient = |receipt: &shield_tests::origin::Receipt| receipt.target.starts_with("/patient/");
    let arrived = site.deployment.origin.ledger.all().into_iter().filter(patient).count();
    ensure!(arrived <= 6, "{arrived} requests arrived");
    site.deployment.origin.resume();
    let told = kept.release()?;
    ensure!(told.matches("200 OK").count() == 8, "told {told:?}");
    Ok(())
}

#[test]
fn a_pipeline_whose_answers_nobody_reads_is_held_back_and_costs_little_memory() -> Result<()> {
    let site = Site::new()?;
    ensure!(site.serves("other")?, "another agent is not served");
    let before = site.deployment.daemon.resident(Role::Worker)?;
    let kept = Kept::start(&site, "greedy", "a_pipeline_whose_answers_nobody_reads")?;
    let after = site.deployment.daemon.resident(Role::Worker)?;
    ensure!(after < before + COST, "the worker went from {before} to {after} KiB");
    ensure!(site.serves("other")?, "another agent is not served");
    let told = kept.release()?;
    ensure!(told.trim() == "held back", "told {told:?}");
    Ok(())
}

#[test]
fn a_body_in_chunks_of_a_byte_arrives_whole_and_costs_little_memory() -> Result<()> {
    let site = Site::new()?;
    ensure!(site.serves("other")?, "another agent is not served");
    let before = site.deployment.daemon.resident(Role::Worker)?;
    let told = output(&mut site.agent("crumbs", "a_body_in_chunks_of_a_byte"))?;
    let told = String::from_utf8(told.stdout)?;
    ensure!(told.trim() == "HTTP/1.1 200 OK", "told {told:?}");
    let after = site.deployment.daemon.resident(Role::Worker)?;
    ensure!(after < before + COST, "the worker went from {before} to {after} KiB");
    let arrived = site.deployment.origin.ledger.of("POST", "/crumbs");
    let length = arrived.first().and_then(|receipt| receipt.body.as_ref()).map(|body| body.len());
    ensure!(arrived.len() == 1 && length == Some(100_000), "{} arrived, {length:?}", arrived.len());
    Ok(())
}

struct Site {
    deployment: Deployment,
    clients: Clients,
}

impl Site {
    fn new() -> Result<Self> {
        let deployment = Deployment::start(Settings { limits: LIMITS.into(), ..Settings::default() })?;
        let clients = Clients::install(&deployment)?;
        fs::write(clients.place("slow.py"), include_str!("slow.py"))?;
        Ok(Self { deployment, clients })
    }

    fn agent(&self, agent: &str, slow: &str) -> std::process::Command {
        let words = [python(), self.clients.place("slow.py").display().to_string(), slow.to_owned()];
        let mut agent = self.clients.agent(&self.deployment, agent, &words);
        agent.stdin(Stdio::null());
        agent
    }

    fn serves(&self, agent: &str) -> Result<bool> {
        let url = format!("https://crm.acme.internal/{agent}");
        let errand = Errand { method: "GET", url, body: String::new() };
        Ok(self.clients.start(&self.deployment, agent, Client::CurlH1, &errand)?.told()?.status == 200)
    }
}

/// An agent that keeps what it has until it is released.
struct Kept {
    agent: Child,
    said: BufReader<ChildStdout>,
}

impl Kept {
    /// Starts it and waits until it has all it wants.
    fn start(site: &Site, agent: &str, slow: &str) -> Result<Self> {
        let mut agent = site.agent(agent, slow);
        let mut agent = agent.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let mut said = BufReader::new(agent.stdout.take().context("its output is a pipe")?);
        let mut line = String::new();
        said.read_line(&mut line)?;
        ensure!(line == "kept\n", "it said {line:?}");
        Ok(Self { agent, said })
    }

    /// Lets it go on; what it says last.
    fn release(mut self) -> Result<String> {
        drop(self.agent.stdin.take());
        let mut last = String::new();
        self.said.read_to_string(&mut last)?;
        self.agent.wait()?;
        Ok(last)
    }
}
