//! The daemon, its gates and what it writes for agents.

use std::collections::BTreeSet;
use std::fs;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;

use super::{Area, Check};
use crate::capture::{AgentCgroups, Cgroups, Gate};
use crate::config::Config;
use crate::ipc::gate::{AgentEntry, AskError, GateClient, GateReply, GateRequest};
use crate::launch::TRUST_DIRECTORY;
use crate::report::Chain;

/// Every check of this area.
pub(super) fn check(config: &Config) -> Vec<Check> {
    let agents = match agents(config) {
        Ok(agents) => agents,
        Err(error) => {
            // What the error advises is below as the remedy.
            let sentence = error.to_string();
            let finding = sentence.split(": ").next().unwrap_or_default();
            let remedy = "shield daemon, or systemctl start shield";
            let stopped = Check::missing(Area::Running, "daemon", finding, remedy);
            return vec![stopped, orphans(config, &BTreeSet::new())];
        }
    };
    let answers = format!("answers in {}, {} agents", config.run_dir.display(), agents.len());
    let known = agents.iter().map(|agent| agent.agent.to_string()).collect();
    vec![
        Check::ok(Area::Running, "daemon", answers),
        gates(config, &agents),
        orphans(config, &known),
        trust(config),
    ]
}

fn agents(config: &Config) -> Result<Vec<AgentEntry>, AskError> {
    match GateClient::connect(&config.run_dir)?.ask(&GateRequest::Agents)? {
        GateReply::Agents { agents } => Ok(agents),
        other => Err(AskError::unexpected(&other)),
    }
}

/// Every hook of every agent, on the cgroup that has its name now.
fn gates(config: &Config, agents: &[AgentEntry]) -> Check {
    let guard = config.gate.guard.as_deref();
    let all = match Cgroups::find(&config.instance).and_then(|all| all.guarded_by(guard)) {
        Ok(all) => all,
        Err(error) => return Check::failed(Area::Running, "gates", &error),
    };
    let damaged = agents.iter().filter_map(|agent| {
        let cgroups = AgentCgroups { agent: agent.cgroup.clone(), ..all.of(&agent.agent) };
        let why = Gate::look(&config.instance, &agent.agent, &cgroups).err()?;
        Some(format!("{}: {}", agent.agent, Chain(&why)))
    });
    let damaged: Vec<String> = damaged.collect();
    match damaged.is_empty() {
        true => Check::ok(Area::Running, "gates", format!("{} gates, every hook in its place", agents.len())),
        false => {
            let remedy = "restart the daemon if gate.guard was changed since; else stop the agent, detach it and attach it again";
            Check::missing(Area::Running, "gates", damaged.join("; "), remedy)
        }
    }
}

/// Gates nobody serves: their agents are refused every connection.
fn orphans(config: &Config, known: &BTreeSet<String>) -> Check {
    let pinned = Gate::pinned(&config.instance).unwrap_or_default();
    let orphans: Vec<String> =
        pinned.iter().map(ToString::to_string).filter(|agent| !known.contains(agent)).collect();
    match orphans.is_empty() {
        true => Check::ok(Area::Running, "orphans", "every gate is served"),
        false => Check::weaker(
            Area::Running,
            "orphans",
            format!("nobody serves the gates of {}", orphans.join(", ")),
            "these agents are refused every connection",
            "start the daemon, which takes them over, or `shield detach` them",
        ),
    }
}

fn trust(config: &Config) -> Check {
    let directory = config.run_dir.join(TRUST_DIRECTORY);
    let read = |name: &str| {
        let certificates = CertificateDer::pem_file_iter(directory.join(name)).ok()?;
        certificates.collect::<Result<Vec<_>, _>>().ok()
    };
    let (ca, bundle) = (read("ca.pem"), read("bundle.pem"));
    match (ca.as_deref(), bundle) {
        (Some([ca]), Some(bundle)) if bundle.contains(ca) => {
            Check::ok(Area::Running, "trust", format!("{} roots, ours among them", bundle.len()))
        }
        _ => {
            let there = fs::exists(&directory).unwrap_or(false);
            let finding = match there {
                true => format!("the files in {} do not belong together", directory.display()),
                false => format!("there is no {}", directory.display()),
            };
            Check::missing(Area::Running, "trust", finding, "restart the daemon, which writes them")
        }
    }
}
