//! What can be wrong with this host or install: a closed list, each entry with what was found and the remedy.
//!
//! It looks and never repairs.

use std::path::Path;

use serde::Serialize;

use crate::capture::cgroup::cgroup2_mount;
use crate::capture::check_host;
use crate::config::Config;
use crate::daemon::users;
use crate::ipc::gate::{AskError, GateClient, GateRequest};
use crate::report::Chain;

/// One thing that was looked at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Check {
    /// Its name, stable.
    pub id: &'static str,
    /// How it stands.
    pub status: Status,
    /// What was found.
    pub finding: String,
    /// What to do; `None` when all is well.
    pub remedy: Option<String>,
}

/// How a check stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// As it should be.
    Ok,
    /// Works, with less protection or comfort.
    Warning,
    /// Agents cannot be gated.
    Failed,
}

impl Check {
    fn ok(id: &'static str, finding: impl Into<String>) -> Self {
        Self { id, status: Status::Ok, finding: finding.into(), remedy: None }
    }

    fn bad(id: &'static str, status: Status, finding: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { id, status, finding: finding.into(), remedy: Some(remedy.into()) }
    }
}

/// Looks at everything; `config` is the configuration or why there is none.
pub fn check(config: Result<Config, String>) -> Vec<Check> {
    let mut checks = vec![kernel(), cgroup2(), role_users(), roots()];
    match config {
        Ok(config) => checks.extend([Check::ok("config", "readable"), group(&config), daemon(&config)]),
        Err(error) => {
            checks.push(Check::bad("config", Status::Failed, error, "correct the configuration file"));
        }
    }
    checks
}

/// The whole chain up to loading the hooks, without attaching them.
fn kernel() -> Check {
    match check_host() {
        Ok(()) => Check::ok("kernel", "loads the hooks"),
        // The sentence carries its remedy after the colon.
        Err(error) => {
            let sentence = Chain(&error).to_string();
            let (finding, remedy) = sentence.split_once(": ").unwrap_or((&sentence, "see the kernel's log"));
            Check::bad("kernel", Status::Failed, finding, remedy)
        }
    }
}

fn cgroup2() -> Check {
    match cgroup2_mount() {
        Ok(mount) => Check::ok("cgroup2", format!("mounted at {}", mount.display())),
        Err(_) => {
            let remedy = "mount -t cgroup2 none /sys/fs/cgroup/unified";
            Check::bad("cgroup2", Status::Failed, "no cgroup2 file system is mounted", remedy)
        }
    }
}

fn role_users() -> Check {
    let missing: Vec<&str> = users::NAMES.into_iter().filter(|name| !users::exists(name)).collect();
    match (users::find(), missing.is_empty()) {
        (Ok(_), true) => Check::ok("users", "each role has a user of its own"),
        (Ok(_), false) => {
            let finding = format!("roles run as fixed user ids, for want of {}", missing.join(", "));
            let remedy = "useradd --system --no-create-home for each, or install the package";
            Check::bad("users", Status::Warning, finding, remedy)
        }
        (Err(error), _) => {
            let remedy = "useradd --system --no-create-home for each role";
            Check::bad("users", Status::Failed, Chain(&error).to_string(), remedy)
        }
    }
}

fn roots() -> Check {
    match rustls_native_certs::load_native_certs().certs.len() {
        0 => {
            Check::bad("roots", Status::Failed, "no certificate roots", "install the package ca-certificates")
        }
        count => Check::ok("roots", format!("{count} certificate roots")),
    }
}

/// Who may start agents without being root.
fn group(config: &Config) -> Check {
    let name = &config.group;
    match users::group(name) {
        Ok(Some(_)) => Check::ok("group", format!("members of {name} may start agents")),
        Ok(None) => {
            let remedy = format!("groupadd --system {name}, then restart the daemon");
            Check::bad("group", Status::Warning, "only root may start agents", remedy)
        }
        Err(error) => {
            let remedy = format!("make group {name} known, or set `group`");
            Check::bad("group", Status::Failed, Chain(&error).to_string(), remedy)
        }
    }
}

fn daemon(config: &Config) -> Check {
    match agents(&config.run_dir) {
        Ok(()) => Check::ok("daemon", format!("answers in {}", config.run_dir.display())),
        Err(error) => {
            let remedy = "shield daemon, or systemctl start shield";
            Check::bad("daemon", Status::Failed, Chain(&error).to_string(), remedy)
        }
    }
}

fn agents(run_dir: &Path) -> Result<(), AskError> {
    GateClient::connect(run_dir)?.ask(&GateRequest::Agents).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_complaint_has_a_remedy_and_ids_are_unique() {
        let checks = check(Err("shield.yaml: line 3: unknown key".to_owned()));
        for check in &checks {
            assert_eq!(check.status == Status::Ok, check.remedy.is_none(), "{check:?}");
        }
        let mut ids: Vec<&str> = checks.iter().map(|check| check.id).collect();
        ids.sort_unstable();
        ids.dedup();
        assert_eq!(ids.len(), checks.len());
    }
}
