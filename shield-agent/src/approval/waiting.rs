//! Who waits for which hold: the worker's open questions, in memory only.
//!
//! A question that died with its connection leaves nothing behind; the hold it asked for is in the store.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::names::HoldId;

/// The worker's open questions about holds.
#[derive(Debug, Default)]
pub struct Waiting(Mutex<Questions>);

#[derive(Debug, Default)]
struct Questions {
    /// Question → its hold, once that is known.
    open: HashMap<u64, Option<HoldId>>,
}

impl Waiting {
    /// A question was asked.
    pub fn asked(&self, ask: u64) {
        self.lock().open.insert(ask, None);
    }

    /// A question waits for this hold, unless nobody waits for it any more.
    pub fn waits_for(&self, ask: u64, hold: HoldId) {
        if let Some(known) = self.lock().open.get_mut(&ask) {
            *known = Some(hold);
        }
    }

    /// Nobody waits for the answer to a question any more.
    pub fn stopped(&self, ask: u64) {
        self.lock().open.remove(&ask);
    }

    /// Whether somebody waits for a hold.
    pub fn any(&self, hold: HoldId) -> bool {
        self.lock().open.values().any(|known| *known == Some(hold))
    }

    /// The questions that wait for a hold; they are answered now, so they wait no more.
    pub fn take(&self, hold: HoldId) -> Vec<u64> {
        let mut questions = self.lock();
        let waiting = questions.open.iter().filter(|(_, known)| **known == Some(hold)).map(|(ask, _)| *ask);
        let waiting: Vec<u64> = waiting.collect();
        for ask in &waiting {
            questions.open.remove(ask);
        }
        waiting
    }

    fn lock(&self) -> MutexGuard<'_, Questions> {
        // Nothing panics while holding the lock.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_question_nobody_waits_for_any_more_is_not_answered() {
        let (waiting, hold) = (Waiting::default(), HoldId(ulid::Ulid(1)));
        waiting.asked(1);
        waiting.asked(2);
        // It hung up before its hold was stored.
        waiting.stopped(1);
        waiting.waits_for(1, hold);
        assert!(!waiting.any(hold));
        waiting.waits_for(2, hold);
        assert!(waiting.any(hold));
        assert_eq!(waiting.take(hold), [2]);
        assert!(waiting.take(hold).is_empty() && !waiting.any(hold));
    }
}
