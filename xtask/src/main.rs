//! `cargo xtask`: the one door to building, testing, measuring and showing agent.shield.

mod build_ebpf;

use std::process::ExitCode;

use anyhow::{Result, bail};

const HELP: &str = "\
cargo xtask build-ebpf     rebuild the kernel programs, which are committed as an object
cargo xtask check          fail when that object is older than its sources
";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match dispatch(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("xtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn dispatch(arguments: &[String]) -> Result<()> {
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words[..] {
        ["build-ebpf"] => build_ebpf::build(),
        ["check"] => build_ebpf::check_object(),
        [] | ["help" | "--help" | "-h"] => {
            print!("{HELP}");
            Ok(())
        }
        _ => bail!("cargo xtask knows no `{}`:\n{HELP}", words.join(" ")),
    }
}
