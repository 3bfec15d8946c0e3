//! Stages: one line each with its time, its output in a log that is shown only when it fails.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::project;
use crate::run;

/// Lines of a failed stage's log that are shown.
const SHOWN_LINES: usize = 80;

/// A run of stages, continued past failures so that one run tells everything.
pub(crate) struct Stages {
    logs: PathBuf,
    started: Instant,
    failed: Vec<&'static str>,
    passed: usize,
}

impl Stages {
    pub(crate) fn new() -> Result<Self> {
        let logs = project::target().join("stages");
        if logs.exists() {
            std::fs::remove_dir_all(&logs).context("cannot remove the logs of the run before")?;
        }
        std::fs::create_dir_all(&logs).with_context(|| format!("cannot create {}", logs.display()))?;
        Ok(Self { logs, started: Instant::now(), failed: Vec::new(), passed: 0 })
    }

    /// Runs commands one after the other; the stage fails with the first that does.
    pub(crate) fn commands(
        &mut self,
        name: &'static str,
        commands: impl IntoIterator<Item = std::process::Command>,
    ) -> bool {
        let log = self.logs.join(format!("{name}.log"));
        self.stage(name, || commands.into_iter().try_for_each(|command| run::logged(command, &log)))
    }

    /// Runs one stage; whether it passed.
    pub(crate) fn stage(&mut self, name: &'static str, body: impl FnOnce() -> Result<()>) -> bool {
        let started = Instant::now();
        let result = body();
        let verdict = if result.is_ok() { "ok" } else { "FAILED" };
        println!("{verdict:<7} {name:<22} {}", seconds(started.elapsed()));
        match &result {
            Ok(()) => self.passed += 1,
            Err(error) => {
                show_end(&self.logs.join(format!("{name}.log")));
                println!("        {error:#}");
                self.failed.push(name);
            }
        }
        result.is_ok()
    }

    /// The summary; an error when a stage failed.
    pub(crate) fn finish(self) -> Result<()> {
        let took = seconds(self.started.elapsed());
        if self.failed.is_empty() {
            println!("all {} stages passed in {took}", self.passed);
            return Ok(());
        }
        bail!(
            "{} of {} stages failed in {took}: {}; logs in {}",
            self.failed.len(),
            self.failed.len() + self.passed,
            self.failed.join(", "),
            self.logs.display()
        )
    }
}

fn show_end(log: &Path) {
    let Ok(text) = std::fs::read(log) else { return };
    let text = String::from_utf8_lossy(&text);
    let lines: Vec<&str> = text.lines().collect();
    for line in &lines[lines.len().saturating_sub(SHOWN_LINES)..] {
        println!("        | {line}");
    }
}

fn seconds(duration: Duration) -> String {
    format!("{:.1} s", duration.as_secs_f64())
}
