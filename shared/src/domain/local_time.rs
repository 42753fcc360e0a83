//! When it is "10:00" for whom. A local time that a clock change skips moves forward; one that it repeats is the first.

use jiff::civil::{Date, Time, Weekday};
use jiff::tz::{Offset, TimeZone};
use jiff::{SignedDuration, Timestamp, Zoned};
use serde::{Deserialize, Serialize};
use std::fmt;

/// How far ahead a letter can be dated, in days.
pub const MAX_DAYS_AHEAD: i64 = 366;

/// The text is not a time zone, a time of day or a set of weekdays.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct InvalidTime(&'static str);

/// An IANA time zone, as `Europe/Berlin`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Zone(String);

impl Zone {
    /// Reads a zone's name, in any case.
    ///
    /// # Errors
    /// When the time zone database has no such zone. A bare offset is not a zone: it knows no clock changes.
    pub fn parse(name: impl AsRef<str>) -> Result<Self, InvalidTime> {
        TimeZone::get(name.as_ref().trim())
            .ok()
            .and_then(|zone| zone.iana_name().map(|name| Self(name.to_owned())))
            .ok_or(InvalidTime("not an IANA time zone such as Europe/Berlin"))
    }

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Its rules.
    #[must_use]
    pub fn rules(&self) -> TimeZone {
        TimeZone::get(&self.0).unwrap_or(TimeZone::UTC)
    }
}

impl fmt::Debug for Zone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for Zone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl TryFrom<String> for Zone {
    type Error = InvalidTime;

    fn try_from(text: String) -> Result<Self, InvalidTime> {
        Self::parse(text)
    }
}

impl From<Zone> for String {
    fn from(zone: Zone) -> Self {
        zone.0
    }
}

/// A time of day to the minute, written `HH:MM`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct SendTime(Time);

impl SendTime {
    /// Reads `HH:MM`.
    ///
    /// # Errors
    /// When it is not two digits, a colon and two digits, between 00:00 and 23:59.
    pub fn parse(text: &str) -> Result<Self, InvalidTime> {
        let refused = InvalidTime("not a time of day such as 10:00");
        let (hour, minute) = match text.as_bytes() {
            [a, b, b':', c, d] if [a, b, c, d].into_iter().all(u8::is_ascii_digit) => {
                ((a - b'0') * 10 + (b - b'0'), (c - b'0') * 10 + (d - b'0'))
            }
            _ => return Err(refused),
        };
        let (Ok(hour), Ok(minute)) = (i8::try_from(hour), i8::try_from(minute)) else { return Err(refused) };
        Time::new(hour, minute, 0, 0).map(Self).map_err(|_| refused)
    }
}

impl fmt::Display for SendTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:02}:{:02}", self.0.hour(), self.0.minute())
    }
}

impl TryFrom<String> for SendTime {
    type Error = InvalidTime;

    fn try_from(text: String) -> Result<Self, InvalidTime> {
        Self::parse(&text)
    }
}

impl From<SendTime> for String {
    fn from(time: SendTime) -> Self {
        time.to_string()
    }
}

const DAY_NAMES: [&str; 7] = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];

/// The weekdays on which a newsletter may go out: at least one. Written as a list of `mon` to `sun`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Vec<String>", into = "Vec<String>")]
pub struct Weekdays(u8);

impl Weekdays {
    /// Every day.
    pub const ALL: Self = Self(0b111_1111);

    /// Reads a list of `mon` to `sun`; the order and repeats do not matter.
    ///
    /// # Errors
    /// When a name is unknown or the list is empty.
    pub fn parse(names: impl IntoIterator<Item = impl AsRef<str>>) -> Result<Self, InvalidTime> {
        let mut set = 0u8;
        for name in names {
            let index = DAY_NAMES.iter().position(|day| *day == name.as_ref());
            set |= 1 << index.ok_or(InvalidTime("a weekday is one of mon tue wed thu fri sat sun"))?;
        }
        if set == 0 { Err(InvalidTime("at least one weekday is needed")) } else { Ok(Self(set)) }
    }

    /// Whether the set has this day.
    #[must_use]
    pub fn contains(self, day: Weekday) -> bool {
        self.0 & (1 << day.to_monday_zero_offset()) != 0
    }

    /// The names of the days, Monday first.
    #[must_use]
    pub fn names(self) -> Vec<&'static str> {
        DAY_NAMES.iter().enumerate().filter(|(index, _)| self.0 & (1 << index) != 0).map(|(_, name)| *name).collect()
    }
}

impl TryFrom<Vec<String>> for Weekdays {
    type Error = InvalidTime;

    fn try_from(names: Vec<String>) -> Result<Self, InvalidTime> {
        Self::parse(names)
    }
}

impl From<Weekdays> for Vec<String> {
    fn from(days: Weekdays) -> Self {
        days.names().into_iter().map(str::to_owned).collect()
    }
}

/// When a campaign goes out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum When {
    /// As soon as it is started.
    Now,
    /// At the next send time after the start, on one of the newsletter's weekdays.
    Next,
    /// At the send time on this local date, whatever weekday it is.
    On(Date),
}

