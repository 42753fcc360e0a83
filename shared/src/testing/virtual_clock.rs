use crate::ports::Clock;
use jiff::Timestamp;
use std::time::Duration;
use tokio::time::Instant;

/// Tokio's own time, counted from a given moment: in a runtime with paused time it jumps from one timer to the next, so
/// hours pass in no time.
#[derive(Debug, Clone, Copy)]
pub struct VirtualClock {
    began: Instant,
    at: Timestamp,
}

impl VirtualClock {
    /// A clock that shows `at` now. To be called within a runtime.
    #[must_use]
    pub fn starting(at: Timestamp) -> Self {
        Self { began: Instant::now(), at }
    }
}

impl Clock for VirtualClock {
    fn now(&self) -> Timestamp {
        // To the millisecond, as a table keeps it.
        let passed = u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.at + Duration::from_millis(passed)
    }
}
