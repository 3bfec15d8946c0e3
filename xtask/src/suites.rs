//! `cargo xtask suites`: brings the test suites of client libraries, then has them compared with and without the gate
//! (`tests/src/bin/shield-suites/`).
//!
//! What is brought is pinned, by hash or by commit, and stays under `target/needs/suites`.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};

use crate::run::{cargo, command, loud};
use crate::{needs, project};

/// The libraries as PyPI has them, with the tests in their source archives.
const SOURCES: &str = include_str!("../../tests/suites/sources.txt");

/// The same libraries to import, and what their tests import.
const REQUIREMENTS: &str = include_str!("../../tests/suites/requirements.txt");

/// Suites that no registry has.
const REPOSITORIES: &str = include_str!("../../tests/suites/repositories.txt");

/// What the suites of Node.js libraries import.
const NODE_PACKAGES: [(&str, &str); 2] = [
    ("package.json", include_str!("../../tests/suites/package.json")),
    ("package-lock.json", include_str!("../../tests/suites/package-lock.json")),
];

/// The suite that is built, and with what.
const BUILT: (&str, &str) = (
    "reqwest-0.12.24",
    "rustls-tls,http2,charset,blocking,cookies,gzip,brotli,zstd,deflate,json,multipart,stream",
);

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
    // The list is whole: looking for more would only find newer versions than those it names.
    loud(pip(&["install", "--no-deps"], "tests/suites/requirements.txt"))?;
    let archives = place.join("archives");
    let mut download =
        pip(&["download", "--no-deps", "--no-binary", "aiohttp,httpx,requests"], "tests/suites/sources.txt");
    download.arg("--dest").arg(&archives);
    loud(download)?;
    for archive in fs::read_dir(&archives).context("pip left no archives")? {
        unpack(&archive?.path(), &place)?;
    }
    for line in REPOSITORIES.lines().filter(|line| !line.starts_with('#')) {
        clone(line, &place)?;
    }
    for (name, text) in NODE_PACKAGES {
        fs::write(place.join(name), text).with_context(|| format!("cannot write {name}"))?;
    }
    let mut npm = command("npm", &["ci", "--no-audit", "--no-fund", "--ignore-scripts"]);
    npm.current_dir(&place);
    loud(npm)?;
    build(&place.join(BUILT.0))?;
    fs::write(place.join("complete"), wanted()).context("cannot mark the suites complete")
}

fn unpack(archive: &Path, place: &Path) -> Result<()> {
    let mut tar = command("tar", &["--extract", "--file"]);
    tar.arg(archive).arg("--directory").arg(place);
    loud(tar)
}

/// Brings one repository: its directory here, its address, a tag and the commit that has to be.
fn clone(line: &str, place: &Path) -> Result<()> {
    let [directory, address, tag, commit] = line.split(' ').collect::<Vec<_>>()[..] else {
        bail!("`{line}` is not a directory, an address, a tag and a commit")
    };
    let there = place.join(directory);
    let mut clone = command("git", &["-c", "advice.detachedHead=false", "clone", "--quiet", "--depth", "1"]);
    clone.args(["--branch", tag, address]).arg(&there);
    loud(clone)?;
    let mut head = command("git", &["rev-parse", "HEAD"]);
    let head = head.current_dir(&there).output().context("cannot ask git what was brought")?;
    let is_it = String::from_utf8_lossy(&head.stdout).trim() == commit;
    ensure!(is_it, "{address} has another commit at {tag} than {commit}: look at what changed");
    Ok(())
}

/// Builds the tests of a Rust library where its suite will run them from.
fn build(source: &Path) -> Result<()> {
    let manifest = source.join("Cargo.toml");
    let text = fs::read_to_string(&manifest).context("the suite in Rust has no manifest")?;
    // Else it were part of ours.
    fs::write(&manifest, text + "\n[workspace]\n").context("cannot write a manifest")?;
    let mut build =
        cargo(&["test", "--no-run", "--no-default-features", "--features", BUILT.1, "--target-dir"]);
    build.arg(source.join("target")).current_dir(source);
    loud(build)
}

fn wanted() -> String {
    [SOURCES, REQUIREMENTS, REPOSITORIES, NODE_PACKAGES[1].1, BUILT.1].concat()
}

fn place() -> PathBuf {
    project::target().join("needs/suites")
}
