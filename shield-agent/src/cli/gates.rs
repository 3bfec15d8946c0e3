//! Verbs about gates: `run detach agents freeze thaw`, and `policy reload`.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use clap::Args;
use comfy_table::{Table, presets};
use ulid::Ulid;

use super::{Failure, Output, code};
use crate::config::Config;
use crate::ipc::gate::{AgentEntry, AgentKind, AskError, GateClient, GateReply, GateRequest};
use crate::launch::{self, Launch, NOT_STARTED};
use crate::names::AgentName;

/// `shield run`
#[derive(Debug, Args)]
pub(super) struct RunArgs {
    /// Name of the agent [default: run- and a random word]
    #[arg(long, value_name = "NAME")]
    agent: Option<AgentName>,
    /// User to run as, for root only [default: the caller, or who called sudo]
    #[arg(long, value_name = "USER")]
    user: Option<String>,
    /// Run in a network namespace of its own, which no packet leaves
    #[arg(long)]
    strict: bool,
    /// Leave a local socket outside /run in reach
    #[arg(long, value_name = "PATH")]
    allow_socket: Vec<PathBuf>,
    /// Say which sockets are hidden
    #[arg(short, long)]
    verbose: bool,
    /// Set a variable for the command
    #[arg(long, value_name = "NAME=VALUE", value_parser = variable)]
    env: Vec<(String, String)>,
    /// The command and its arguments
    #[arg(required = true, trailing_var_arg = true, value_name = "CMD")]
    command: Vec<OsString>,
}

/// Verbs about one agent.
#[derive(Debug, Args)]
pub(super) struct AgentArgs {
    /// Name of the agent
    #[arg(value_name = "NAME")]
    agent: AgentName,
}

/// Starts a command as a gated agent; the exit code is the command's.
pub(super) fn run(config: &Path, args: &RunArgs) -> Result<u8, Failure> {
    let not_started = |failure: Failure| Failure { code: NOT_STARTED, ..failure };
    let config = Config::load(config).map_err(|error| not_started(error.into()))?;
    let launch = Launch {
        run_dir: config.run_dir,
        agent: args.agent.clone().unwrap_or_else(fresh_name),
        user: args.user.clone(),
        strict: args.strict,
        env: args.env.clone(),
        allowed_sockets: args.allow_socket.clone(),
        verbose: args.verbose,
        command: args.command.clone(),
    };
    launch::run(&launch).map_err(|error| Failure::new(error.exit_code(), error))
}

/// Opens the gate of an attached cgroup.
pub(super) fn detach(config: &Path, args: &AgentArgs) -> Result<u8, Failure> {
    tell(config, &GateRequest::Detach { agent: args.agent.clone() })
}

/// Stops an agent.
pub(super) fn freeze(config: &Path, args: &AgentArgs) -> Result<u8, Failure> {
    tell(config, &GateRequest::Freeze { agent: args.agent.clone() })
}

/// Lets an agent continue.
pub(super) fn thaw(config: &Path, args: &AgentArgs) -> Result<u8, Failure> {
    tell(config, &GateRequest::Thaw { agent: args.agent.clone() })
}

/// Has the daemon read its policy files again.
pub(super) fn reload_policy(config: &Path) -> Result<u8, Failure> {
    tell(config, &GateRequest::PolicyReload)
}

/// Lists the agents.
pub(super) fn agents(config: &Path, output: Output) -> Result<u8, Failure> {
    let agents = match ask(config, &GateRequest::Agents)? {
        GateReply::Agents { agents } => agents,
        other => return Err(AskError::unexpected(&other).into()),
    };
    match output {
        Output::Table => println!("{}", table(&agents)),
        Output::Json => println!("{}", serde_json::to_string_pretty(&agents)?),
        Output::Jsonl => {
            for agent in &agents {
                println!("{}", serde_json::to_string(agent)?);
            }
        }
    }
    Ok(code::OK)
}

/// Asks for something that is answered with a sentence.
fn tell(config: &Path, request: &GateRequest) -> Result<u8, Failure> {
    match ask(config, request)? {
        GateReply::Done { what } => {
            eprintln!("{what}");
            Ok(code::OK)
        }
        other => Err(AskError::unexpected(&other).into()),
    }
}

pub(super) fn ask(config: &Path, request: &GateRequest) -> Result<GateReply, Failure> {
    Ok(GateClient::connect(&Config::load(config)?.run_dir)?.ask(request)?)
}

fn table(agents: &[AgentEntry]) -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_header([
        "AGENT",
        "KIND",
        "STATE",
        "PROCESSES",
        "REFUSED",
        "CGROUP",
        "FINDINGS",
    ]);
    for agent in agents {
        let kind = match agent.kind {
            AgentKind::Run => "run",
            AgentKind::Attached => "attached",
        };
        let state = if agent.frozen { "frozen" } else { "running" };
        let (processes, refused) =
            (agent.processes.to_string(), agent.refusals.values().sum::<u64>().to_string());
        let findings = agent.findings.iter().map(|finding| finding.id.as_str()).collect::<Vec<_>>().join(" ");
        let cgroup = agent.cgroup.display().to_string();
        table.add_row([agent.agent.as_str(), kind, state, &processes, &refused, &cgroup, &findings]);
    }
    table
}

/// The random half of a ULID: its time would make all names of an hour look alike.
fn fresh_name() -> AgentName {
    let id = Ulid::new().to_string().to_lowercase();
    format!("run-{}", &id[id.len() - 8..]).parse().expect("a prefix and eight letters and digits are a name")
}

fn variable(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err("expected NAME=VALUE".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fresh_name_is_valid_and_not_the_last_one() {
        assert_ne!(fresh_name(), fresh_name());
        assert_eq!(fresh_name().as_str().len(), 12);
    }
}
