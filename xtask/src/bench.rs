//! `cargo xtask bench`: a release build, then the measurement itself (`tests/src/bin/shield-bench/`).

use std::os::unix::process::CommandExt as _;

use anyhow::{Context, Result};

use crate::run::{cargo, command, loud};
use crate::{needs, project};

/// Measures what the gate costs on this machine, now.
pub(crate) fn measure(words: &[&str]) -> Result<()> {
    needs::for_bench()?;
    let packages = ["--package", "shield-agent", "--package", "shield-tests", "--bins"];
    loud(cargo(&[&["build", "--release", "--locked"], &packages[..]].concat()))?;
    let mut measurement = command(project::binary("release", "shield-bench"), words);
    let path = std::env::var_os("PATH").unwrap_or_default();
    let path = std::iter::once(needs::mitmproxy()).chain(std::env::split_paths(&path));
    measurement.env("PATH", std::env::join_paths(path)?).env("SHIELD_BENCH_HUDSUCKER", needs::hudsucker());
    Err(measurement.exec()).context("cannot start the measurement")
}
