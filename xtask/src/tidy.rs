//! `cargo xtask tidy`: the repository checks itself, for the rules no compiler knows.
//!
//! Every rule names its replacement. Exemptions live in `tidy/long-files.txt`, each with its reason.

mod links;
mod named;
mod rules;

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result, bail};

use crate::project;
use crate::run::command;

/// Files longer than the limit, the length each must not outgrow, and why it may.
const LONG_FILES: &str = include_str!("tidy/long-files.txt");

/// Files that must exist, and what for.
const REQUIRED: [(&str, &str); 5] = [
    ("deny.toml", "says which licences and sources dependencies may have"),
    ("README.md", "is what a stranger reads first"),
    ("ARCHITECTURE.md", "is the map"),
    ("SECURITY.md", "says what we promise and how to report"),
    ("CHANGELOG.md", "says what changed for users"),
];

/// Checks every file git knows; fails with all complaints at once.
pub(crate) fn repository() -> Result<()> {
    let files = tracked_files()?;
    let mut complaints = Vec::new();
    for (required, purpose) in REQUIRED {
        if !files.iter().any(|file| file == required) {
            complaints.push(format!("{required}: missing; it {purpose}"));
        }
    }
    let long = long_files(&mut complaints);
    for file in &files {
        let path = project::root().join(file);
        // Deleted but not committed yet, or not text: nothing to read.
        let Ok(text) = std::fs::read_to_string(&path) else { continue };
        let mut found = rules::check(file, &text);
        found.extend(rules::length(file, &text, long.get(file.as_str()).copied()));
        if file.ends_with(".md") {
            found.extend(links::check(&text, |target| exists(&path, target)));
            found
                .extend(named::check(&text, |file| std::fs::read_to_string(project::root().join(file)).ok()));
        }
        complaints.extend(found.into_iter().map(|complaint| format!("{file}{complaint}")));
    }
    for listed in long.keys().filter(|listed| !files.iter().any(|file| file == *listed)) {
        complaints.push(format!("tidy/long-files.txt: {listed} does not exist; remove its line"));
    }
    if complaints.is_empty() {
        return Ok(());
    }
    bail!("{} complaints:\n{}", complaints.len(), complaints.join("\n"))
}

fn tracked_files() -> Result<Vec<String>> {
    let listed = command("git", &["ls-files", "-z", "--cached", "--others", "--exclude-standard"])
        .output()
        .context("cannot list files with git")?;
    if !listed.status.success() {
        bail!("git cannot list files: {}", String::from_utf8_lossy(&listed.stderr).trim());
    }
    let text = String::from_utf8(listed.stdout).context("a file's name is not UTF-8")?;
    Ok(text.split_terminator('\0').map(str::to_owned).collect())
}

/// The ratchet as written; lines that give no reason are complaints.
fn long_files(complaints: &mut Vec<String>) -> BTreeMap<&'static str, usize> {
    let mut long = BTreeMap::new();
    for line in LONG_FILES.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
        let mut words = line.splitn(3, ' ');
        match (words.next(), words.next().and_then(|lines| lines.parse().ok()), words.next()) {
            (Some(file), Some(lines), Some(_reason)) => {
                long.insert(file, lines);
            }
            _ => complaints.push(format!("tidy/long-files.txt: `{line}` is not `path lines reason`")),
        }
    }
    long
}

fn exists(from: &Path, target: &str) -> bool {
    let base = if target.starts_with('/') { project::root() } else { from.parent().unwrap_or(from) };
    base.join(target.trim_start_matches('/')).exists()
}
