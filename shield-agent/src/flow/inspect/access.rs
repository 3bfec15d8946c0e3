//! Who may do what: members, keys, roles, secrets.

use super::action::{Action, Effect};
use super::http;
use super::request::Seen;

/// Hosts and words of their paths that are about access.
const PATHS: [(&str, &[&str]); 7] = [
    (
        "api.github.com",
        &[
            "collaborators",
            "memberships",
            "invitations",
            "keys",
            "protection",
            "secrets",
            "hooks",
            "permissions",
            "outside_collaborators",
            "installations",
        ],
    ),
    (
        "gitlab.com",
        &[
            "members",
            "deploy_keys",
            "deploy_tokens",
            "access_tokens",
            "variables",
            "protected_branches",
            "hooks",
            "keys",
        ],
    ),
    ("okta.com", &["users", "groups", "apps", "policies", "roles", "factors"]),
    ("auth0.com", &["users", "roles", "clients", "client-grants"]),
    ("cloudflare.com", &["members", "tokens", "access"]),
    (
        "graph.microsoft.com",
        &["roleassignments", "approleassignments", "members", "owners", "oauth2permissiongrants"],
    ),
    ("management.azure.com", &["roleassignments", "roledefinitions", "accesspolicies"]),
];

/// Words in a path that are about access on any host.
const WORDS: [&str; 6] =
    ["collaborators", "role-assignments", "role_assignments", "iam", "permissions", "api-keys"];

/// Google's APIs name the method behind a colon.
const GOOGLE: [&str; 4] = [":setiampolicy", ":addiampolicy", ":signjwt", ":generateaccesstoken"];

pub(super) fn see(seen: &Seen<'_>) -> Option<Action> {
    if !seen.writes() {
        return None;
    }
    let listed = PATHS.iter().any(|(host, words)| seen.host_is(host) && seen.has_segment(words));
    let google = GOOGLE.iter().any(|method| seen.last().ends_with(method));
    // A self-hosted GitLab or GitHub has the same paths below its own host.
    let gitlab = seen.segment(0).as_deref() == Some("api")
        && seen.segment(1).as_deref() == Some("v4")
        && seen.has_segment(PATHS[1].1);
    if !(listed || google || gitlab || seen.has_segment(&WORDS)) {
        return None;
    }
    // Taking access away is a change of access and a removal: the removal is graver.
    let effect = if seen.method == "DELETE" { Effect::Delete } else { Effect::Grant };
    Some(seen.action("access", effect, http::operation(&seen.method, &seen.segments)))
}
