//! The command line: one tree of verbs, one file for each group of them.
//!
//! Data goes to standard output, talk to standard error. What a verb does lives with its subject; here are arguments,
//! exit codes and what people read.

mod attach;
mod ca;
mod daemon;
mod decide;
mod doctor;
mod exit;
mod gates;
mod holds;
mod journal;
mod login;
mod manual;
mod paint;
mod policy;
mod show;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand, ValueEnum};

pub use self::exit::{Failure, code};
use crate::prove::actor::{self, Part};
use crate::role::RoleKind;

/// Where the configuration is when nobody says otherwise.
const CONFIG: &str = "/etc/shield/shield.yaml";

/// Puts a person at the doors an AI agent should not open alone.
#[derive(Debug, Parser)]
#[command(name = "shield", version, max_term_width = 100)]
pub struct Cli {
    /// Configuration file
    #[arg(long, global = true, env = "SHIELD_CONFIG", default_value = CONFIG, value_name = "FILE")]
    config: PathBuf,
    /// How data is printed
    #[arg(short, long, global = true, default_value = "table", value_name = "FORMAT")]
    output: Output,
    #[command(subcommand)]
    verb: Verb,
}

/// How data is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Output {
    /// For people.
    Table,
    /// One JSON document.
    Json,
    /// One JSON document a line.
    Jsonl,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Run the host daemon in the foreground
    Daemon,
    /// Start a command as a gated agent
    Run(gates::RunArgs),
    /// Gate what runs already: a cgroup, a systemd unit, a container, a process
    Attach(attach::AttachArgs),
    /// Remove the gate of what was attached
    Detach(gates::AgentArgs),
    /// List the agents
    Agents,
    /// Stop every process of an agent
    Freeze(gates::AgentArgs),
    /// Let a frozen agent continue
    Thaw(gates::AgentArgs),
    /// List the requests that wait for a person
    Holds(holds::HoldsArgs),
    /// Show one hold in full
    Show(show::ShowArgs),
    /// Let a held request be sent, once
    Approve(decide::DecideArgs),
    /// Never let a held request be sent
    Deny(decide::DecideArgs),
    /// Take back an approval whose sending has not begun
    Revoke(decide::RevokeArgs),
    /// Print a link that logs a reviewer in, once
    Login(login::LoginArgs),
    /// The record of everything
    #[command(subcommand)]
    Journal(journal::JournalVerb),
    /// Policy files
    #[command(subcommand)]
    Policy(policy::PolicyVerb),
    /// The certificate authority agents are made to trust
    #[command(subcommand)]
    Ca(ca::CaVerb),
    /// Check every prerequisite, each with its remedy
    Doctor(doctor::DoctorArgs),
    /// Print a completion script
    Completions(manual::CompletionsArgs),
    /// Print the manual page
    Man,
    /// Print the version
    Version,
    /// Play a part in `doctor --prove`; only that starts these
    #[command(hide = true, subcommand)]
    Prove(Part),
    /// Become one of the daemon's roles; only the daemon starts these
    #[command(hide = true)]
    Role {
        /// Which
        kind: RoleKind,
    },
}

/// Runs what the arguments ask for.
///
/// The calling process must have one thread: verbs fork, and roles give up privileges that belong to threads.
pub fn run(cli: &Cli) -> ExitCode {
    if !matches!(cli.verb, Verb::Daemon | Verb::Run(_) | Verb::Prove(_) | Verb::Role { .. }) {
        exit::quietly_when_nobody_reads();
    }
    exit::report(dispatch(cli))
}

fn dispatch(cli: &Cli) -> Result<u8, Failure> {
    match &cli.verb {
        Verb::Role { kind } => daemon::role(*kind),
        Verb::Prove(part) => Ok(actor::play(part)?),
        Verb::Daemon => daemon::run(&cli.config),
        Verb::Run(args) => gates::run(&cli.config, args),
        Verb::Attach(args) => attach::run(&cli.config, args),
        Verb::Detach(args) => gates::detach(&cli.config, args),
        Verb::Agents => gates::agents(&cli.config, cli.output),
        Verb::Freeze(args) => gates::freeze(&cli.config, args),
        Verb::Thaw(args) => gates::thaw(&cli.config, args),
        Verb::Holds(args) => holds::run(&cli.config, args, cli.output),
        Verb::Show(args) => show::run(&cli.config, args, cli.output),
        Verb::Approve(args) => decide::approve(&cli.config, args, cli.output),
        Verb::Deny(args) => decide::deny(&cli.config, args, cli.output),
        Verb::Revoke(args) => decide::revoke(&cli.config, args, cli.output),
        Verb::Login(args) => login::run(&cli.config, args, cli.output),
        Verb::Journal(verb) => journal::run(&cli.config, verb, cli.output),
        Verb::Policy(verb) => policy::run(&cli.config, verb, cli.output),
        Verb::Ca(verb) => ca::run(&cli.config, verb),
        Verb::Doctor(args) => doctor::run(&cli.config, args, cli.output),
        Verb::Completions(args) => manual::completions(args),
        Verb::Man => manual::page(),
        Verb::Version => manual::version(),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_tree_of_verbs_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_verb_is_documented() {
        let documented = include_str!("../../docs/reference/commands.md");
        for verb in Cli::command().get_subcommands().filter(|verb| !verb.is_hide_set()) {
            let names = match verb.get_subcommands().count() {
                0 => vec![format!("`shield {}", verb.get_name())],
                _ => verb
                    .get_subcommands()
                    .map(|below| format!("`shield {} {}", verb.get_name(), below.get_name()))
                    .collect(),
            };
            for name in names {
                assert!(documented.contains(&name), "{name} is not in docs/reference/commands.md");
            }
        }
    }

    #[test]
    fn a_command_after_two_dashes_keeps_its_own_options() {
        let cli =
            Cli::try_parse_from(["shield", "run", "--agent", "bot", "--", "curl", "--config", "x"]).unwrap();
        assert_eq!(cli.config, PathBuf::from(CONFIG));
        assert!(Cli::try_parse_from(["shield", "run"]).is_err());
        assert!(Cli::try_parse_from(["shield", "run", "--env", "NOVALUE", "--", "true"]).is_err());
    }

    #[test]
    fn verbs_about_holds_take_what_they_need_and_nothing_strange() {
        for good in [
            "holds",
            "holds --state all -o json",
            "holds --state outcome-unknown --agent deploy-bot --watch",
            "show 01J --body",
            "approve 01jabc --reason fine",
            "deny 01J00000000000000000000000",
            "revoke 01J",
            "login --qr",
            "journal tail -n 5 --follow --agent bot -o jsonl",
            "journal verify --store /tmp/shield.db",
        ] {
            let parsed = Cli::try_parse_from(["shield"].into_iter().chain(good.split(' ')));
            assert!(parsed.is_ok(), "{good}: {}", parsed.unwrap_err());
        }
        for bad in [
            "holds --state maybe",
            "holds --agent Bot",
            "show",
            "show ../decision",
            "approve",
            "approve 01J 01K",
            "deny 01J?x=y",
            "approve 01J000000000000000000000000",
            "journal",
            "journal tail -n many",
        ] {
            assert!(Cli::try_parse_from(["shield"].into_iter().chain(bad.split(' '))).is_err(), "{bad}");
        }
    }
}
