//! Where an action happens: production, or somewhere less grave.

/// Words that name an environment.
const NAMES: [(&str, &str); 15] = [
    ("production", "production"),
    ("prod", "production"),
    ("prd", "production"),
    ("live", "production"),
    ("staging", "staging"),
    ("stage", "staging"),
    ("stg", "staging"),
    ("preprod", "staging"),
    ("development", "development"),
    ("dev", "development"),
    ("test", "test"),
    ("testing", "test"),
    ("qa", "test"),
    ("sandbox", "sandbox"),
    ("preview", "preview"),
];

/// The environment that a name such as `prod-eu` or `checkout-staging` belongs to. Production counts before all others.
pub(super) fn of_name(name: &str) -> Option<String> {
    let words = || name.split(['-', '_', '.']).map(str::to_ascii_lowercase);
    let found = NAMES.iter().find(|(word, _)| words().any(|given| given == *word));
    found.map(|(_, environment)| (*environment).to_owned())
}

/// The environment that a host's labels or a path's segments name.
pub(super) fn environment(host: &str, segments: &[String]) -> Option<String> {
    // The registered domain is no place: `live.com` is not production.
    let labels: Vec<&str> = host.split('.').collect();
    let labels = &labels[..labels.len().saturating_sub(2)];
    let named: Vec<String> =
        labels.iter().copied().chain(segments.iter().map(String::as_str)).filter_map(of_name).collect();
    let production = named.iter().find(|name| *name == "production");
    production.or(named.first()).cloned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn production_is_seen_in_hosts_and_paths_and_counts_first() {
        let of = |host: &str, path: &[&str]| {
            environment(host, &path.iter().map(|part| (*part).to_owned()).collect::<Vec<_>>())
        };
        assert_eq!(of("api.prod-eu.acme.example", &[]).as_deref(), Some("production"));
        assert_eq!(of("staging.acme.example", &["envs", "production"]).as_deref(), Some("production"));
        assert_eq!(of("api-staging.acme.example", &[]).as_deref(), Some("staging"));
        assert_eq!(of("live.com", &["products"]), None);
        assert_eq!(of("10.0.0.1", &[]), None);
    }
}
