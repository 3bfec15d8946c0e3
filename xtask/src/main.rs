//! `cargo xtask`: the one door to building, testing, measuring and showing agent.shield.
//!
//! Few dependencies on purpose: on a fresh machine this is compiled before anything else.

mod bench;
mod build_ebpf;
mod check;
mod demo;
mod fuzz;
mod needs;
mod project;
mod run;
mod stages;
mod suites;
mod test;
mod tidy;

use std::process::ExitCode;

use anyhow::{Result, bail};

const HELP: &str = "\
cargo xtask demo [--auto]  show the whole product on real programs; --auto approves in a browser of its own
cargo xtask test           install what is missing, then run everything CI runs
cargo xtask check          the quick half: format, lints, tidy, policies
cargo xtask tidy           the rules of this repository that no compiler knows
cargo xtask build-ebpf     rebuild the kernel programs, which are committed as an object
cargo xtask build-ebpf --log
                           kernel programs that say every verdict in words, for who works on them
cargo xtask bench [ROUNDS [METRIC...]]
                           what the gate costs, beside no gate and beside proxies that are installed
cargo xtask soak [MINUTES] everything at once for ten minutes: does anything fail, does memory grow
cargo xtask suites [NAME...]
                           the test suites of client libraries through the gate, compared with a run without it
cargo xtask bench --stages what each stage of a request costs by itself
cargo xtask fuzz TARGET [SECONDS]
                           search for bytes that break a target of fuzz/, and keep those that reach new code
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
        ["demo"] => demo::show(demo::Reviewer::Person),
        ["demo", "--auto"] => demo::show(demo::Reviewer::Browser),
        ["test"] => test::everything(),
        ["check"] => check::quick(),
        ["tidy"] => tidy::repository(),
        ["build-ebpf"] => build_ebpf::build(),
        ["build-ebpf", "--log"] => build_ebpf::build_logging(),
        ["bench", "--stages"] => bench::stages(),
        ["bench", ref words @ ..] => bench::measure(words),
        ["soak"] => bench::soak("10"),
        ["soak", minutes] => bench::soak(minutes),
        ["suites", ref names @ ..] => suites::compare(names),
        ["fuzz", target] => fuzz::search(target, "60"),
        ["fuzz", target, seconds] => fuzz::search(target, seconds),
        [] | ["help" | "--help" | "-h"] => {
            print!("{HELP}");
            Ok(())
        }
        _ => bail!("cargo xtask knows no `{}`:\n{HELP}", words.join(" ")),
    }
}
