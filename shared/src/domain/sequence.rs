//! Welcome sequences: letters that follow the beginning of a subscription, each some time after it.
//!
//! A subscriber is enrolled in the edition that its newsletter had when it was subscribed, and stays in it whatever becomes of
//! the sequence later. Nobody is enrolled twice in one life of their subscriber.

use super::id::digest_hex;
use super::local_time::{SendTime, Zone, next};
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use std::fmt;

/// Most steps of a sequence.
pub const MAX_STEPS: usize = 20;

/// How long after the beginning of a subscription: a number and a unit, as `90s`, `30m`, `12h` or `3d`; at most 366 days,
/// since no job waits longer. A day has 24 hours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct After(u32);

/// The text is no such time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("is a whole number and a unit: s, m, h or d, as 12h or 3d; at most 366d")]
pub struct InvalidAfter;

const UNITS: [(char, u32); 4] = [('d', 86_400), ('h', 3_600), ('m', 60), ('s', 1)];

impl After {
    /// The longest, in seconds.
    const MAX: u32 = 366 * 86_400;

    /// Reads a number and a unit.
    ///
    /// # Errors
    /// When it is anything else, or too long.
    pub fn parse(text: &str) -> Result<Self, InvalidAfter> {
        let unit = UNITS.iter().find_map(|(unit, seconds)| Some((text.strip_suffix(*unit)?, seconds)));
        let (digits, seconds) = unit.ok_or(InvalidAfter)?;
        if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(InvalidAfter);
        }
        let number: u32 = digits.parse().map_err(|_| InvalidAfter)?;
        number.checked_mul(*seconds).filter(|all| *all <= Self::MAX).map(Self).ok_or(InvalidAfter)
    }

    fn duration(self) -> SignedDuration {
        SignedDuration::from_secs(i64::from(self.0))
    }
}

impl fmt::Display for After {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (unit, seconds) =
            UNITS.into_iter().find(|(_, seconds)| self.0.is_multiple_of(*seconds)).unwrap_or(('s', 1));
        write!(f, "{}{unit}", self.0 / seconds)
    }
}

impl TryFrom<String> for After {
    type Error = InvalidAfter;

    fn try_from(text: String) -> Result<Self, InvalidAfter> {
        Self::parse(&text)
    }
}

impl From<After> for String {
    fn from(after: After) -> Self {
        after.to_string()
    }
}

/// One letter of a sequence.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Step {
    /// How long after the subscription began.
    pub after: After,
    /// Then at the next such time of day on the subscriber's clock, or the newsletter's for those without a zone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at: Option<SendTime>,
    /// Which version of which letter: see [`letters::store`](crate::letters::store).
    pub letter: String,
}

impl Step {
    /// When the step is due for who was subscribed at `started`.
    #[must_use]
    pub fn due(&self, started: Timestamp, zone: &Zone) -> Timestamp {
        let from = started.checked_add(self.after.duration()).unwrap_or(Timestamp::MAX);
        self.at.map_or(from, |time| next(from, time, None, zone))
    }
}

/// A newsletter's sequence: at least one step, none before the one that it follows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sequence {
    /// Since when the newsletter has one. Editing does not change it: enrolments from before this are of a sequence that was
    /// deleted.
    pub since: Timestamp,
    /// The steps.
    pub steps: Vec<Step>,
}

impl Sequence {
    /// What its steps are known by: the same steps, the same edition.
    #[must_use]
    pub fn edition(&self) -> String {
        let texts = self.steps.iter().flat_map(|step| {
            let at = step.at.map(String::from).unwrap_or_default();
            [step.after.to_string(), at, step.letter.clone()]
        });
        let texts: Vec<String> = texts.collect();
        digest_hex(&texts.iter().map(String::as_str).collect::<Vec<_>>())
    }

    /// The enrolment of somebody who is subscribed `now`.
    #[must_use]
    pub fn enrol(&self, zone: &Zone, now: Timestamp) -> Enrolment {
        Enrolment {
            edition: self.edition(),
            started_at: now,
            steps: u32::try_from(self.steps.len()).unwrap_or(u32::MAX),
            taken: 0,
            next_at: self.steps.first().map(|step| step.due(now, zone)),
            ended: None,
        }
    }
}

/// How far a subscriber is in a sequence.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Enrolment {
    /// Which edition: it stays readable.
    pub edition: String,
    /// When it began.
    pub started_at: Timestamp,
    /// How many steps there are.
    pub steps: u32,
    /// How many were taken up: each of them was sent, or has a job that tells why not.
    pub taken: u32,
    /// When the next step is due; none when all were taken, or it ended.
    pub next_at: Option<Timestamp>,
    /// Why and when it ended before all steps were taken.
    pub ended: Option<(End, Timestamp)>,
}

impl Enrolment {
    /// The enrolment after a step, counted from 0, was taken up, and the next one is due then.
    #[must_use]
    pub fn after(&self, step: u32, next_at: Option<Timestamp>) -> Self {
        Self { taken: self.taken.max(step.saturating_add(1)), next_at, ..self.clone() }
    }

