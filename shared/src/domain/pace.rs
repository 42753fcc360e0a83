//! A sending rate as a line of time slots. Whoever sends takes as long a slot as its mails need at the rate, the next
//! one takes the slot after it. One number, the end of the last slot, is all there is to store.

use jiff::{SignedDuration, Timestamp};

/// What asking for a slot came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Grant {
    /// The slot is taken.
    Slot {
        /// When it begins.
        from: Timestamp,
        /// When it ends.
        until: Timestamp,
    },
    /// It would end too late; nothing is taken.
    Refused {
        /// When the slots taken by others end.
        free_at: Timestamp,
    },
}

/// The slot after `taken_until` (or from `now`, when that is past or nothing is taken), if it ends by `latest`.
#[must_use]
pub fn grant(taken_until: Option<Timestamp>, cost: SignedDuration, now: Timestamp, latest: Timestamp) -> Grant {
    let from = taken_until.map_or(now, |end| end.max(now));
    let until = from + cost;
    if until <= latest { Grant::Slot { from, until } } else { Grant::Refused { free_at: from } }
}

/// How long a slot `mails` mails need at `per_second`, to the millisecond, rounded up.
#[must_use]
pub fn cost(mails: usize, per_second: f64) -> SignedDuration {
    let seconds = mails as f64 / per_second.max(f64::MIN_POSITIVE);
    // A rate near zero must not overflow; a day is longer than any worker lives.
    SignedDuration::from_millis((seconds.min(86_400.0) * 1000.0).ceil() as i64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn ms(ms: i64) -> Timestamp {
        Timestamp::from_millisecond(ms).unwrap()
    }

    #[test]
    fn slots_follow_each_other_and_end_in_time() {
        let second = SignedDuration::from_secs(1);
        let first = grant(None, second, ms(0), ms(2_500));
        assert_eq!(first, Grant::Slot { from: ms(0), until: ms(1_000) });
        assert_eq!(
            grant(Some(ms(1_000)), second, ms(10), ms(2_500)),
            Grant::Slot { from: ms(1_000), until: ms(2_000) }
        );
        assert_eq!(grant(Some(ms(2_000)), second, ms(20), ms(2_500)), Grant::Refused { free_at: ms(2_000) });
        // Time nobody used is gone: there is no burst afterwards.
        assert_eq!(
            grant(Some(ms(2_000)), second, ms(9_000), ms(99_000)),
            Grant::Slot { from: ms(9_000), until: ms(10_000) }
        );
    }

    #[test]
    fn any_rate_gives_a_cost() {
        assert_eq!(cost(50, 14.0).as_millis(), 3_572);
        assert_eq!(cost(1, 0.0).as_secs(), 86_400);
        assert_eq!(cost(1, f64::MIN_POSITIVE).as_secs(), 86_400);
        assert_eq!(cost(0, 14.0).as_millis(), 0);
    }

    proptest! {
        /// Whoever asks, and whenever: slots never overlap.
        #[test]
        fn slots_never_overlap(asks in proptest::collection::vec((0i64..5_000, 1i64..2_000, 0i64..20_000), 1..50)) {
            let (mut now, mut taken) = (0, None);
            for (passed, cost, patience) in asks {
                now += passed;
                let cost = SignedDuration::from_millis(cost);
                match grant(taken, cost, ms(now), ms(now + patience)) {
                    Grant::Slot { from, until } => {
                        prop_assert!(from >= ms(now) && taken.is_none_or(|end| from >= end));
                        prop_assert!(until == from + cost && until <= ms(now + patience));
                        taken = Some(until);
                    }
                    Grant::Refused { free_at } => prop_assert!(free_at + cost > ms(now + patience)),
                }
            }
        }
    }
}
