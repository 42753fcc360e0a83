//! Recurring jobs: when a schedule ticks, and what a tick makes of it.

use super::id::{InvalidId, JobId, Tenant};
use super::lane::Priority;
use super::local_time::Zone;
use super::target::CallbackUrl;
use croner::parser::{CronParser, Seconds, Year};
use jiff::{Timestamp, Zoned};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::fmt;
use std::time::Duration;

/// The name of a schedule among those of its tenant: 1-64 characters `[A-Za-z0-9_-]`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ScheduleName(String);

impl ScheduleName {
    /// Reads a name.
    ///
    /// # Errors
    /// When it is empty, over 64 bytes, or has a character outside `[A-Za-z0-9_-]`.
    pub fn parse(text: impl Into<String>) -> Result<Self, InvalidId> {
        // The same letters make a tenant.
        let name = Tenant::parse(text);
        name.map(|name| Self(name.into())).map_err(|_| InvalidId::new("1-64 characters of letters, digits, _ and -"))
    }

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl std::str::FromStr for ScheduleName {
    type Err = InvalidId;

    fn from_str(text: &str) -> Result<Self, InvalidId> {
        Self::parse(text)
    }
}

impl fmt::Display for ScheduleName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A cron expression of five fields: minute, hour, day of the month, month, day of the week (0 and 7 are Sunday). `*`, lists,
/// ranges, steps, names of months and days, and `L`, `W` and `#` as [croner](https://docs.rs/croner) reads them. When both days
/// are restricted, either matches, as cron has always done.
///
/// It is read from the wall clock of a zone. Where the clock is moved, an expression of one time of day (one minute, one hour)
/// ticks once: if that time is skipped, at the first moment after; if it comes twice, at the first. Any other expression
/// (with `*`, a step, a range or a list in the minute or the hour) ticks whenever the wall clock matches: not at times that are
/// skipped, and twice at times that come twice.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cron {
    text: String,
    pattern: croner::Cron,
}

/// The text is no cron expression.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct InvalidCron(String);

impl Cron {
    /// Longest expression, in bytes.
    pub const MAX_LEN: usize = 128;

    /// Reads an expression.
    ///
    /// # Errors
    /// When it has not five fields, or one of them is not as it must be.
    pub fn parse(text: &str) -> Result<Self, InvalidCron> {
        let fields: Vec<&str> = text.split_whitespace().collect();
        if fields.len() != 5 || text.len() > Self::MAX_LEN {
            return Err(InvalidCron(
                "has five fields, as `30 9 * * mon-fri`: minute, hour, day of the month, month, day of the week".into(),
            ));
        }
        let parser = CronParser::builder().seconds(Seconds::Disallowed).year(Year::Disallowed).build();
        let text = fields.join(" ");
        let pattern = parser.parse(&text).map_err(|error| InvalidCron(format!("is no cron expression: {error}")))?;
        Ok(Self { text, pattern })
    }

    /// The expression as text, its fields apart by one space.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The first tick after this time in this zone. `None` when there is none, as for the 30th of February.
    #[must_use]
    pub fn next_after(&self, after: Timestamp, zone: &Zone) -> Option<Timestamp> {
        let from = Zoned::new(after, zone.rules());
        self.pattern.find_next_occurrence(&from, false).ok().map(|tick| tick.timestamp())
    }
}

/// What a schedule's jobs are made of.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Template {
    /// Their kind.
    pub kind: String,
    /// What they work on, at most [`Template::PAYLOAD_MAX`] bytes of JSON: it is kept in the schedule's item.
    pub payload: Value,
    /// Which lane they take.
    #[serde(default)]
    pub priority: Priority,
    /// Attempts; the kind's own when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_attempts: Option<u32>,
    /// Longest one attempt may take.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout: Option<Duration>,
    /// Who is called when one of them is over.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub callback_url: Option<CallbackUrl>,
    /// The caller's labels.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tags: Vec<String>,
}

impl Template {
    /// Longest payload of a recurring job, in bytes of JSON: each tick writes the schedule's item, and is billed by its size.
    pub const PAYLOAD_MAX: usize = 64 * 1024;
}

