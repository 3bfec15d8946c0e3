//! What the gate costs: the same client with and without it, in interleaved rounds of one run.
//!
//! Absolute times move with the machine and its neighbours, so ratios and CPU time are what to compare.

use std::process::Command;

use anyhow::{Context as _, Result};
use serde::Deserialize;
use shield_tests::deployment::{Deployment, Role, Settings, output, tool};

const ROUNDS: usize = 5;
/// Requests of a round that is as fast as it can be.
const REQUESTS: usize = 20_000;
/// Connections that share them.
const CONNECTIONS: &str = "10";
/// Requests of a round at a fixed rate.
const PACED: &str = "2500";
/// That rate, requests a second.
const RATE: &str = "500";
/// Body of every answer.
const PATH: &str = "/bytes/1024";

/// What the load client measured.
#[derive(Clone, Copy, Debug, Deserialize)]
struct Measured {
    requests: f64,
    seconds: f64,
    p50_us: f64,
    p99_us: f64,
}

#[derive(Default)]
struct Column {
    per_second: Vec<f64>,
    p50: Vec<f64>,
    p99: Vec<f64>,
}

fn main() -> Result<()> {
    let deployment = Deployment::start(Settings::default())?;
    let load = deployment.dir().join("shield-load");
    // Agents may not be able to enter the directory programs are built in.
    std::fs::copy(tool("shield-load"), &load).context("cannot copy the load client")?;
    let load = load.to_str().context("a path of ASCII")?;
    let (mut direct, mut gated, mut cpu) = (Column::default(), Column::default(), [const { Vec::new() }; 4]);
    for round in 1..=ROUNDS {
        eprintln!("round {round} of {ROUNDS}");
        direct.add(
            without_gate(&deployment, load, &[&REQUESTS.to_string()])?,
            without_gate(&deployment, load, &[PACED, RATE])?,
        );
        let before = deployment.daemon.cpu_ticks();
        let fast = with_gate(&deployment, load, &[&REQUESTS.to_string()])?;
        let after = deployment.daemon.cpu_ticks();
        for ((role, before), after) in cpu.iter_mut().zip(before).zip(after) {
            role.push(milliseconds(after - before) / fast.requests * 10_000.0);
        }
        gated.add(fast, with_gate(&deployment, load, &[PACED, RATE])?);
    }
    print_table(&direct, &gated, &cpu);
    Ok(())
}

impl Column {
    fn add(&mut self, fast: Measured, paced: Measured) {
        self.per_second.push(fast.requests / fast.seconds);
        self.p50.push(paced.p50_us);
        self.p99.push(paced.p99_us);
    }
}

fn print_table(direct: &Column, gated: &Column, cpu: &[Vec<f64>; 4]) {
    println!("HTTP/1.1 keep-alive over TLS, answers of 1 KiB, medians of {ROUNDS} interleaved rounds");
    println!("{:<36} {:>10} {:>10} {:>8}", "", "direct", "gated", "ratio");
    let row = |name: &str, direct: &[f64], gated: &[f64]| {
        let (direct, gated) = (median(direct), median(gated));
        println!("{name:<36} {direct:>10.0} {gated:>10.0} {:>8.2}", gated / direct);
    };
    row("requests/s, 10 connections", &direct.per_second, &gated.per_second);
    row("p50 at 500 requests/s, µs", &direct.p50, &gated.p50);
    row("p99 at 500 requests/s, µs", &direct.p99, &gated.p99);
    let alone = |name: &str, value: f64| println!("{name:<36} {:>10} {value:>10.0}", "");
    alone("added p50, µs", median(&gated.p50) - median(&direct.p50));
    alone("added p99, µs", median(&gated.p99) - median(&direct.p99));
    let cpu = cpu.each_ref().map(|role| median(role));
    alone("daemon's CPU ms per 10,000 requests", cpu.iter().sum());
    for (role, milliseconds) in Role::ALL.into_iter().zip(cpu) {
        alone(&format!("  of these, the {role:?}").to_lowercase(), milliseconds);
    }
}

fn with_gate(deployment: &Deployment, load: &str, amount: &[&str]) -> Result<Measured> {
    let address = deployment.address(443);
    let words = [&[load, "api.acme.internal", &address, PATH, CONNECTIONS], amount].concat();
    measure(&mut deployment.agent("bench", &words))
}

fn without_gate(deployment: &Deployment, load: &str, amount: &[&str]) -> Result<Measured> {
    let mut command = deployment.place.command(load);
    command.args(["api.acme.internal", &deployment.address(443), PATH, CONNECTIONS]).args(amount);
    measure(command.env("SSL_CERT_FILE", deployment.dir().join("origin-ca.pem")))
}

fn measure(command: &mut Command) -> Result<Measured> {
    let told = output(command)?.stdout;
    serde_json::from_slice(&told).with_context(|| format!("told {}", String::from_utf8_lossy(&told)))
}

fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted[sorted.len() / 2]
}

fn milliseconds(ticks: u64) -> f64 {
    // SAFETY: sysconf(3) reads a constant of the system.
    let per_second = unsafe { libc::sysconf(libc::_SC_CLK_TCK) };
    ticks as f64 * 1000.0 / per_second as f64
}
