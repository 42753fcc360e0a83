//! One change of a job, as the stream of the jobs table tells it.

use super::id::InvalidId;
use super::job::Job;
use std::cmp::Ordering;
use std::fmt;

/// A change's place in its shard: a number of up to 40 decimal digits
/// ([StreamRecord](https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/API_streams_StreamRecord.html)). Within a
/// shard it only grows; numbers of different shards say nothing of each other.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Sequence(String);

impl Sequence {
    /// Most digits of a sequence number.
    pub const MAX_DIGITS: usize = 40;

    /// Reads a sequence number. Zeros in front do not count.
    ///
    /// # Errors
    /// When it is not a number of 1 to 40 digits.
    pub fn parse(text: &str) -> Result<Self, InvalidId> {
        if text.is_empty() || text.len() > Self::MAX_DIGITS || !text.bytes().all(|b| b.is_ascii_digit()) {
            return Err(InvalidId::new("a sequence number"));
        }
        let digits = text.trim_start_matches('0');
        Ok(Self(if digits.is_empty() { "0" } else { digits }.to_owned()))
    }

    /// The number as text, without zeros in front.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Ord for Sequence {
    fn cmp(&self, other: &Self) -> Ordering {
        self.0.len().cmp(&other.0.len()).then_with(|| self.0.cmp(&other.0))
    }
}

impl PartialOrd for Sequence {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl fmt::Display for Sequence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Sequence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The part of the stream that a change came by. A job's changes come by one shard at a time, in their order, and by the
/// next one only when the one before has ended.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Shard(String);

impl Shard {
    /// The shard of this name.
    #[must_use]
    pub fn new(name: impl Into<String>) -> Self {
        Self(name.into())
    }

    /// Its name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// What happened to a job's item.
#[derive(Debug, Clone, PartialEq)]
pub enum Step {
    /// It was recorded.
    Created(Box<Job>),
    /// It was changed.
    Changed {
        /// As it was.
        old: Box<Job>,
        /// As it is since.
        new: Box<Job>,
    },
    /// It was deleted: its time to be kept was over.
    Deleted(Box<Job>),
}

/// One change of a job.
#[derive(Debug, Clone, PartialEq)]
pub struct Change {
    /// Its place in its shard.
    pub sequence: Sequence,
    /// What happened.
    pub step: Step,
}

impl Change {
    /// The job before.
    #[must_use]
    pub fn before(&self) -> Option<&Job> {
        match &self.step {
            Step::Created(_) => None,
            Step::Changed { old, .. } | Step::Deleted(old) => Some(old),
        }
    }

    /// The job after.
    #[must_use]
    pub fn after(&self) -> Option<&Job> {
        match &self.step {
            Step::Created(new) | Step::Changed { new, .. } => Some(new),
            Step::Deleted(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_sequence_number_is_digits() {
        for wrong in ["", "-1", "1 ", "0x1", "1.0", &"9".repeat(41)] {
            assert!(Sequence::parse(wrong).is_err(), "{wrong}");
        }
        assert_eq!(Sequence::parse("00120").unwrap().as_str(), "120");
        assert_eq!(Sequence::parse("000").unwrap().as_str(), "0");
        assert!(Sequence::parse(&"9".repeat(40)).is_ok());
    }

    proptest! {
        #[test]
        fn they_are_ordered_as_numbers(a: u128, b: u128, shift in 0..120, zeros in 0_usize..2) {
            let (a, b) = (a >> shift, b >> (120 - shift));
            let read = |n: u128| Sequence::parse(&format!("{}{n}", "0".repeat(zeros))).unwrap();
            prop_assert_eq!(read(a).cmp(&read(b)), a.cmp(&b));
        }
    }
}
