//! What can be wrong with this host or install: a closed list, each entry with what was found, what it means for what we
//! promise, and the remedy. Found out by trying, where that is possible.
//!
//! It repairs nothing, and what it makes to try things is gone when it returns.

mod hooks;
mod install;
mod kernel;
mod layers;
mod running;

use serde::Serialize;

use crate::config::Config;
use crate::report::Chain;

/// One thing that was looked at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Check {
    /// Its name, stable.
    pub id: &'static str,
    /// What it belongs to.
    pub area: Area,
    /// How it stands.
    pub status: Status,
    /// What was found.
    pub finding: String,
    /// What cannot be relied on because of it; `None` when all is well, or when there are no agents at all.
    pub weaker: Option<String>,
    /// What to do; `None` when all is well.
    pub remedy: Option<String>,
}

/// What a check belongs to, in the order it is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Area {
    /// What a gate cannot do without.
    Kernel,
    /// What stands beside the hooks.
    Layers,
    /// Users, roots, configuration, policy, directories.
    Install,
    /// The daemon and its gates.
    Running,
}

/// How a check stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// As it should be.
    Ok,
    /// Works, with less protection or comfort.
    Weaker,
    /// Agents cannot be gated.
    Missing,
}

impl Check {
    fn ok(area: Area, id: &'static str, finding: impl Into<String>) -> Self {
        Self { id, area, status: Status::Ok, finding: finding.into(), weaker: None, remedy: None }
    }

    fn weaker(area: Area, id: &'static str, finding: impl Into<String>, weaker: &str, remedy: &str) -> Self {
        let (weaker, remedy) = (Some(weaker.to_owned()), Some(remedy.to_owned()));
        Self { id, area, status: Status::Weaker, finding: finding.into(), weaker, remedy }
    }

    fn missing(area: Area, id: &'static str, finding: impl Into<String>, remedy: impl Into<String>) -> Self {
        let remedy = Some(remedy.into());
        Self { id, area, status: Status::Missing, finding: finding.into(), weaker: None, remedy }
    }

    /// From an error of ours, whose sentence carries its remedy after a colon.
    fn failed(area: Area, id: &'static str, error: &(dyn std::error::Error + 'static)) -> Self {
        let sentence = error.to_string();
        let (act, remedy) = sentence.split_once(": ").unwrap_or((&sentence, "see the kernel's log"));
        let cause = error.source().map_or_else(String::new, |cause| format!(": {}", Chain(cause)));
        Self::missing(area, id, format!("{act}{cause}"), remedy)
    }
}

/// Looks at everything; `config` is the configuration or why there is none.
pub fn check(config: Result<Config, String>) -> Vec<Check> {
    let mut checks = kernel::check();
    checks.extend(hooks::check());
    checks.extend(layers::check());
    checks.extend(install::host());
    match config {
        Ok(config) => {
            checks.push(layers::guard(&config));
            checks.extend(install::check(&config));
            checks.extend(running::check(&config));
        }
        Err(error) => {
            checks.push(Check::missing(Area::Install, "config", error, "correct the configuration file"));
        }
    }
    checks
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_complaint_has_a_remedy_and_ids_are_unique() {
        let checks = check(Err("shield.yaml: line 3: unknown key".to_owned()));
        for check in &checks {
            assert_eq!(check.status == Status::Ok, check.remedy.is_none(), "{check:?}");
            assert_eq!(check.status == Status::Weaker, check.weaker.is_some(), "{check:?}");
        }
        let mut ids: Vec<&str> = checks.iter().map(|check| check.id).collect();
        ids.sort_unstable();
        ids.dedup();
        assert_eq!(ids.len(), checks.len());
    }
}
