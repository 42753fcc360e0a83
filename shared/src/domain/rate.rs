//! How many jobs of a kind may start in a time: a token bucket.
//!
//! The bucket is two times: the end of the last slot that was granted, and the end of the last place in the line of those who
//! wait. A start is granted by the first alone, so whatever was promised to whoever waits, no more start than the rate allows.
//! A place in the line only says when asking again is worth it, so that thousands of jobs can wait without asking all the time.

use super::id::Tenant;
use jiff::{SignedDuration, Timestamp};
use std::fmt;
use std::str::FromStr;

/// A start so near is granted at once: whoever asked waits for it.
pub const SOON: SignedDuration = SignedDuration::from_secs(1);

/// Places in the line reach so far: the longest delay of an SQS message.
pub const HORIZON: SignedDuration = SignedDuration::from_secs(900);

/// What lies further ahead than this rate can have put it, by more than clocks differ, was put there by a lower rate. It does
/// not bind the rate of now.
const SLACK: SignedDuration = SignedDuration::from_secs(60);

/// A time in which so many jobs may start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Period {
    /// A second.
    Second,
    /// A minute.
    Minute,
    /// An hour.
    Hour,
    /// 24 hours.
    Day,
}

impl Period {
    const ALL: [Self; 4] = [Self::Second, Self::Minute, Self::Hour, Self::Day];

    const fn seconds(self) -> i64 {
        match self {
            Self::Second => 1,
            Self::Minute => 60,
            Self::Hour => 3_600,
            Self::Day => 86_400,
        }
    }

    const fn letter(self) -> &'static str {
        match self {
            Self::Second => "s",
            Self::Minute => "m",
            Self::Hour => "h",
            Self::Day => "d",
        }
    }
}

/// So many starts in a time, evenly spread, and so many at once after a quiet time. In any stretch of time no more than rate x
/// time + burst are granted. As text `10/s`, `600/m`, `1000/h burst 20`, `5/d`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    jobs: u32,
    per: Period,
    burst: u32,
}

impl Rate {
    /// Most jobs in a period.
    pub const MOST: u32 = 1_000_000;
    /// Largest burst.
    pub const LARGEST_BURST: u32 = 10_000;

    /// So many in each period, 1 to [`Rate::MOST`]; what is outside is taken as the nearest of them. One at once.
    #[must_use]
    pub const fn new(jobs: u32, per: Period) -> Self {
        Self { jobs: within(jobs, Self::MOST), per, burst: 1 }
    }

    /// So many at once after a quiet time, 1 to [`Rate::LARGEST_BURST`].
    #[must_use]
    pub const fn burst(self, burst: u32) -> Self {
        Self { burst: within(burst, Self::LARGEST_BURST), ..self }
    }

    /// From one start to the next, to the microsecond, rounded up.
    #[must_use]
    pub fn interval(&self) -> SignedDuration {
        let micros = self.per.seconds() * 1_000_000;
        let jobs = i64::from(self.jobs);
        SignedDuration::from_micros((micros + jobs - 1) / jobs)
    }

    /// How long before its slot a start may be, after a quiet time.
    fn reach(&self) -> SignedDuration {
        self.interval() * i32::try_from(self.burst - 1).unwrap_or(i32::MAX)
    }
}

const fn within(number: u32, most: u32) -> u32 {
    if number == 0 {
        1
    } else if number > most {
        most
    } else {
        number
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.jobs, self.per.letter())?;
        if self.burst > 1 { write!(f, " burst {}", self.burst) } else { Ok(()) }
    }
}

/// The text is no rate.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a rate is a number from 1 to {max}, a slash and s, m, h or d, such as 10/s; with `burst` and a number from 1 to {burst} after it, if more may start at once", max = Rate::MOST, burst = Rate::LARGEST_BURST)]
pub struct InvalidRate;

impl FromStr for Rate {
    type Err = InvalidRate;

    fn from_str(text: &str) -> Result<Self, InvalidRate> {
        let number = |text: &str, most: u32| {
            let plain = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
            text.parse().ok().filter(|number| plain && (1..=most).contains(number)).ok_or(InvalidRate)
        };
        let words: Vec<&str> = text.split_ascii_whitespace().collect();
        let (rate, burst) = match words[..] {
            [rate] => (rate, 1),
            [rate, "burst", burst] => (rate, number(burst, Self::LARGEST_BURST)?),
            _ => return Err(InvalidRate),
        };
        let (jobs, letter) = rate.split_once('/').ok_or(InvalidRate)?;
        let per = Period::ALL.into_iter().find(|per| per.letter() == letter).ok_or(InvalidRate)?;
        Ok(Self { jobs: number(jobs, Self::MOST)?, per, burst })
    }
}

