//! `cargo xtask fuzz`: a target of `fuzz/` built so that it sees which code an input reaches, then the search itself.
//!
//! Coverage needs nothing but stable options of the compiler; sanitizers, which need a nightly one, are not used.

use std::os::unix::process::CommandExt as _;

use anyhow::{Context, Result, bail, ensure};

use crate::run::{cargo, command, loud};
use crate::{needs, project};

/// What `cargo fuzz` passes too, but for sanitizers.
const COVERAGE: &str = "-Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
    -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
    -Cllvm-args=-sanitizer-coverage-trace-compares -Ccodegen-units=16";

/// Longest input that is tried.
const MAX_LENGTH: &str = "-max_len=2048";

/// Searches for so many seconds. What reaches new code is kept under `target/fuzz/found/`, what breaks the target in
/// `fuzz/artifacts/`.
pub(crate) fn search(target: &str, seconds: &str) -> Result<()> {
    let corpus = project::root().join("fuzz/corpus").join(target);
    ensure!(corpus.is_dir(), "{target} is no target: fuzz/corpus/ lists them");
    ensure!(seconds.parse::<u32>().is_ok(), "{seconds} is not a number of seconds");
    needs::for_fuzz()?;
    let place = project::target().join("fuzz");
    let host = host()?;
    let mut build = cargo(&["build", "--package", "shield-fuzz", "--features", "libfuzzer", "--locked"]);
    build.args(["--profile", "fuzz", "--bin", target, "--target", &host, "--target-dir"]).arg(&place);
    loud({
        build.env("RUSTFLAGS", COVERAGE);
        build
    })?;
    let found = place.join("found").join(target);
    let artifacts = project::root().join("fuzz/artifacts").join(target);
    for folder in [&found, &artifacts] {
        std::fs::create_dir_all(folder).with_context(|| format!("cannot create {}", folder.display()))?;
    }
    let mut search = command(place.join(&host).join("fuzz").join(target), &[MAX_LENGTH, "-timeout=10"]);
    search
        .arg(format!("-max_total_time={seconds}"))
        .arg(format!("-artifact_prefix={}/", artifacts.display()));
    search.args([found, corpus]);
    Err(search.exec()).context("cannot start the search")
}

/// The platform of this machine, as the compiler names it.
fn host() -> Result<String> {
    let told = command("rustc", &["-vV"]).output().context("cannot start rustc")?;
    let text = String::from_utf8_lossy(&told.stdout);
    match text.lines().find_map(|line| line.strip_prefix("host: ")) {
        Some(host) => Ok(host.to_owned()),
        None => bail!("rustc does not say which platform this is"),
    }
}
