//! One run of a suite: directly, over the detour, or over the detour and through the gate.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, ensure};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, KeyUsagePurpose};
use shield_tests::deployment::{Deployment, output};

use super::suites::{Runner, Suite};

/// The user all runs are of: the one agents run as.
const NOBODY: u32 = 65534;

/// Minutes a suite may take.
const PATIENCE: &str = "20m";

/// What `timeout` exits with when it had to end what it ran.
const TIMED_OUT: i32 = 124;

/// How a suite's connections go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    /// To its own servers, over loopback.
    Direct,
    /// Over the detour: what changes is the detour's doing.
    Detour,
    /// Over the detour and through the gate: what changes now is the gate's.
    Gate,
}

/// What has each runner report, beside the suites.
const REPORTERS: [(&str, &str); 4] = [
    ("report.py", include_str!("../../../suites/report.py")),
    ("report-mocha.cjs", include_str!("../../../suites/report-mocha.cjs")),
    ("report-ava.sh", include_str!("../../../suites/report-ava.sh")),
    ("report-cargo.sh", include_str!("../../../suites/report-cargo.sh")),
];

/// What became of each test, by its name.
pub(super) type Outcomes = BTreeMap<String, String>;

/// What all runs share.
pub(super) struct Ground<'a> {
    pub(super) deployment: &'a Deployment,
    /// The authority servers' certificates are signed by: PEM of certificate and key.
    pub(super) authority: &'a str,
    /// Where sources and the Python environment were brought to.
    pub(super) brought: &'a Path,
    /// See [`super::detour::library`].
    pub(super) detour: PathBuf,
}

