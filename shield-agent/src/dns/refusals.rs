//! Refused questions on their way to the journal: one record a minute for each parent and reason, and the number of them.
//!
//! An agent can ask ten thousand names in a minute; the journal is for people.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use super::limits::parent;
use crate::flow::policy::verdict::Judgement;
use crate::ipc::approver::NamesRefused;
use crate::names::AgentName;

/// How often the same is recorded.
const EVERY: Duration = Duration::from_secs(60);
/// Parents and reasons told apart; what is beyond them is counted together.
const TOLD_APART: usize = 256;
/// Stands for all further parents.
const OTHERS: &str = "*";

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Refusals(HashMap<(String, String), Counted>);

#[derive(Debug)]
struct Counted {
    /// Since the last record.
    questions: u64,
    /// The first of them.
    name: String,
    kind: String,
    judgement: Judgement,
    recorded: Option<Instant>,
}

impl Refusals {
    /// Counts a question that was refused, or would have been.
    pub(super) fn add(&mut self, name: &str, kind: String, judgement: Judgement) {
        let told =
            if judgement.rule.is_some() { format!("{:?}", judgement.rule) } else { judgement.why.clone() };
        let mut key = (parent(name).to_owned(), told);
        if self.0.len() >= TOLD_APART && !self.0.contains_key(&key) {
            key = (OTHERS.to_owned(), String::new());
        }
        let new = || Counted {
            questions: 0,
            name: String::new(),
            kind: String::new(),
            judgement: judgement.clone(),
            recorded: None,
        };
        let counted = self.0.entry(key).or_insert_with(new);
        if counted.questions == 0 {
            (counted.name, counted.kind, counted.judgement) = (name.to_owned(), kind, judgement);
        }
        counted.questions += 1;
    }

    /// The records whose time has come. What has been quiet for a while is forgotten.
    pub(super) fn due(&mut self, agent: &AgentName, now: Instant) -> Vec<NamesRefused> {
        let rested = |counted: &Counted| counted.recorded.is_none_or(|at| now.duration_since(at) >= EVERY);
        self.0.retain(|_, counted| counted.questions > 0 || !rested(counted));
        let due = self.0.iter_mut().filter(|(_, counted)| counted.questions > 0 && rested(counted));
        due.map(|((parent, _), counted)| {
            counted.recorded = Some(now);
            NamesRefused {
                agent: agent.clone(),
                parent: parent.clone(),
                name: std::mem::take(&mut counted.name),
                kind: std::mem::take(&mut counted.kind),
                questions: std::mem::take(&mut counted.questions),
                judgement: counted.judgement.clone(),
            }
        })
        .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flow::policy::verdict::{HoldTerms, Verdict};
    use crate::names::Digest;

    fn refused(why: &str) -> Judgement {
        Judgement {
            verdict: Verdict::Deny,
            rule: None,
            why: why.into(),
            terms: HoldTerms::default(),
            observed: vec![],
            policy: Digest([0; 32]),
        }
    }

    #[test]
    fn ten_thousand_refusals_are_one_record_a_minute_that_counts_them() {
        let (mut refusals, start) = (Refusals::default(), Instant::now());
        let agent: AgentName = "bot".parse().unwrap();
        let add = |number: u32, why: &str, refusals: &mut Refusals| {
            refusals.add(&format!("x{number}.evil.example"), "A".into(), refused(why));
        };
        add(0, "unknown", &mut refusals);
        let first = refusals.due(&agent, start);
        assert_eq!((first.len(), first[0].questions, first[0].name.as_str()), (1, 1, "x0.evil.example"));
        for number in 1..10_000 {
            add(number, "unknown", &mut refusals);
        }
        add(1, "too many", &mut refusals);
        let other = refusals.due(&agent, start + EVERY / 2);
        assert_eq!((other.len(), other[0].judgement.why.as_str()), (1, "too many"));
        let next = refusals.due(&agent, start + EVERY);
        assert_eq!((next.len(), next[0].questions, next[0].parent.as_str()), (1, 9999, "evil.example"));
        assert!(refusals.due(&agent, start + 3 * EVERY).is_empty() && refusals.0.is_empty());
    }

    #[test]
    fn more_parents_than_people_can_read_are_counted_together() {
        let (mut refusals, now) = (Refusals::default(), Instant::now());
        for number in 0..10_000 {
            refusals.add(&format!("evil{number}.example"), "A".into(), refused("unknown"));
        }
        let records = refusals.due(&"bot".parse().unwrap(), now);
        assert_eq!(records.len(), TOLD_APART + 1);
        assert_eq!(records.iter().map(|record| record.questions).sum::<u64>(), 10_000);
    }
}
