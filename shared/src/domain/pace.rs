//! A sending rate as a line of time slots. Whoever sends takes as long a slot as its mails need at the rate, the next
//! one takes the slot after it. One number, the end of the last slot, is all there is to store.
//!
//! The rate itself adapts as TCP does: SES's "too fast" cuts it at once, and it grows back little by little. What is
//! stored is the cut; how far it has grown back follows from the time.

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

/// The share of SES's rate and quota that newsletters may use; the rest is kept for single mails.
pub const NEWSLETTER_SHARE: f64 = 0.85;
/// The rate while nobody knows SES's: that of an account in the sandbox.
const UNKNOWN: SendRate = SendRate(1_000);
/// What a cut leaves of the rate.
const CUT: f64 = 0.7;
/// The least a cut leaves of the rate that is allowed.
const FLOOR: f64 = 0.05;
/// Cuts are at least this far apart: many workers are told of one excess.
const BETWEEN_CUTS: SignedDuration = SignedDuration::from_secs(3);
/// How much of the allowed rate grows back each second.
const GROWTH: f64 = 0.01;

/// Mails per second, from 0.001 to 10,000, in thousandths.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "u32", into = "u32")]
pub struct SendRate(u32);

/// The number is no rate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a rate is 0.001 to 10000 mails a second")]
pub struct InvalidRate;

impl SendRate {
    /// The slowest.
    pub const MIN: Self = Self(1);
    const MAX: u32 = 10_000_000;

    /// So many mails a second.
    ///
    /// # Errors
    /// When it is not from 0.001 to 10,000.
    pub fn per_second(mails: f64) -> Result<Self, InvalidRate> {
        let thousandths = (mails * 1000.0).round();
        // Not a number is in no range.
        if (1.0..=f64::from(Self::MAX)).contains(&thousandths) {
            Ok(Self(thousandths as u32))
        } else {
            Err(InvalidRate)
        }
    }

    /// Mails per second.
    #[must_use]
    pub fn get(self) -> f64 {
        f64::from(self.0) / 1000.0
    }

    /// This part of it, within what a rate may be.
    #[must_use]
    pub fn times(self, part: f64) -> Self {
        Self((f64::from(self.0) * part).round().clamp(1.0, f64::from(Self::MAX)) as u32)
    }

    /// How long a slot `mails` mails need, to the microsecond.
    #[must_use]
    pub fn cost(self, mails: usize) -> SignedDuration {
        let micros = (mails as u128 * 1_000_000_000).div_ceil(u128::from(self.0));
        SignedDuration::from_micros(i64::try_from(micros).unwrap_or(i64::MAX))
    }

    /// How many mails fit into this time, the first one at its beginning.
    #[must_use]
    pub fn within(self, time: SignedDuration) -> usize {
        let micros = u128::try_from(time.as_micros()).unwrap_or(0);
        usize::try_from(micros * u128::from(self.0) / 1_000_000_000).unwrap_or(usize::MAX).saturating_add(1)
    }
}

impl TryFrom<u32> for SendRate {
    type Error = InvalidRate;

    fn try_from(thousandths: u32) -> Result<Self, InvalidRate> {
        if (1..=Self::MAX).contains(&thousandths) { Ok(Self(thousandths)) } else { Err(InvalidRate) }
    }
}

impl From<SendRate> for u32 {
    fn from(rate: SendRate) -> Self {
        rate.0
    }
}

/// A cut of the rate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cut {
    /// What it left.
    pub left: SendRate,
    /// When.
    pub at: Timestamp,
}

/// A line of slots, and what is known of how fast it may go.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Line {
    /// When the last slot taken ends.
    pub taken_until: Option<Timestamp>,
    /// The newsletters' share of SES's rate, as SES told last.
    pub ceiling: Option<SendRate>,
    /// The last cut.
    pub cut: Option<Cut>,
    /// When the latest mail was sent whose Send event has come.
    pub heard_at: Option<Timestamp>,
}