/// Whose jobs of a kind a limit counts together.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Whose {
    /// Everybody's.
    All,
    /// Those of each tenant that has no limit of its own, each for itself.
    EachTenant,
    /// This tenant's.
    Tenant(Tenant),
}

/// A limit on how many jobs of a kind may start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limit {
    /// The kind.
    pub kind: String,
    /// Whose jobs.
    pub whose: Whose,
    /// How many.
    pub rate: Rate,
}

/// What a job has to pass before it starts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Gate {
    /// The bucket's name: the kind, with `#` and the tenant if it is only that tenant's.
    pub bucket: String,
    /// Its rate.
    pub rate: Rate,
}

/// The limits of a kind that its type names.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Policy {
    /// On all jobs of the kind together.
    pub all: Option<Rate>,
    /// On those of each tenant.
    pub each_tenant: Option<Rate>,
}

/// The gates of the tenant's jobs of this kind: the tenant's own first, then the one that all share. What the operator has set
/// goes before the policy, and a tenant's own limit before the one of each tenant.
#[must_use]
pub fn gates(kind: &str, tenant: &Tenant, policy: Policy, set: &[Limit]) -> [Option<Gate>; 2] {
    let find =
        |whose: &Whose| set.iter().find(|limit| limit.kind == kind && limit.whose == *whose).map(|limit| limit.rate);
    let own = find(&Whose::Tenant(tenant.clone())).or_else(|| find(&Whose::EachTenant)).or(policy.each_tenant);
    let shared = find(&Whose::All).or(policy.all);
    [
        own.map(|rate| Gate { bucket: format!("{kind}#{tenant}"), rate }),
        shared.map(|rate| Gate { bucket: kind.to_owned(), rate }),
    ]
}

/// A bucket as it stands. One that nobody has used yet is empty.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Bucket {
    /// When the last slot that was granted ends.
    pub taken: Option<Timestamp>,
    /// When the last place in the line ends.
    pub line: Option<Timestamp>,
    /// Drawn for the last change: tells it from any other.
    pub mark: Option<u64>,
}

/// What those who asked a bucket get. Whoever gets neither is to ask again later.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Answer {
    /// When each of the first may start: by [`SOON`].
    pub starts: Vec<Timestamp>,
    /// When each of the next is to ask again, having waited: by [`HORIZON`].
    pub places: Vec<Timestamp>,
}

/// What the bucket gives to `number` jobs at `now`, and the bucket after it. Those that have `waited` are not put in the line
/// again, and others do not go before the line.
#[must_use]
pub fn ask(bucket: Bucket, rate: Rate, number: u32, waited: bool, now: Timestamp) -> (Answer, Bucket) {
    let (interval, reach) = (rate.interval(), rate.reach());
    let spaced = |from: Timestamp, count: usize| from + interval * i32::try_from(count).unwrap_or(i32::MAX);
    let number = usize::try_from(number).unwrap_or(usize::MAX);
    let mut next = bucket;
    let mut answer = Answer::default();
    let from = match bucket.taken {
        Some(end) if end > now + SOON + reach + interval + SLACK => now + SOON + reach,
        taken => taken.map_or(now, |end| end.max(now)),
    };
    let line = bucket.line.filter(|end| *end <= now + HORIZON + interval + SLACK).map_or(now, |end| end.max(now));
    if waited || line <= now {
        let starts = (0..number).map(|i| (spaced(from, i) - reach).max(now));
        answer.starts = starts.take_while(|start| *start <= now + SOON).collect();
    }
    if !answer.starts.is_empty() {
        next.taken = Some(spaced(from, answer.starts.len()));
    }
    if !waited {
        let first = line.max(spaced(from, answer.starts.len()) - reach);
        let places = (0..number - answer.starts.len()).map(|i| spaced(first, i));
        answer.places = places.take_while(|place| *place <= now + HORIZON).collect();
        if !answer.places.is_empty() {
            next.line = Some(spaced(first, answer.places.len()));
        }
    }
    (answer, next)
}

#[cfg(test)]
#[path = "rate_tests.rs"]
mod tests;
