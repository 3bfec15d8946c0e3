//! What is measured: a load each, and what its numbers mean.

use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command, Stdio};

use anyhow::{Context as _, Result};
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use serde::Deserialize;
use shield_tests::deployment::Deployment;
use shield_tests::origin::SINK_PATH;

use super::contestants::{Contestant, Kind};

/// What the load client measured.
#[derive(Debug, Deserialize)]
pub(super) struct Measured {
    pub(super) requests: f64,
    seconds: f64,
    p50_us: f64,
    p99_us: f64,
    #[serde(skip)]
    kib_per_connection: f64,
    /// CPU time used meanwhile: of each role of the gate's, and of whoever was measured; ticks.
    #[serde(skip)]
    pub(super) ticks: (Vec<u64>, u64),
}

/// A load: host, path, connections, requests and further words for `shield-load`.
pub(super) struct Metric {
    pub(super) name: &'static str,
    host: &'static str,
    path: &'static str,
    load: &'static [&'static str],
    means: Means,
}

/// What its numbers mean.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Means {
    /// CPU of many requests, and how many fit into a second.
    Requests(&'static str),
    /// Delays.
    Delay,
    /// Delays while somebody else asks for all there is.
    CrowdedDelay,
    /// CPU of each new connection.
    Connections(&'static str),
    /// CPU for bodies of so many MiB.
    Bodies(&'static str, f64),
    /// Memory of connections nothing happens on.
    Memory,
}

const API: &str = "api.acme.internal";
const SMALL: &str = "/bytes/1024";

pub(super) const METRICS: [Metric; 9] = [
    // Before memory was used for anything else.
    Metric { name: "idle", host: API, path: SMALL, load: &["2000", "2000", "keep"], means: Means::Memory },
    Metric {
        name: "h1",
        host: API,
        path: SMALL,
        load: &["10", "20000"],
        means: Means::Requests("h1: CPU ms per 10,000 requests"),
    },
    Metric {
        name: "h2",
        host: API,
        path: SMALL,
        load: &["10", "20000", "h2=10"],
        means: Means::Requests("h2: CPU ms per 10,000 requests"),
    },
    Metric { name: "rate", host: API, path: SMALL, load: &["8", "2500", "rate=500"], means: Means::Delay },
    Metric {
        name: "crowd",
        host: API,
        path: SMALL,
        load: &["8", "2500", "rate=500"],
        means: Means::CrowdedDelay,
    },
    Metric {
        name: "fresh",
        host: API,
        path: SMALL,
        load: &["16", "2000", "fresh"],
        means: Means::Connections("new connection: CPU ms"),
    },
    Metric {
        name: "hosts",
        // The round is put in front, so that no host was seen before.
        host: "host-{}.acme.internal",
        path: SMALL,
        load: &["4", "300", "fresh"],
        means: Means::Connections("new host: CPU ms"),
    },
    Metric {
        name: "down",
        host: API,
        path: "/bytes/10485760",
        load: &["4", "40"],
        means: Means::Bodies("10 MiB down: CPU s per GB", 10.0),
    },
    Metric {
        name: "up",
        host: API,
        path: SINK_PATH,
        load: &["1", "4", "send=104857600"],
        means: Means::Bodies("100 MiB up: CPU s per GB", 100.0),
    },
];

impl Metric {
    /// Whether it says something about this contestant: only who makes certificates meets new hosts, and memory that was
    /// taken in the first round is there to be used in the next.
    pub(super) fn suits(&self, contestant: &Contestant, round: usize) -> bool {
        match self.name {
            "hosts" => contestant.is_gate(),
            "idle" => round == 1 && !matches!(contestant.kind, Kind::Direct),
            _ => true,
        }
    }

    pub(super) fn run(
        &self,
        deployment: &Deployment,
        contestant: &Contestant,
        round: usize,
    ) -> Result<Measured> {
        let host =
            if self.name == "hosts" { format!("r{round}-{}", self.host) } else { self.host.to_owned() };
        let (address, via) = match contestant.kind {
            Kind::Direct | Kind::Gate => (deployment.address(443), None),
            Kind::Reverse(port, _) => (format!("127.0.0.1:{port}"), None),
            Kind::Connect(port, _) => (deployment.address(443), Some(format!("via=127.0.0.1:{port}"))),
        };
        let mut words = vec![host.as_str(), &address, self.path];
        words.extend(self.load.iter().copied().chain(via.as_deref()));
        let _crowd = match self.means {
            Means::CrowdedDelay => Some(Crowd::start(deployment, contestant, &address, via.as_deref())?),
            _ => None,
        };
        let mut command = load("bench", deployment, contestant, &words)?;
        let before = contestant.memory(deployment);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let mut stdin = child.stdin.take().context("standard input is piped")?;
        let mut stdout = BufReader::new(child.stdout.take().context("standard output is piped")?).lines();
        let mut next_line = || Ok::<_, std::io::Error>(stdout.next().transpose()?.unwrap_or_default());
        next_line()?;
        let ticks = (deployment.daemon.cpu_ticks(), contestant.cpu_ticks(deployment));
        // One that failed is gone already, and tells nothing.
        let _ = stdin.write_all(b"\n");
        let told = next_line()?;
        let roles = deployment.daemon.cpu_ticks();
        let used = roles.iter().zip(&ticks.0).map(|(after, before)| after - before).collect();
        let ticks = (used, contestant.cpu_ticks(deployment) - ticks.1);
        let during = contestant.memory(deployment);
        drop(stdin);
        child.wait()?;
        let mut measured: Measured =
            serde_json::from_str(&told).with_context(|| format!("{command:?} told `{told}`"))?;
        measured.kib_per_connection = (during - before) / measured.requests;
        measured.ticks = ticks;
        Ok(measured)
    }

    /// For how many requests the CPU time of each role is told; `None` where that says little.
    pub(super) fn shared_by(&self) -> Option<f64> {
        match self.means {
            Means::Requests(_) => Some(10_000.0),
            Means::Connections(_) => Some(1.0),
            Means::Delay | Means::CrowdedDelay | Means::Bodies(..) | Means::Memory => None,
        }
    }

    /// Rows and values: `cpu` is what the contestant used, milliseconds.
    pub(super) fn values(
        &self,
        of: &Measured,
        cpu: f64,
        contestant: &Contestant,
    ) -> Vec<(&'static str, f64)> {
        let mut values = vec![];
        match self.means {
            Means::Requests(name) => {
                values.push((name, cpu / of.requests * 10_000.0));
                if self.name == "h1" {
                    values.push(("h1: requests/s", of.requests / of.seconds));
                }
            }
            Means::Delay => values.extend([("p50 at 500/s, µs", of.p50_us), ("p99 at 500/s, µs", of.p99_us)]),
            Means::CrowdedDelay => {
                values.extend([("p50 beside a flood, µs", of.p50_us), ("p99 beside a flood, µs", of.p99_us)]);
            }
            Means::Connections(name) => values.push((name, cpu / of.requests)),
            Means::Bodies(name, mib) => {
                values.push((name, cpu / 1000.0 / (of.requests * mib * 1_048_576.0 / 1e9)));
            }
            Means::Memory => values.push(("idle connection: KiB", of.kib_per_connection)),
        }
        // Nobody in between uses nothing.
        let direct = matches!(contestant.kind, Kind::Direct);
        values.retain(|(name, _)| !direct || !name.contains("CPU"));
        values
    }
}

/// The load client, as the agent `agent` where there is a gate.
fn load(agent: &str, deployment: &Deployment, contestant: &Contestant, words: &[&str]) -> Result<Command> {
    let load = deployment.dir().join("shield-load");
    let load = load.to_str().context("a path of ASCII")?;
    if contestant.is_gate() {
        return Ok(deployment.agent(agent, &[&[load], words].concat()));
    }
    let mut command = deployment.place.command(load);
    command.args(words).env("SSL_CERT_FILE", deployment.dir().join("origin-ca.pem"));
    Ok(command)
}

/// Another agent that asks as fast as it is answered, over 64 connections, until this is dropped.
struct Crowd(Child);

impl Crowd {
    fn start(
        deployment: &Deployment,
        contestant: &Contestant,
        address: &str,
        via: Option<&str>,
    ) -> Result<Self> {
        let mut words = vec![API, address, SMALL, "64", "1000000000"];
        words.extend(via);
        let mut command = load("crowd", deployment, contestant, &words)?;
        command.process_group(0).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut crowd = Self(command.spawn()?);
        let stdout = crowd.0.stdout.take().context("standard output is piped")?;
        BufReader::new(stdout).read_line(&mut String::new())?;
        crowd.0.stdin.as_mut().context("standard input is piped")?.write_all(b"\n")?;
        Ok(crowd)
    }
}

impl Drop for Crowd {
    fn drop(&mut self) {
        // It never ends by itself: its group is `shield run` and the load, or the load alone.
        if let Ok(group) = i32::try_from(self.0.id()) {
            let _ = killpg(Pid::from_raw(group), Signal::SIGTERM);
        }
        let _ = self.0.wait();
    }
}
