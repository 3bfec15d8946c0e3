//! `shield`: arguments → role → run.

use std::process::ExitCode;

use clap::Parser as _;
use shield_agent::cli::{self, Cli};

fn main() -> ExitCode {
    cli::run(&Cli::parse())
}