/// Whose clock the send time is read from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Whose {
    /// Each recipient's own; the newsletter's for those who gave no zone.
    Recipient,
    /// The newsletter's, for all.
    Newsletter,
}

/// What becomes of a recipient whose hour on the campaign's date is past when the campaign opens.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Past {
    /// It is due at once.
    #[default]
    Now,
    /// It is due at its hour on the day after.
    NextDay,
    /// It gets none.
    Skip,
}

/// An hour that came this long before the campaign opened is not past yet: it opens up to a quarter of an hour late.
const PAST_AFTER: SignedDuration = SignedDuration::from_mins(30);

/// All that decides when whom is due, as it was when the campaign was created.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Timing {
    /// When to send.
    pub when: When,
    /// On whose clock.
    pub whose: Whose,
    /// The newsletter's time of day.
    pub send_at: SendTime,
    /// The newsletter's zone.
    pub time_zone: Zone,
    /// The newsletter's weekdays; `None` is every day.
    pub days: Option<Weekdays>,
    /// What becomes of those whose hour is past.
    #[serde(default)]
    pub past: Past,
}

/// The campaign's date cannot be kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DateRefused {
    /// The date is over in every time zone.
    #[error("the date is past in every time zone")]
    Past,
    /// The date is more than [`MAX_DAYS_AHEAD`] days ahead.
    #[error("the date is more than {MAX_DAYS_AHEAD} days ahead")]
    Far,
}

impl Timing {
    /// When a campaign started at `started` opens, that is, freezes its audience: as late as it can, so that those who
    /// join until then are in, and before anybody is due.
    ///
    /// # Errors
    /// When the date is over everywhere or too far ahead.
    pub fn opens(&self, started: Timestamp) -> Result<Timestamp, DateRefused> {
        match (self.when, self.whose) {
            (When::Now, _) => Ok(started),
            // Somebody's next 10:00 may be a minute away.
            (When::Next, Whose::Recipient) => Ok(started),
            (When::Next, Whose::Newsletter) => Ok(next(started, self.send_at, self.days, &self.time_zone)),
            (When::On(date), whose) => {
                check_date(date, started)?;
                Ok(match whose {
                    Whose::Newsletter => at(date, self.send_at, &self.time_zone.rules()),
                    Whose::Recipient => at(date, self.send_at, &TimeZone::fixed(FIRST_OFFSET)),
                })
            }
        }
    }

    /// When a recipient with this zone is due, in a campaign started and opened then; `None` when it is to be skipped.
    /// Never before it opened: what becomes of whose hour is past, [`Timing::past`] says.
    #[must_use]
    pub fn due(&self, recipient: Option<&Zone>, started: Timestamp, opened: Timestamp) -> Option<Timestamp> {
        let zone = match self.whose {
            Whose::Recipient => recipient.unwrap_or(&self.time_zone),
            Whose::Newsletter => &self.time_zone,
        };
        let due = match self.when {
            When::Now => opened,
            When::Next => next(started, self.send_at, self.days, zone),
            When::On(date) => at(date, self.send_at, &zone.rules()),
        };
        match self.past {
            _ if due >= opened - PAST_AFTER => Some(due.max(opened)),
            Past::Now => Some(opened),
            Past::NextDay => Some(next(opened, self.send_at, None, zone)),
            Past::Skip => None,
        }
    }
}

/// The offset in use where a date begins first (Kiritimati), and where it ends last.
const FIRST_OFFSET: Offset = Offset::constant(14);
const LAST_OFFSET: Offset = Offset::constant(-12);

fn check_date(date: Date, now: Timestamp) -> Result<(), DateRefused> {
    let ends = at_time(date, Time::MAX, &TimeZone::fixed(LAST_OFFSET));
    if ends < now {
        return Err(DateRefused::Past);
    }
    if ends.duration_since(now) > SignedDuration::from_hours(24 * (MAX_DAYS_AHEAD + 2)) {
        return Err(DateRefused::Far);
    }
    Ok(())
}

/// The instant of a local date and time of day.
fn at(date: Date, time: SendTime, zone: &TimeZone) -> Timestamp {
    at_time(date, time.0, zone)
}

fn at_time(date: Date, time: Time, zone: &TimeZone) -> Timestamp {
    // Beyond the ends of the calendar there is no instant: never.
    zone.to_ambiguous_zoned(date.to_datetime(time)).compatible().map_or(Timestamp::MAX, |zoned| zoned.timestamp())
}

/// The first instant not before `from` at which it is `time` on one of `days` in `zone`.
#[must_use]
pub fn next(from: Timestamp, time: SendTime, days: Option<Weekdays>, zone: &Zone) -> Timestamp {
    let rules = zone.rules();
    let days = days.unwrap_or(Weekdays::ALL);
    let mut date = Zoned::new(from, rules.clone()).date();
    // A week has every weekday; a day more, because today's hour may be past.
    for _ in 0..=7 {
        let instant = at(date, time, &rules);
        if days.contains(date.weekday()) && instant >= from {
            return instant;
        }
        match date.tomorrow() {
            Ok(tomorrow) => date = tomorrow,
            Err(_) => break,
        }
    }
    Timestamp::MAX
}

#[cfg(test)]
#[path = "local_time_tests.rs"]
mod tests;
