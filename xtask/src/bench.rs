//! `cargo xtask bench`: a release build, then the measurement itself (`tests/src/bin/shield-bench/`).

use std::os::unix::process::CommandExt as _;

use anyhow::{Context, Result};

use crate::project;
use crate::run::{cargo, command, loud};

/// Measures what the gate costs on this machine, now.
pub(crate) fn measure(words: &[&str]) -> Result<()> {
    let packages = ["--package", "shield-agent", "--package", "shield-tests", "--bins"];
    loud(cargo(&[&["build", "--release", "--locked"], &packages[..]].concat()))?;
    Err(command(project::binary("release", "shield-bench"), words).exec())
        .context("cannot start the measurement")
}
