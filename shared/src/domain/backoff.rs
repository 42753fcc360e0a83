//! How long to wait before the next attempt.

use std::time::Duration;

/// Exponential backoff with full jitter between a floor and a ceiling.
///
/// The wait after attempt `n` (from 1) is drawn between `base` and `base * factor^n`, never over `cap`. Full jitter spreads
/// the retries of jobs that failed together
/// ([Exponential Backoff And Jitter](https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/)); the floor
/// keeps a retry from coming back at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Backoff {
    /// Shortest wait.
    pub base: Duration,
    /// What the longest wait grows by with each attempt, at least 1.
    pub factor: u32,
    /// Longest wait of all.
    pub cap: Duration,
}

impl Backoff {
    /// For calls to services: 2 s, growing threefold, at most an hour. Ten attempts span about three hours.
    pub const SERVICE: Self = Self { base: Duration::from_secs(2), factor: 3, cap: Duration::from_secs(3_600) };

    /// The longest wait after attempt `attempt` (from 1).
    #[must_use]
    pub fn ceiling(&self, attempt: u32) -> Duration {
        let growth = self.factor.max(1).checked_pow(attempt.max(1)).unwrap_or(u32::MAX);
        self.base.checked_mul(growth).unwrap_or(self.cap).min(self.cap).max(self.base.min(self.cap))
    }

    /// The wait after attempt `attempt` (from 1), for a `dice` from 0 to 1.
    #[must_use]
    pub fn wait(&self, attempt: u32, dice: f64) -> Duration {
        let floor = self.base.min(self.cap);
        let span = self.ceiling(attempt).saturating_sub(floor);
        floor + span.mul_f64(dice.clamp(0.0, 1.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_ceiling_grows_to_the_cap() {
        let seconds: Vec<u64> = (1..=8).map(|n| Backoff::SERVICE.ceiling(n).as_secs()).collect();
        assert_eq!(seconds, [6, 18, 54, 162, 486, 1_458, 3_600, 3_600]);
    }

    proptest! {
        #[test]
        fn a_wait_lies_between_floor_and_ceiling(
            base in 0u64..10_000, factor in 0u32..10, cap in 0u64..10_000_000, attempt in 0u32..1_000, dice in -1.0f64..2.0,
        ) {
            let policy = Backoff { base: Duration::from_millis(base), factor, cap: Duration::from_millis(cap) };
            let wait = policy.wait(attempt, dice);
            prop_assert!(wait >= policy.base.min(policy.cap));
            prop_assert!(wait <= policy.cap);
            prop_assert!(wait <= policy.ceiling(attempt));
            prop_assert!(policy.ceiling(attempt) <= policy.ceiling(attempt + 1));
        }
    }
}
