//! What the program says about itself: completions, manual page, version. All derived from the tree of verbs.

use std::io::Write as _;

use clap::{Args, CommandFactory as _};
use clap_complete::Shell;

use super::{Cli, Failure, code};

/// `shield completions`
#[derive(Debug, Args)]
pub(super) struct CompletionsArgs {
    /// The shell
    shell: Shell,
}

pub(super) fn completions(args: &CompletionsArgs) -> Result<u8, Failure> {
    // The generator panics when it cannot write.
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "shield", &mut script);
    std::io::stdout().write_all(&script)?;
    Ok(code::OK)
}

pub(super) fn page() -> Result<u8, Failure> {
    clap_mangen::Man::new(Cli::command()).render(&mut std::io::stdout())?;
    Ok(code::OK)
}

pub(super) fn version() -> Result<u8, Failure> {
    println!("shield {}", env!("CARGO_PKG_VERSION"));
    Ok(code::OK)
}
