//! How fast the signer may sign: a bucket that refills evenly. Reads no clock.

use std::time::{Duration, Instant};

/// At most `per_second` admissions in any burst, refilled evenly.
#[derive(Debug)]
pub(super) struct Pace {
    /// Time one admission costs.
    cost: Duration,
    /// Time the bucket can hold: one second.
    depth: Duration,
    /// When the bucket is full again.
    full_at: Instant,
}

impl Pace {
    /// A full bucket. With `per_second` 0 nothing is admitted.
    pub(super) fn new(per_second: u32, now: Instant) -> Self {
        let depth = Duration::from_secs(1);
        let cost = depth.checked_div(per_second).unwrap_or(Duration::MAX);
        Self { cost, depth, full_at: now }
    }

    /// Whether one more may pass now; if so it is counted.
    pub(super) fn admit(&mut self, now: Instant) -> bool {
        let Some(full_at) = self.full_at.max(now).checked_add(self.cost) else { return false };
        let admitted = full_at.saturating_duration_since(now) <= self.depth;
        if admitted {
            self.full_at = full_at;
        }
        admitted
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_is_bounded_and_refills_with_time() {
        let start = Instant::now();
        let mut pace = Pace::new(10, start);
        assert_eq!((0..100).filter(|_| pace.admit(start)).count(), 10);
        let later = start + Duration::from_millis(300);
        assert_eq!((0..100).filter(|_| pace.admit(later)).count(), 3);
        let much_later = start + Duration::from_secs(3600);
        assert_eq!((0..100).filter(|_| pace.admit(much_later)).count(), 10);
    }

    #[test]
    fn a_pace_of_nothing_admits_nothing() {
        let now = Instant::now();
        assert!(!Pace::new(0, now).admit(now));
    }
}
