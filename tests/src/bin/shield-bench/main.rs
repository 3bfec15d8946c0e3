//! What the gate costs beside others: the same load directly, through the gate and through proxies that are installed, in
//! interleaved rounds of one run.
//!
//! Usage: shield-bench [ROUNDS [METRIC…]]. Load and origin have one processor, whoever is measured another. Absolute times
//! move with the machine and its neighbours, so ratios and CPU time are what to compare. `SHIELD_BENCH_HUDSUCKER` names a
//! program that takes PORT CA-CERTIFICATE CA-KEY UPSTREAM-CA and proxies for whoever CONNECTs.

mod connect;
mod contestants;
mod metrics;
mod policy;
mod table;

use anyhow::{Context as _, Result, bail};
use shield_tests::deployment::{Deployment, Role, Settings, tool};

use contestants::{Contestant, Lineup, pin};
use metrics::{METRICS, Metric};
use table::Table;

const ROUNDS: usize = 5;

/// What the load goes beyond by itself; no other contestant has such limits.
const LIMITS: &str = "connections_per_agent: 4096, certificates_per_second: 1000";

/// Processor of the load and the origin; the next is that of whoever is measured.
const LOAD_CORE: usize = 0;

fn main() -> Result<()> {
    let mut words = std::env::args().skip(1).peekable();
    if words.next_if(|word| word == connect::LOAD).is_some() {
        return connect::load(&words.next().context("the load needs a destination")?);
    }
    let rounds = words.next().map_or(Ok(ROUNDS), |rounds| rounds.parse()).context("ROUNDS is a number")?;
    let wanted: Vec<String> = words.collect();
    let names = [&METRICS.map(|metric| metric.name)[..], &[connect::NAME]].concat();
    if let Some(strange) = wanted.iter().find(|word| !names.contains(&word.as_str())) {
        bail!("no metric is called `{strange}`: {}", names.join(", "));
    }
    let is_wanted = |name: &str| wanted.is_empty() || wanted.iter().any(|word| word == name);
    pin(std::process::id(), LOAD_CORE)?;
    let settings = Settings { policy: policy::hundred_rules(), limits: LIMITS.into(), ..Settings::default() };
    let deployment = Deployment::start(settings)?;
    for role in deployment.daemon.pids() {
        pin(role, LOAD_CORE + 1)?;
    }
    // Agents may not be able to enter the directory programs are built in.
    let load = deployment.dir().join("shield-load");
    std::fs::copy(tool("shield-load"), &load).context("cannot copy the load client")?;
    let lineup = Lineup::start(&deployment, LOAD_CORE + 1)?;
    let metrics: Vec<&Metric> = METRICS.iter().filter(|metric| is_wanted(metric.name)).collect();
    let connections = is_wanted(connect::NAME).then(connect::Bench::start).transpose()?;
    let mut table = Table::new(&lineup);
    for round in 1..=rounds {
        for metric in &metrics {
            eprintln!("round {round} of {rounds}: {}", metric.name);
            for contestant in lineup.all() {
                match measure(&deployment, metric, contestant, round, &mut table) {
                    // Somebody else's failure leaves an empty cell; ours is a defect.
                    Err(failure) if !contestant.is_gate() => {
                        eprintln!("{} failed: {failure:#}", contestant.name);
                    }
                    outcome => outcome?,
                }
            }
        }
        if let Some(connections) = &connections {
            eprintln!("round {round} of {rounds}: {}", connect::NAME);
            connections.measure(&mut table)?;
        }
    }
    table.print(rounds);
    Ok(())
}

fn measure(
    deployment: &Deployment,
    metric: &Metric,
    contestant: &Contestant,
    round: usize,
    table: &mut Table,
) -> Result<()> {
    if !metric.suits(contestant, round) {
        return Ok(());
    }
    let measured = metric.run(deployment, contestant, round)?;
    for (name, value) in metric.values(&measured, milliseconds(measured.ticks.1), contestant) {
        table.add(name, contestant.name, value);
    }
    let Some(per) = metric.shared_by().filter(|_| contestant.is_gate()) else { return Ok(()) };
    for (role, ticks) in Role::ALL.iter().zip(&measured.ticks.0) {
        let name = format!("  {}, the {role:?}", metric.name).to_lowercase();
        table.add(&name, contestant.name, milliseconds(*ticks) / measured.requests * per);
    }
    Ok(())
}

fn milliseconds(ticks: u64) -> f64 {
    // SAFETY: sysconf(3) reads a constant of the system.
    let per_second = unsafe { libc::sysconf(libc::_SC_CLK_TCK) };
    ticks as f64 * 1000.0 / per_second as f64
}