impl Ground<'_> {
    /// Runs a suite in a copy of its source.
    pub(super) fn run(&self, suite: &Suite, way: Way) -> Result<Outcomes> {
        let name = format!("{}-{way:?}", suite.name).to_lowercase();
        // One place for all: suites write paths into the names of tests.
        let directory = self.deployment.dir().join(suite.name);
        let report = self.deployment.dir().join(format!("{name}.report/outcomes"));
        self.prepare(suite, way, &directory, report.parent().context("it has a directory")?)?;
        let words = self.words(suite, way);
        let mut command = match way {
            Way::Gate => self.deployment.agent(suite.name, &words),
            Way::Direct | Way::Detour => {
                let mut command = self.deployment.by(NOBODY, &[], &words[0]);
                command.args(&words[1..]);
                command
            }
        };
        command.env("SUITE_REPORT", &report).env("SUITE_AUTHORITY", self.authority_file());
        command.env("PYTHONPATH", self.deployment.dir().join("plugin")).env("HOME", &directory);
        command.env_remove("LD_PRELOAD").current_dir(&directory).stdin(Stdio::null());
        if way == Way::Gate {
            command.env("SUITE_GATE", self.gate_ca());
        }
        let log = self.brought.join(format!("{name}.log"));
        let file = fs::File::create(&log).with_context(|| format!("cannot create {}", log.display()))?;
        command.stdout(file.try_clone()?).stderr(file);
        // Suites fail on purpose here: what each test did is in the report.
        let status = command.status().with_context(|| format!("cannot start the suite {name}"))?;
        ensure!(
            status.code() != Some(TIMED_OUT),
            "{name} took longer than {PATIENCE}: see {}",
            log.display()
        );
        read(&report).with_context(|| format!("{name} did not end by itself: see {}", log.display()))
    }

    fn words(&self, suite: &Suite, way: Way) -> Vec<String> {
        let mut words = vec!["env".to_owned()];
        if way != Way::Direct {
            words.push(format!("LD_PRELOAD={}", self.detour.display()));
        }
        words.extend(["timeout", PATIENCE].map(str::to_owned));
        let brought = |file: &str| self.brought.join(file).display().to_string();
        let plugin = |file: &str| self.deployment.dir().join("plugin").join(file).display().to_string();
        let (runner, further) = match suite.runner {
            Runner::Pytest(arguments) => {
                let pytest =
                    ["-m", "pytest", "-p", "report", "-p", "no:unraisableexception"].map(str::to_owned);
                let quiet = ["--timeout", "20", "-q"].map(str::to_owned);
                ([&[brought("python/bin/python")], &pytest[..], &quiet[..]].concat(), arguments)
            }
            Runner::Mocha(files) => {
                let mocha = brought("node_modules/mocha/bin/mocha");
                (vec![mocha, "--exit".to_owned(), "--reporter".to_owned(), plugin("report-mocha.cjs")], files)
            }
            Runner::Ava(files) => {
                let ava = brought("node_modules/ava/entrypoints/cli.mjs");
                (vec!["sh".into(), plugin("report-ava.sh"), ava], files)
            }
            Runner::Cargo(names) => {
                let programs = self.brought.join(suite.source).join("target/debug/deps");
                (vec!["sh".into(), plugin("report-cargo.sh"), programs.display().to_string()], names)
            }
        };
        words.extend(runner);
        words.extend(further.iter().map(|word| (*word).to_owned()));
        words
    }

    /// A copy of the suite that belongs to whoever runs it, and trusts who signs its servers' certificates here.
    fn prepare(&self, suite: &Suite, way: Way, directory: &Path, reports: &Path) -> Result<()> {
        let source = self.brought.join(suite.source);
        ensure!(source.is_dir(), "{} is missing: start this by `cargo xtask suites`", source.display());
        if directory.exists() {
            fs::remove_dir_all(directory).context("cannot remove the copy of the last run")?;
        }
        output(Command::new("cp").arg("-r").arg(&source).arg(directory))?;
        if way == Way::Gate {
            let gate = fs::read_to_string(self.gate_ca()).context("cannot read the gate's certificate")?;
            for file in suite.authorities {
                let file = directory.join(file);
                let own = fs::read_to_string(&file)
                    .with_context(|| format!("the suite has no {}", file.display()))?;
                fs::write(&file, own + &gate).context("cannot add the gate's certificate")?;
            }
        }
        fs::create_dir(reports).context("cannot make a directory for a report")?;
        output(Command::new("chown").args(["-R", &NOBODY.to_string()]).args([directory, reports])).map(drop)
    }

    fn gate_ca(&self) -> PathBuf {
        self.deployment.dir().join("run/trust/ca.pem")
    }

    fn authority_file(&self) -> PathBuf {
        self.deployment.dir().join("authority.pem")
    }

    /// Puts beside the suites what they are run with.
    pub(super) fn lay_out(&self) -> Result<()> {
        fs::write(self.authority_file(), self.authority).context("cannot write the authority")?;
        let plugin = self.deployment.dir().join("plugin");
        fs::create_dir(&plugin).context("cannot make a directory for the plugin")?;
        for (name, text) in REPORTERS {
            fs::write(plugin.join(name), text).with_context(|| format!("cannot write {name}"))?;
        }
        let modules = self.deployment.dir().join("node_modules");
        std::os::unix::fs::symlink(self.brought.join("node_modules"), modules).context("cannot link packages")
    }
}

/// An authority suites' servers have their certificates from: PEM of its certificate, and of its key.
pub(super) fn authority() -> Result<(String, String)> {
    let mut ca = CertificateParams::new([])?;
    ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    ca.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::DigitalSignature];
    ca.distinguished_name.push(DnType::CommonName, "authority of test suites");
    let ca = CertifiedIssuer::self_signed(ca, KeyPair::generate()?)?;
    Ok((ca.pem(), ca.key().serialize_pem()))
}

fn read(report: &Path) -> Result<Outcomes> {
    let text = fs::read_to_string(report).context("there is no report")?;
    let lines = text.lines().filter_map(|line| line.split_once(' '));
    let outcomes: Outcomes = lines.map(|(outcome, test)| (test.to_owned(), outcome.to_owned())).collect();
    ensure!(!outcomes.is_empty(), "the report names no test");
    Ok(outcomes)
}
