//! The time of day, which conditions, facts and budgets carry. Waiting goes by tokio's clock, which has no date.

use jiff::{SignedDuration, Timestamp};
use tokio::time::Instant;

/// Where the time of day comes from.
#[derive(Debug, Clone, Copy)]
pub enum Clock {
    /// The system.
    System,
    /// A simulated clock: it showed `at` at the moment `then`, and advances with tokio's clock.
    Since {
        /// A moment.
        then: Instant,
        /// The time of day at that moment.
        at: Timestamp,
    },
}

impl Clock {
    /// What it shows.
    #[must_use]
    pub fn now(self) -> Timestamp {
        match self {
            Self::System => Timestamp::now(),
            Self::Since { then, at } => {
                SignedDuration::try_from(then.elapsed()).ok().and_then(|past| at.checked_add(past).ok()).unwrap_or(at)
            }
        }
    }
}
