//! How long to wait before starting a crew again: hardly after the first death, longer when it keeps dying.

use std::time::Duration;

const FIRST: Duration = Duration::from_millis(100);
const LONGEST: Duration = Duration::from_secs(5);
/// A crew that lived this long died of something else than its start.
const HEALTHY: Duration = Duration::from_secs(60);

/// The wait before the next start.
#[derive(Debug)]
pub struct Backoff {
    next: Duration,
}

impl Default for Backoff {
    /// Nothing died yet.
    fn default() -> Self {
        Self { next: FIRST }
    }
}

impl Backoff {
    /// How long to wait after a crew that lived for `lived`.
    pub fn after(&mut self, lived: Duration) -> Duration {
        if lived >= HEALTHY {
            self.next = FIRST;
        }
        let wait = self.next;
        self.next = (wait * 2).min(LONGEST);
        wait
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_to_a_limit_and_start_over_after_a_healthy_life() {
        let mut backoff = Backoff::default();
        let short = Duration::from_secs(1);
        assert_eq!([backoff.after(short), backoff.after(short)], [FIRST, FIRST * 2]);
        for _ in 0..20 {
            backoff.after(short);
        }
        assert_eq!(backoff.after(short), LONGEST);
        assert_eq!(backoff.after(HEALTHY), FIRST);
    }
}
