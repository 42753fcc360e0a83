//! How often something may be asked for. The limiter is one number for each subject: the end of the last slot taken (the
//! generic cell rate algorithm).

use super::pace::{Grant, grant};
use jiff::{SignedDuration, Timestamp};

/// So many at once, and one more for each `every` that passes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limit {
    /// What is limited; part of the key under which it is counted.
    pub name: &'static str,
    /// How many at once, at least 1.
    pub burst: u32,
    /// How long until one more is allowed.
    pub every: SignedDuration,
}

/// Sign-ups of one address, over all newsletters of a tenant.
pub const SIGN_UPS_OF_ADDRESS: Limit =
    Limit { name: "sign-up-address", burst: 6, every: SignedDuration::from_hours(4) };

/// Sign-ups from one network address.
pub const SIGN_UPS_OF_SOURCE: Limit = Limit { name: "sign-up-source", burst: 60, every: SignedDuration::from_mins(1) };

impl Limit {
    /// The end of the slot after `taken_until`, when there is one to be had.
    #[must_use]
    pub fn take(&self, taken_until: Option<Timestamp>, now: Timestamp) -> Option<Timestamp> {
        match grant(taken_until, self.every, now, self.latest(now)) {
            Grant::Slot { until, .. } => Some(until),
            Grant::Refused { .. } => None,
        }
    }

    /// When the last slot that may be taken `now` ends.
    #[must_use]
    pub fn latest(&self, now: Timestamp) -> Timestamp {
        now + self.every * i32::try_from(self.burst).unwrap_or(i32::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// Whenever somebody asks: in no stretch of time more are allowed than the burst and one for each `every`.
        #[test]
        fn never_more_than_the_limit(burst in 1u32..8, every in 1i64..100, waits in prop::collection::vec(0i64..60, 1..80)) {
            let limit = Limit { name: "test", burst, every: SignedDuration::from_secs(every) };
            let (mut now, mut taken, mut allowed) = (0, None, Vec::new());
            for wait in waits {
                now += wait;
                if let Some(until) = limit.take(taken, Timestamp::from_second(now).unwrap()) {
                    taken = Some(until);
                    allowed.push(now);
                }
            }
            for (i, from) in allowed.iter().enumerate() {
                for (j, to) in allowed.iter().enumerate().skip(i) {
                    let most = i64::from(burst) + (to - from) / every;
                    prop_assert!((j - i + 1) as i64 <= most, "{allowed:?}");
                }
            }
        }
    }

    #[test]
    fn a_burst_is_allowed_and_then_one_at_a_time() {
        let at = |second| Timestamp::from_second(second).unwrap();
        let limit = Limit { name: "test", burst: 2, every: SignedDuration::from_secs(10) };
        let first = limit.take(None, at(0));
        let second = limit.take(first, at(0));
        assert_eq!((first, second), (Some(at(10)), Some(at(20))));
        assert_eq!(limit.take(second, at(9)), None);
        assert_eq!(limit.take(second, at(10)), Some(at(30)));
    }
}
