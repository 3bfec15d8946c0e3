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
    /// Try every way out of the gate on this kernel, in throwaway namespaces
    #[arg(long)]
    prove: bool,
}

pub(super) fn run(config: &Path, args: &DoctorArgs, output: Output) -> Result<u8, Failure> {
    if args.prove {
        let code = crate::prove::prove(|proof| match proof {
            Ok(proof) => {
                println!("{}", serde_json::to_string_pretty(&proof).unwrap_or_default());
                0
            }
            Err(error) => {
                crate::report::error("shield", &error);
                1
            }
        })?;
        return Ok(code);
    }
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
