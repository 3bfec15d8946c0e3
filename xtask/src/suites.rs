//! `cargo xtask suites`: brings the test suites of client libraries, then has them compared with and without the gate
//! (`tests/src/bin/shield-suites/`).
//!
//! What is brought is pinned by hash and stays under `target/needs/suites`.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::run::{cargo, command, loud};
use crate::{needs, project};

/// The libraries as PyPI has them, with the tests in their source archives.
const SOURCES: &str = include_str!("../../tests/suites/sources.txt");

/// The same libraries to import, and what their tests import.
const REQUIREMENTS: &str = include_str!("../../tests/suites/requirements.txt");

/// Compares the suites named, or all.
pub(crate) fn compare(names: &[&str]) -> Result<()> {
    needs::for_suites()?;
    loud(cargo(&["build", "--locked", "--package", "shield-agent", "--package", "shield-tests", "--bins"]))?;
    let mut comparison = command(project::binary("debug", "shield-suites"), &[]);
    comparison.arg(place()).args(names);
    loud(comparison)
}

/// Whether what is there is what is wanted.
pub(crate) fn are_brought() -> bool {
    fs::read_to_string(place().join("complete")).is_ok_and(|brought| brought == wanted())
}

/// Brings sources and packages.
pub(crate) fn bring() -> Result<()> {
    let place = place();
    if place.exists() {
        fs::remove_dir_all(&place).context("cannot remove what was brought before")?;
    }
    let python = place.join("python");
    let mut create = command(needs::system_python(), &["-m", "venv"]);
    create.arg(&python);
    loud(create)?;
    let pip = |arguments: &[&str], file: &str| {
        let mut pip = command(python.join("bin/pip"), arguments);
        pip.args(["--quiet", "--disable-pip-version-check", "--require-hashes", "-r", file]);
        pip
    };
    loud(pip(&["install"], "tests/suites/requirements.txt"))?;
    let archives = place.join("archives");
    let mut download =
        pip(&["download", "--no-deps", "--no-binary", "aiohttp,httpx,requests"], "tests/suites/sources.txt");
    download.arg("--dest").arg(&archives);
    loud(download)?;
    for archive in fs::read_dir(&archives).context("pip left no archives")? {
        unpack(&archive?.path(), &place)?;
    }
    fs::write(place.join("complete"), wanted()).context("cannot mark the suites complete")
}

fn unpack(archive: &Path, place: &Path) -> Result<()> {
    let mut tar = command("tar", &["--extract", "--file"]);
    tar.arg(archive).arg("--directory").arg(place);
    loud(tar)
}

fn wanted() -> String {
    [SOURCES, REQUIREMENTS].concat()
}

fn place() -> PathBuf {
    project::target().join("needs/suites")
}
