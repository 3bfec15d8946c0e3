//! What changes what runs: deployments, releases, infrastructure runs.

use super::action::{Action, Effect};
use super::http;
use super::request::Seen;

/// Hosts and last words of paths that deploy.
const PATHS: [(&str, &[&str]); 7] = [
    ("api.github.com", &["dispatches", "deployments", "merge"]),
    ("app.terraform.io", &["runs", "apply"]),
    ("api.vercel.com", &["deployments", "promote"]),
    ("api.netlify.com", &["deploys", "builds"]),
    ("api.heroku.com", &["releases", "builds"]),
    ("api.fly.io", &["machines"]),
    ("circleci.com", &["pipeline"]),
];

pub(super) fn see(seen: &Seen<'_>) -> Option<Action> {
    let listed =
        PATHS.iter().any(|(host, words)| seen.host_is(host) && words.contains(&seen.last().as_str()));
    if !listed || !seen.writes() || seen.method == "DELETE" {
        return None;
    }
    Some(seen.action("deploy", Effect::Deploy, http::operation(&seen.method, &seen.segments)))
}
