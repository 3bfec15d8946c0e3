//! The differences that are explained: a reason, and below it the tests it is the reason of.
//!
//! ```text
//! == aiohttp: why these tests come out otherwise through the gate
//! tests/test_x.py::test_one
//! tests/test_x.py::test_many[*
//! ```
//! A `*` at the end stands for any rest.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result};

const LIST: &str = include_str!("../../../suites/explained.txt");

/// What is explained for one suite.
pub(super) struct Explained {
    entries: Vec<(&'static str, &'static str)>,
}

impl Explained {
    /// Of one suite.
    pub(super) fn of(suite: &str) -> Result<Self> {
        Self::read(LIST, suite)
    }

    fn read(list: &'static str, suite: &str) -> Result<Self> {
        let mut entries = vec![];
        let mut section = None;
        for line in list.lines().map(str::trim_end).filter(|line| !line.is_empty() && !line.starts_with('#'))
        {
            if let Some(head) = line.strip_prefix("== ") {
                section = Some(head.split_once(": ").with_context(|| format!("no reason in `{line}`"))?);
                continue;
            }
            let (of, reason) = section.with_context(|| format!("`{line}` comes before any reason"))?;
            if of == suite {
                entries.push((line, reason));
            }
        }
        Ok(Self { entries })
    }

    /// The reason why a test comes out otherwise.
    pub(super) fn reason(&self, test: &str) -> Option<&'static str> {
        let meant = |pattern: &str| match pattern.strip_suffix('*') {
            Some(start) => test.starts_with(start),
            None => pattern == test,
        };
        self.entries.iter().find(|(pattern, _)| meant(pattern)).map(|(_, reason)| *reason)
    }

    /// How many of `tests` each reason is given for.
    pub(super) fn count<'a>(&self, tests: impl Iterator<Item = &'a str>) -> BTreeMap<&'static str, usize> {
        let mut counts = BTreeMap::new();
        for reason in tests.filter_map(|test| self.reason(test)) {
            *counts.entry(reason).or_default() += 1;
        }
        counts
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_test_is_explained_by_its_name_or_by_how_it_begins_for_its_own_suite_only() {
        let list = "# note\n== a: one reason\nx::y\n== b: another\nx::*\n";
        let a = Explained::read(list, "a").unwrap();
        assert_eq!((a.reason("x::y"), a.reason("x::z")), (Some("one reason"), None));
        let b = Explained::read(list, "b").unwrap();
        assert_eq!(b.reason("x::z"), Some("another"));
        assert_eq!(b.count(["x::z", "x::y", "z"].into_iter()), BTreeMap::from([("another", 2)]));
        assert!(Explained::read("x::y\n", "a").is_err());
    }
}