    /// The enrolment after it ended.
    #[must_use]
    pub fn ended(&self, why: End, at: Timestamp) -> Self {
        Self { next_at: None, ended: Some((why, at)), ..self.clone() }
    }

    /// Whether this one is further than `stored`, which is the same enrolment. What has ended goes no further.
    #[must_use]
    pub fn follows(&self, stored: &Self) -> bool {
        let same = self.started_at == stored.started_at && stored.ended.is_none();
        same && (self.taken > stored.taken || self.taken == stored.taken && self.ended.is_some())
    }
}

/// Why a sequence ends for a subscriber before its last step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// They unsubscribed.
    Unsubscribed,
    /// Their address is suppressed.
    Suppressed,
    /// The newsletter has no such sequence any more.
    Deleted,
}

impl End {
    /// Every end.
    pub const ALL: [Self; 3] = [Self::Unsubscribed, Self::Suppressed, Self::Deleted];

    /// The stable name.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Unsubscribed => "unsubscribed",
            Self::Suppressed => "suppressed",
            Self::Deleted => "deleted",
        }
    }

    /// Reads a stable name.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|end| end.as_str() == text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    fn step(after: &str, time: Option<&str>) -> Step {
        let time = time.map(|time| SendTime::parse(time).unwrap());
        Step { after: After::parse(after).unwrap(), at: time, letter: "1".into() }
    }

    #[test]
    fn a_time_is_a_number_and_a_unit() {
        for (text, shown) in
            [("0d", "0d"), ("90s", "90s"), ("120s", "2m"), ("36h", "36h"), ("48h", "2d"), ("366d", "366d")]
        {
            assert_eq!(After::parse(text).unwrap().to_string(), shown);
        }
        for wrong in ["", "d", "3", "3 d", "-1d", "+1d", "1.5h", "3w", "367d", "99999999999d", "4294967295d", "١d"] {
            assert!(After::parse(wrong).is_err(), "{wrong}");
        }
        assert!(After::parse("90s").unwrap() < After::parse("2m").unwrap());
    }

    #[test]
    fn a_step_is_due_after_its_time_and_then_at_its_hour_on_the_readers_clock() {
        let (berlin, honolulu) = (Zone::parse("Europe/Berlin").unwrap(), Zone::parse("Pacific/Honolulu").unwrap());
        let started = at("2026-07-01T12:00:00Z");
        assert_eq!(step("3d", None).due(started, &berlin), at("2026-07-04T12:00:00Z"));
        assert_eq!(step("3d", Some("10:00")).due(started, &berlin), at("2026-07-05T08:00:00Z"));
        assert_eq!(step("3d", Some("14:00")).due(started, &berlin), at("2026-07-04T12:00:00Z"));
        assert_eq!(step("3d", Some("10:00")).due(started, &honolulu), at("2026-07-04T20:00:00Z"));
        assert_eq!(step("366d", None).due(Timestamp::MAX, &berlin), Timestamp::MAX);
    }

    #[test]
    fn an_edition_is_its_steps() {
        let one =
            Sequence { since: at("2026-07-01T12:00:00Z"), steps: vec![step("0d", None), step("3d", Some("10:00"))] };
        let later = Sequence { since: at("2026-07-02T12:00:00Z"), ..one.clone() };
        assert_eq!(one.edition(), later.edition());
        for steps in [
            vec![step("0d", None)],
            vec![step("0d", None), step("3d", None)],
            vec![step("1d", None), step("3d", Some("10:00"))],
        ] {
            assert_ne!(one.edition(), Sequence { steps, ..one.clone() }.edition());
        }
    }

    #[test]
    fn an_enrolment_only_goes_on() {
        let sequence = Sequence { since: at("2026-07-01T12:00:00Z"), steps: vec![step("0d", None), step("3d", None)] };
        let now = at("2026-07-02T00:00:00Z");
        let begun = sequence.enrol(&Zone::parse("UTC").unwrap(), now);
        assert_eq!((begun.steps, begun.taken, begun.next_at), (2, 0, Some(now)));
        let first = begun.after(0, Some(now + SignedDuration::from_hours(72)));
        let second = first.after(1, None);
        assert_eq!((second.taken, second.next_at), (2, None));
        assert_eq!(second.after(0, None).taken, 2, "a step that is tried again later takes nothing back");
        let ended = first.ended(End::Suppressed, now);
        for (later, earlier) in [(&first, &begun), (&second, &first), (&ended, &first), (&ended, &begun)] {
            assert!(later.follows(earlier) && !earlier.follows(later));
        }
        assert!(!second.follows(&ended), "what has ended does not go on");
        assert!(!ended.follows(&second), "what is complete does not end");
        assert!(!first.follows(&Enrolment { started_at: now + SignedDuration::from_secs(1), ..begun }));
        assert!(End::ALL.iter().all(|end| End::parse(end.as_str()) == Some(*end)));
    }
}
