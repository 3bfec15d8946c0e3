//! What time does: holds expire, an approval that could not be carried out at once is tried again, requests and
//! answers nobody needs any more are dropped, and refusals are written down when their minute is over.

use std::time::Duration;

use jiff::Timestamp;
use tokio::time::{MissedTickBehavior, interval};

use super::engine::Engine;
use crate::report::Chain;
use crate::store::StoreError;
use crate::store::holds;

/// How often the clock is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(500);

impl Engine {
    /// Looks at the clock until the process ends.
    pub async fn keep_time(self) {
        let mut tick = interval(LOOK_EVERY);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tick.tick().await;
            let refusals = self.write_refusals().await;
            for done in [self.expire().await, self.dispatch_all().await, self.forget().await, refusals] {
                if let Err(error) = done {
                    // The store says itself, once, when it cannot be written.
                    tracing::debug!("what time does could not be done: {}", Chain(&error));
                }
            }
        }
    }

    /// Drops the requests and answers of holds that ended `hold.result_ttl` ago; what was shown of them is kept.
    pub async fn forget(&self) -> Result<(), StoreError> {
        let then = self.now().checked_sub(self.inner.hold.result_ttl).unwrap_or(Timestamp::MIN);
        for row in self.ended_before(then).await? {
            let view = self.show(&row).await?;
            let card = serde_json::to_string(&view).expect("a view has string keys and finite numbers");
            self.store()
                .run(move |tx| Box::pin(async move { holds::forget(tx, row.id, &card).await }))
                .await?;
        }
        Ok(())
    }
}
