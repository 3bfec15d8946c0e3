//! `shield doctor`: prints the checks of [`crate::health`].

use std::path::Path;

use clap::Args;

use super::{Failure, Output, code};
use crate::config::Config;
use crate::health::{self, Check, Status};

/// `shield doctor`
#[derive(Debug, Args)]
pub(super) struct DoctorArgs {
    /// Print one JSON document
    #[arg(long)]
    json: bool,
}

pub(super) fn run(config: &Path, args: &DoctorArgs, output: Output) -> Result<u8, Failure> {
    let checks = health::check(Config::load(config).map_err(|error| error.to_string()));
    if args.json || output != Output::Table {
        println!("{}", serde_json::to_string_pretty(&checks)?);
    } else {
        checks.iter().for_each(print);
    }
    let failed = checks.iter().any(|check| check.status == Status::Failed);
    Ok(if failed { code::DOCTOR } else { code::OK })
}

fn print(check: &Check) {
    let status = match check.status {
        Status::Ok => "ok",
        Status::Warning => "warning",
        Status::Failed => "failed",
    };
    println!("{status:<8} {:<12} {}", check.id, check.finding);
    if let Some(remedy) = &check.remedy {
        println!("{:<21} → {remedy}", "");
    }
}
