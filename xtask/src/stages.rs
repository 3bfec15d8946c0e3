//! Stages: one line each with its time, its output in a log that is shown only when it fails.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

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
    tests: Tests,
}

/// How many tests ended how.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Tests {
    passed: usize,
    failed: usize,
}

impl Stages {
    pub(crate) fn new() -> Result<Self> {
        let logs = project::target().join("stages");
        if logs.exists() {
            std::fs::remove_dir_all(&logs).context("cannot remove the logs of the run before")?;
        }
        std::fs::create_dir_all(&logs).with_context(|| format!("cannot create {}", logs.display()))?;
        Ok(Self { logs, started: Instant::now(), failed: Vec::new(), passed: 0, tests: Tests::default() })
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

    /// Runs a test program through cargo; one that ran no test has shown nothing and fails.
    pub(crate) fn tests(&mut self, name: &'static str, command: std::process::Command) -> bool {
        let log = self.logs.join(format!("{name}.log"));
        let passed = self.stage(name, || {
            run::logged(command, &log)?;
            ensure!(tests_in(&log) != Tests::default(), "it ran no test");
            Ok(())
        });
        let ran = tests_in(&log);
        self.tests.passed += ran.passed;
        self.tests.failed += ran.failed;
        passed
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
        if self.tests != Tests::default() {
            println!("{} passed, {} failed", self.tests.passed, self.tests.failed);
        }
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

/// What the test programs in a log said of themselves.
fn tests_in(log: &Path) -> Tests {
    std::fs::read(log).map_or_else(|_| Tests::default(), |text| count(&String::from_utf8_lossy(&text)))
}

fn count(log: &str) -> Tests {
    let before = |line: &str, word: &str| -> usize {
        let number = line.split(word).next().and_then(|text| text.split_whitespace().last());
        number.and_then(|number| number.parse().ok()).unwrap_or_default()
    };
    log.lines().filter(|line| line.starts_with("test result: ")).fold(Tests::default(), |sum, line| Tests {
        passed: sum.passed + before(line, " passed;"),
        failed: sum.failed + before(line, " failed;"),
    })
}

fn seconds(duration: Duration) -> String {
    format!("{:.1} s", duration.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tests_of_every_program_in_a_log_are_counted() {
        let log = "running 3 tests\n...\ntest result: ok. 3 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out\n\
                   error: x\ntest result: FAILED. 1 passed; 2 failed; 0 ignored; 0 measured; 0 filtered out\n";
        assert_eq!(count(log), Tests { passed: 4, failed: 2 });
        assert_eq!(count("nothing ran"), Tests::default());
    }
}