impl Line {
    /// The rate with nothing to slow it down: `limit`, but no more than SES allows.
    #[must_use]
    pub fn allowed(&self, limit: Option<SendRate>) -> SendRate {
        match (limit, self.ceiling) {
            (Some(limit), Some(ceiling)) => limit.min(ceiling),
            (one, other) => one.or(other).unwrap_or(UNKNOWN),
        }
    }

    /// The rate at `now`.
    #[must_use]
    pub fn rate(&self, limit: Option<SendRate>, now: Timestamp) -> SendRate {
        let allowed = self.allowed(limit);
        let Some(cut) = self.cut else { return allowed };
        let grown = GROWTH * now.duration_since(cut.at).as_secs_f64().max(0.0);
        SendRate::per_second(cut.left.get() + allowed.get() * grown).map_or(allowed, |rate| rate.min(allowed))
    }

    /// The cut to be made after SES has said that it goes too fast. `None` when there was one just now.
    #[must_use]
    pub fn cut(&self, limit: Option<SendRate>, now: Timestamp) -> Option<Cut> {
        if self.cut.is_some_and(|cut| now.duration_since(cut.at) < BETWEEN_CUTS) {
            return None;
        }
        let left = self.rate(limit, now).times(CUT).max(self.allowed(limit).times(FLOOR));
        Some(Cut { left, at: now })
    }
}

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

    fn rate(mails: f64) -> SendRate {
        SendRate::per_second(mails).unwrap()
    }

    #[test]
    fn any_rate_gives_a_cost() {
        assert_eq!(rate(14.0).cost(50).as_micros(), 3_571_429);
        assert_eq!(rate(300.0).cost(1).as_micros(), 3_334, "a millisecond more would be a fifth of the rate");
        assert_eq!(rate(1_667.0).cost(50).as_micros(), 29_995);
        assert_eq!(rate(0.001).cost(1).as_secs(), 1_000);
        assert_eq!(rate(14.0).cost(0).as_millis(), 0);
        for bad in [0.0, -1.0, 0.000_4, 10_001.0, f64::NAN, f64::INFINITY] {
            assert_eq!(SendRate::per_second(bad), Err(InvalidRate), "{bad}");
        }
        assert_eq!(rate(10.0).within(SignedDuration::from_millis(2_500)), 26);
        assert_eq!(rate(10.0).within(SignedDuration::from_secs(-1)), 1);
    }

    #[test]
    fn the_rate_is_the_least_of_what_is_asked_and_allowed() {
        let line = Line::default();
        assert_eq!(line.rate(None, ms(0)), rate(1.0), "until SES has told, that of the sandbox");
        assert_eq!(line.rate(Some(rate(10.0)), ms(0)), rate(10.0));
        let line = Line { ceiling: Some(rate(12.0)), ..line };
        assert_eq!(line.rate(Some(rate(10.0)), ms(0)), rate(10.0));
        assert_eq!(line.rate(Some(rate(14.0)), ms(0)), rate(12.0));
        assert_eq!(line.rate(None, ms(0)), rate(12.0));
    }

    #[test]
    fn too_fast_cuts_the_rate_and_time_gives_it_back() {
        let limit = Some(rate(100.0));
        let mut line = Line { cut: Line::default().cut(limit, ms(0)), ..Line::default() };
        assert_eq!(line.rate(limit, ms(0)), rate(70.0));
        assert_eq!(line.cut(limit, ms(2_999)), None, "one excess is one cut");
        assert_eq!(line.rate(limit, ms(10_000)), rate(80.0));
        assert_eq!(line.rate(limit, ms(30_000)), rate(100.0));
        assert_eq!(line.rate(limit, ms(90_000)), rate(100.0));
        for i in 1..100 {
            line.cut = line.cut(limit, ms(3_000 * i));
        }
        assert!(line.rate(limit, ms(297_000)) >= rate(5.0), "it never stands still");
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
