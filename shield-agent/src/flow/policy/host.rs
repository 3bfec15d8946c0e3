//! Patterns of hosts and of agents' names.

use serde::{Deserialize, Serialize};

use crate::flow::http::host::canonical;

/// `*`, `*.acme.internal` (every name below it, not itself), or one host in canonical form.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum HostPattern {
    /// Every host.
    Any,
    /// Names that end in a dot and this.
    Below(String),
    /// This host.
    Exact(String),
}

impl HostPattern {
    /// Reads a pattern; the error says what would be right.
    pub fn parse(text: &str) -> Result<Self, String> {
        if text == "*" {
            return Ok(Self::Any);
        }
        let (below, name) = text.strip_prefix("*.").map_or((false, text), |rest| (true, rest));
        if name.contains('*') {
            return Err(format!("`{text}`: a `*` may only stand first, as in `*.example.com`"));
        }
        let bracketed =
            if name.contains(':') && !name.starts_with('[') { format!("[{name}]") } else { name.into() };
        let host = canonical(&bracketed)
            .map_err(|_| format!("`{text}` is not a host name or address (without scheme and port)"))?;
        if below && host.parse::<std::net::IpAddr>().is_ok() {
            return Err(format!("`{text}`: an address has nothing below it"));
        }
        Ok(if below { Self::Below(host) } else { Self::Exact(host) })
    }

    /// Whether a canonical host is meant.
    pub fn matches(&self, host: &str) -> bool {
        match self {
            Self::Any => true,
            Self::Below(name) => host.strip_suffix(name.as_str()).is_some_and(|rest| rest.ends_with('.')),
            Self::Exact(name) => host == name,
        }
    }
}

/// A pattern of words in which `*` stands for any letters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct WordPattern(Vec<String>);

impl WordPattern {
    /// Every text is a pattern.
    pub(super) fn parse(text: &str) -> Self {
        Self(text.split('*').map(str::to_owned).collect())
    }

    /// Whether a word is meant.
    pub(super) fn matches(&self, word: &str) -> bool {
        let (first, rest) = self.0.split_first().expect("splitting gives at least one part");
        let Some((last, middle)) = rest.split_last() else { return first == word };
        let Some(mut word) = word.strip_prefix(first.as_str()) else { return false };
        for part in middle {
            let Some(at) = word.find(part.as_str()) else { return false };
            word = &word[at + part.len()..];
        }
        word.ends_with(last.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_pattern_means_exactly_what_it_says() {
        let below = HostPattern::parse("*.ACME.internal").unwrap();
        assert!(below.matches("crm.acme.internal") && below.matches("a.b.acme.internal"));
        assert!(!below.matches("acme.internal") && !below.matches("evilacme.internal"));
        assert!(HostPattern::parse("crm.acme.internal.").unwrap().matches("crm.acme.internal"));
        assert!(HostPattern::parse("2001:DB8::1").unwrap().matches("2001:db8::1"));
        for bad in ["", "a.*.b", "https://x", "x:443", "*.10.0.0.1", "a b"] {
            assert!(HostPattern::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn stars_in_a_word_stand_for_any_letters() {
        for (pattern, word, fits) in [
            ("deploy-*", "deploy-bot", true),
            ("deploy-*", "redeploy-bot", false),
            ("*", "", true),
            ("a*b*c", "aXbYc", true),
            ("a*b*c", "ac", false),
            ("*bot", "bot", true),
            ("a*a", "a", false),
            ("exact", "exactly", false),
        ] {
            assert_eq!(WordPattern::parse(pattern).matches(word), fits, "{pattern} {word}");
        }
    }
}
