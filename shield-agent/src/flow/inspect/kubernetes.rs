//! The Kubernetes API, by the shape of its paths: `/api/v1/…` and `/apis/GROUP/VERSION/…`.

use super::action::{Action, Effect};
use super::places;
use super::request::{Seen, cut};

/// Resources of the core group; other APIs have paths that begin with `/api/v1` too.
const CORE: [&str; 18] = [
    "namespaces",
    "nodes",
    "pods",
    "services",
    "secrets",
    "configmaps",
    "persistentvolumes",
    "persistentvolumeclaims",
    "serviceaccounts",
    "events",
    "endpoints",
    "replicationcontrollers",
    "resourcequotas",
    "limitranges",
    "componentstatuses",
    "bindings",
    "podtemplates",
    "watch",
];

/// Resources whose change is a change of who may do what.
const ACCESS: [&str; 6] = [
    "roles",
    "rolebindings",
    "clusterroles",
    "clusterrolebindings",
    "serviceaccounts",
    "certificatesigningrequests",
];

/// Subresources that run something.
const RUNS: [&str; 4] = ["exec", "attach", "portforward", "proxy"];

struct Target {
    namespace: Option<String>,
    resource: String,
    name: Option<String>,
    subresource: Option<String>,
}

pub(super) fn see(seen: &Seen<'_>) -> Option<Action> {
    let target = target(seen)?;
    let resource = target.resource.to_ascii_lowercase();
    let subresource = target.subresource.as_deref().unwrap_or_default().to_ascii_lowercase();
    let effect = match seen.method.as_str() {
        _ if RUNS.contains(&subresource.as_str()) => Effect::Execute,
        "GET" | "HEAD" | "OPTIONS" => Effect::Read,
        "DELETE" => Effect::Delete,
        _ if subresource == "eviction" => Effect::Delete,
        _ if ACCESS.contains(&resource.as_str()) || subresource == "token" => Effect::Grant,
        _ => Effect::Write,
    };
    let verb = match seen.method.as_str() {
        "DELETE" if target.name.is_none() => "deletecollection",
        "DELETE" => "delete",
        "GET" | "HEAD" if target.name.is_none() => "list",
        "GET" | "HEAD" => "get",
        "POST" => "create",
        "PUT" => "update",
        "PATCH" => "patch",
        other => other,
    };
    let suffix = if subresource.is_empty() { String::new() } else { format!("/{subresource}") };
    let operation = format!("{verb} {resource}{suffix}");
    let mut action = seen.action("kubernetes", effect, operation);
    let name = target.name.as_deref().unwrap_or("(all)");
    let place = target.namespace.as_deref().map(|space| format!(" in namespace {space}")).unwrap_or_default();
    action.resource = Some(cut(&format!("{resource} {name}{place}")));
    // A namespace's own name says where it is; the cluster's host says it for the rest.
    let of_namespace = target.namespace.as_deref().and_then(places::of_name);
    action.environment = of_namespace.or(action.environment);
    action.summary =
        format!("{} at {}", cut(&format!("{verb} {resource}{suffix} {name}{place}")), seen.host());
    Some(action)
}

fn target(seen: &Seen<'_>) -> Option<Target> {
    let rest = match (seen.segment(0)?.as_str(), seen.segment(1)?.as_str()) {
        ("api", "v1") if CORE.contains(&seen.segment(2)?.as_str()) => &seen.segments[2..],
        ("apis", _) if is_version(&seen.segment(2)?) => seen.segments.get(3..)?,
        _ => return None,
    };
    let rest = if rest.first().is_some_and(|first| first == "watch") { &rest[1..] } else { rest };
    let own = |index: usize| rest.get(index).cloned();
    if rest.first().is_some_and(|first| first.eq_ignore_ascii_case("namespaces")) && rest.len() > 2 {
        let (namespace, resource) = (own(1), own(2)?);
        return Some(Target { namespace, resource, name: own(3), subresource: own(4) });
    }
    let resource = own(0)?;
    // A namespace is a place of its own.
    let namespace = if resource.eq_ignore_ascii_case("namespaces") { own(1) } else { None };
    Some(Target { namespace, resource, name: own(1), subresource: own(2) })
}

fn is_version(segment: &str) -> bool {
    segment.strip_prefix('v').is_some_and(|rest| rest.starts_with(|letter: char| letter.is_ascii_digit()))
}