/// A tick that has had its job.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Run {
    /// The tick.
    pub at: Timestamp,
    /// Its job.
    pub job: JobId,
}

/// A recurring job.
#[derive(Clone, Debug, PartialEq)]
pub struct Schedule {
    /// Whose it is.
    pub tenant: Tenant,
    /// What it is called.
    pub name: ScheduleName,
    /// When it ticks.
    pub cron: Cron,
    /// On whose wall clock.
    pub time_zone: Zone,
    /// What its jobs are made of.
    pub job: Template,
    /// When it was first put.
    pub created_at: Timestamp,
    /// When it was put last.
    pub updated_at: Timestamp,
    /// How often it was written.
    pub version: u64,
    /// The next tick that has no job yet.
    pub next: Option<Timestamp>,
    /// The last ticks that have one, the latest first; at most [`Schedule::RUNS_KEPT`].
    pub runs: Vec<Run>,
}

/// What somebody wants a schedule to be.
#[derive(Clone, Debug, PartialEq)]
pub struct Wanted {
    /// When it ticks.
    pub cron: Cron,
    /// On whose wall clock.
    pub time_zone: Zone,
    /// What its jobs are made of.
    pub job: Template,
}

impl Schedule {
    /// Ticks get their jobs up to 90 s ahead, so the latest two may still be to come; one more is past for sure.
    pub const RUNS_KEPT: usize = 3;

    /// A new schedule. It ticks for the first time after `now`.
    #[must_use]
    pub fn new(tenant: Tenant, name: ScheduleName, wanted: Wanted, now: Timestamp) -> Self {
        let Wanted { cron, time_zone, job } = wanted;
        let next = cron.next_after(now, &time_zone);
        Self {
            tenant,
            name,
            cron,
            time_zone,
            job,
            created_at: now,
            updated_at: now,
            version: 1,
            next,
            runs: Vec::new(),
        }
    }

    /// This schedule as it is wanted from now. Its next tick is counted anew only if its times change, so that putting the same
    /// again loses no tick that is overdue.
    #[must_use]
    pub fn replaced(&self, wanted: Wanted, now: Timestamp) -> Self {
        let same_times = wanted.cron == self.cron && wanted.time_zone == self.time_zone;
        let mut after = Self::new(self.tenant.clone(), self.name.clone(), wanted, now);
        after.created_at = self.created_at;
        after.version = self.version + 1;
        after.runs.clone_from(&self.runs);
        if same_times {
            after.next = self.next;
        }
        after
    }

    /// The job of a tick: the same tick always has the same, however often it is fired.
    #[must_use]
    pub fn job_id(&self, tick: Timestamp) -> JobId {
        let tick = tick.as_second().to_string();
        JobId::derived(&["schedule", self.tenant.as_str(), self.name.as_str(), &tick])
    }

    /// This schedule after the tick `at` had its job, which was recorded at `recorded`. Ticks between the two were missed, and
    /// this job has caught up on them all: the next tick is the first after both.
    #[must_use]
    pub fn ticked(&self, at: Timestamp, recorded: Timestamp) -> Self {
        let mut after = self.clone();
        after.version += 1;
        after.next = self.cron.next_after(at.max(recorded), &self.time_zone);
        after.runs.insert(0, Run { at, job: self.job_id(at) });
        after.runs.truncate(Self::RUNS_KEPT);
        after
    }

    /// The next time one of its jobs is to start.
    #[must_use]
    pub fn next_run_at(&self, now: Timestamp) -> Option<Timestamp> {
        let ahead = self.runs.iter().map(|run| run.at).filter(|at| *at > now);
        ahead.chain(self.next).min()
    }

    /// The last tick that is past and had a job.
    #[must_use]
    pub fn last_run(&self, now: Timestamp) -> Option<&Run> {
        self.runs.iter().find(|run| run.at <= now)
    }
}

#[cfg(test)]
#[path = "schedule_tests.rs"]
mod tests;
