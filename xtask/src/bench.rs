//! `cargo xtask bench`: a release build, then the measurement itself (`tests/src/bin/shield-bench/`), or with `--stages`
//! the stages one by one.

use std::os::unix::process::CommandExt as _;

use anyhow::{Context, Result};

use crate::run::{cargo, command, loud};
use crate::{needs, project};

/// Measures what each stage of a request costs by itself (`shield-agent/benches/stages.rs`).
pub(crate) fn stages() -> Result<()> {
    loud(cargo(&["bench", "--package", "shield-agent", "--bench", "stages", "--locked"]))
}

/// Everything at once for so many minutes (`tests/src/bin/shield-soak.rs`).
pub(crate) fn soak(minutes: &str) -> Result<()> {
    needs::for_soak()?;
    build()?;
    loud(command(project::binary("release", "shield-soak"), &[minutes]))
}

fn build() -> Result<()> {
    let packages = ["--package", "shield-agent", "--package", "shield-tests", "--bins"];
    loud(cargo(&[&["build", "--release", "--locked"], &packages[..]].concat()))
}

/// Measures what the gate costs on this machine, now.
pub(crate) fn measure(words: &[&str]) -> Result<()> {
    needs::for_bench()?;
    build()?;
    let mut measurement = command(project::binary("release", "shield-bench"), words);
    let path = std::env::var_os("PATH").unwrap_or_default();
    let path = std::iter::once(needs::mitmproxy()).chain(std::env::split_paths(&path));
    measurement.env("PATH", std::env::join_paths(path)?).env("SHIELD_BENCH_HUDSUCKER", needs::hudsucker());
    Err(measurement.exec()).context("cannot start the measurement")
}
