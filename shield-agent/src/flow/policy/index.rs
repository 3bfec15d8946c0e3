//! Rules by host: of a thousand rules, a request meets only those that may be about its host.

use std::collections::HashMap;

use super::host::HostPattern;
use super::rule::Rule;

/// Positions of rules, by what their `host` says.
#[derive(Debug, Default)]
pub(super) struct HostIndex {
    exact: HashMap<String, Vec<usize>>,
    below: HashMap<String, Vec<usize>>,
    any: Vec<usize>,
}

impl HostIndex {
    pub(super) fn new(rules: &[Rule]) -> Self {
        let mut index = Self::default();
        for (position, rule) in rules.iter().enumerate() {
            let hosts = &rule.test.matcher.host;
            if hosts.is_empty() || hosts.contains(&HostPattern::Any) {
                index.any.push(position);
                continue;
            }
            for host in hosts {
                match host {
                    HostPattern::Exact(name) => index.exact.entry(name.clone()).or_default().push(position),
                    HostPattern::Below(name) => index.below.entry(name.clone()).or_default().push(position),
                    HostPattern::Any => {}
                }
            }
        }
        index
    }

    /// Positions of the rules that may be about a host, each once, in order.
    pub(super) fn candidates(&self, host: &str) -> Vec<usize> {
        let mut found = self.any.clone();
        found.extend(self.exact.get(host).into_iter().flatten());
        let mut rest = host;
        while let Some((_, parent)) = rest.split_once('.') {
            found.extend(self.below.get(parent).into_iter().flatten());
            rest = parent;
        }
        found.sort_unstable();
        found.dedup();
        found
    }
}
