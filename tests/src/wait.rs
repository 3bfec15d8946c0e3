//! Waiting for conditions, with a deadline that turns a hang into a failure that says what was awaited.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};

/// How long a condition may take before the test gives up: generous, because it is only ever spent on failures.
pub const PATIENCE: Duration = Duration::from_secs(30);
const POLL: Duration = Duration::from_millis(10);

/// Waits until `condition` gives something, and gives that; an error naming what was awaited after [`PATIENCE`].
pub fn until<T>(awaited: &str, condition: impl FnMut() -> Option<T>) -> Result<T> {
    within(PATIENCE, condition).with_context(|| format!("waited {PATIENCE:?} in vain: {awaited}"))
}

/// Waits until `condition` gives something, or until the time is over.
pub fn within<T>(time: Duration, mut condition: impl FnMut() -> Option<T>) -> Option<T> {
    let deadline = Instant::now() + time;
    loop {
        if let Some(found) = condition() {
            return Some(found);
        }
        if Instant::now() >= deadline {
            return None;
        }
        std::thread::park_timeout(POLL);
    }
}
