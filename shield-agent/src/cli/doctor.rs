//! `shield doctor`: prints the checks of [`crate::health`], or what [`crate::prove`] proved.

mod notes;
mod table;

use std::io::IsTerminal as _;
use std::path::Path;

use clap::Args;

use super::paint::{self, Paint, Tone};
use super::{Failure, Output, code};
use crate::config::Config;
use crate::health::{self, Check, Status};
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
    if output == Output::Table {
        checks.iter().for_each(print);
    } else {
        println!("{}", serde_json::to_string_pretty(&checks)?);
    }
    let failed = checks.iter().any(|check| check.status == Status::Failed);
    Ok(if failed { code::DOCTOR } else { code::OK })
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
    let _ = Tone::Plain;
}
