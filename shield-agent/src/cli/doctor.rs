//! `shield doctor`: prints the checks of [`crate::health`], or what [`crate::prove`] proved.

mod checks;
mod notes;
mod table;

use std::io::IsTerminal as _;
use std::path::Path;

use clap::Args;

use super::paint::{self, Paint};
use super::{Failure, Output, code};
use crate::config::Config;
use crate::health::{self, Status};
use crate::prove::{self, Proof, ProveError};

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
    let output = if args.json { Output::Json } else { output };
    if args.prove {
        return prove(output);
    }
    let checks = health::check(Config::load(config).map_err(|error| error.to_string()));
    match output {
        Output::Table => print!("{}", checks::list(&checks, Paint::stdout(), paint::width())),
        Output::Json => println!("{}", serde_json::to_string_pretty(&checks)?),
        Output::Jsonl => {
            for check in &checks {
                println!("{}", serde_json::to_string(check)?);
            }
        }
    }
    let missing = checks.iter().any(|check| check.status == Status::Missing);
    Ok(if missing { code::DOCTOR } else { code::OK })
}

fn prove(output: Output) -> Result<u8, Failure> {
    if std::io::stderr().is_terminal() {
        eprintln!("trying every way out in throwaway namespaces; this takes some seconds");
    }
    let shown = |proof: Result<Proof, ProveError>| match proof.map(|proof| show(&proof, output)) {
        Ok(Ok(code)) => code,
        Ok(Err(error)) => failed(&error),
        Err(error) => failed(&error),
    };
    Ok(prove::prove(shown)?)
}

fn failed(error: &(dyn std::error::Error + 'static)) -> u8 {
    crate::report::error("shield", error);
    code::DOCTOR
}

fn show(proof: &Proof, output: Output) -> Result<u8, serde_json::Error> {
    match output {
        Output::Table => {
            let (paint, width) = (Paint::stdout(), paint::width());
            print!("{}{}", table::matrix(proof, paint, width), notes::below(proof, paint, width));
        }
        Output::Json => println!("{}", serde_json::to_string_pretty(proof)?),
        Output::Jsonl => {
            for cell in &proof.cells {
                println!("{}", serde_json::to_string(cell)?);
            }
        }
    }
    Ok(if proof.holds { code::OK } else { code::DOCTOR })
}
