//! What is counted: how many jobs there are by kind and state, and what happened in each minute.
//!
//! Counts are kept on pages. Each page remembers, for each shard of the stream, the last change it has counted
//! ([`after`]), so that a change counts once however often it is told, and whichever other pages were written.

use super::change::{Change, Sequence, Step};
use super::id::Tenant;
use super::job::{Job, State};
use jiff::{SignedDuration, Timestamp};
use std::collections::BTreeMap;
use std::fmt;

/// The upper bounds of the histograms' buckets, in milliseconds; the last bucket is open.
pub const BOUNDS_MS: [u64; 15] =
    [10, 25, 50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000, 30_000, 60_000, 300_000, 900_000, 3_600_000];

/// How many buckets a histogram has.
pub const BUCKETS: usize = BOUNDS_MS.len() + 1;

/// The bucket of a duration: the first whose bound is not below it.
#[must_use]
pub fn bucket(duration: SignedDuration) -> u8 {
    let ms = u64::try_from(duration.as_millis()).unwrap_or(0);
    let bucket = BOUNDS_MS.iter().position(|bound| ms <= *bound).unwrap_or(BOUNDS_MS.len());
    u8::try_from(bucket).unwrap_or(u8::MAX)
}

/// A minute, as a number since 1970.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Minute(pub i64);

impl Minute {
    /// The minute that holds `at`.
    #[must_use]
    pub fn of(at: Timestamp) -> Self {
        Self(at.as_second().div_euclid(60))
    }

    /// When it begins.
    #[must_use]
    pub fn start(self) -> Timestamp {
        Timestamp::from_second(self.0.saturating_mul(60)).unwrap_or_default()
    }
}

/// What can happen in a minute.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Happened {
    /// A job was accepted.
    Accepted,
    /// An attempt began.
    Started,
    /// An attempt ended well, and its job with it.
    Succeeded,
    /// An attempt failed, and there will be another.
    Retried,
    /// An attempt gave its job back without having failed.
    Snoozed,
    /// An attempt ended without a word.
    Crashed,
    /// A job will not be tried again.
    Dead,
    /// A job was cancelled.
    Cancelled,
}

impl Happened {
    /// All of them.
    pub const ALL: [Self; 8] = [
        Self::Accepted,
        Self::Started,
        Self::Succeeded,
        Self::Retried,
        Self::Snoozed,
        Self::Crashed,
        Self::Dead,
        Self::Cancelled,
    ];

    /// The wire name.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Accepted => "accepted",
            Self::Started => "started",
            Self::Succeeded => "succeeded",
            Self::Retried => "retried",
            Self::Snoozed => "snoozed",
            Self::Crashed => "crashed",
            Self::Dead => "dead",
            Self::Cancelled => "cancelled",
        }
    }
}

/// What a count is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum What {
    /// Jobs in this state.
    In(State),
    /// How often this happened.
    Happened(Happened),
    /// Attempts that began after a wait of this bucket, since they could have begun.
    Waited(u8),
    /// Attempts that ended after a run of this bucket.
    Ran(u8),
}

/// A count: of what, and of which kind of job.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Count {
    /// The kind.
    pub kind: String,
    /// Of what.
    pub what: What,
}

/// `echo/in.queued`, `echo/n.retried`, `echo/w.3`, `echo/r.15`.
impl fmt::Display for Count {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = &self.kind;
        match self.what {
            What::In(state) => write!(f, "{kind}/in.{}", state.as_str()),
            What::Happened(happened) => write!(f, "{kind}/n.{}", happened.as_str()),
            What::Waited(bucket) => write!(f, "{kind}/w.{bucket}"),
            What::Ran(bucket) => write!(f, "{kind}/r.{bucket}"),
        }
    }
}

impl Count {
    /// Reads what `Display` writes. `None`: it is something else.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (kind, what) = text.rsplit_once('/')?;
        let (group, name) = what.split_once('.')?;
        let bucket = || name.parse().ok().filter(|bucket| usize::from(*bucket) < BUCKETS);
        let what = match group {
            "in" => What::In(State::ALL.into_iter().find(|state| state.as_str() == name)?),
            "n" => What::Happened(Happened::ALL.into_iter().find(|happened| happened.as_str() == name)?),
            "w" => What::Waited(bucket()?),
            "r" => What::Ran(bucket()?),
            _ => return None,
        };
        Some(Self { kind: kind.to_owned(), what })
    }
}

/// Counts, by what they are of.
pub type Counts = BTreeMap<Count, i64>;

/// What is written at once.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Page {
    /// How many jobs of a tenant there are.
    States(Tenant),
    /// What happened to a tenant's jobs in a minute.
    Minute(Tenant, Minute),
}

/// What one change adds to one page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The change.
    pub sequence: Sequence,
    /// Of what.
    pub count: Count,
    /// How many; fewer than none when something went away.
    pub by: i64,
}

/// What the changes of one shard add to each page, in their order.
#[must_use]
pub fn pages<'a>(changes: impl IntoIterator<Item = &'a Change>) -> BTreeMap<Page, Vec<Entry>> {
    let mut pages: BTreeMap<Page, Vec<Entry>> = BTreeMap::new();
    for change in changes {
        for (page, count, by) in counted(change) {
            pages.entry(page).or_default().push(Entry { sequence: change.sequence.clone(), count, by });
        }
    }
    pages
}

/// What a page has still to count of `entries`, which are in order, when it has counted up to `last`; and up to where it
/// has counted then. `None` when there is nothing left: it was all told before.
///
/// The place moves on even when the counts add up to nothing: else half of them, told again, would be counted.
#[must_use]
pub fn after(last: Option<&Sequence>, entries: &[Entry]) -> Option<(Sequence, Counts)> {
    let fresh = entries.iter().filter(|entry| last.is_none_or(|last| entry.sequence > *last));
    let mut counts = Counts::new();
    let mut reached = None;
    for entry in fresh {
        *counts.entry(entry.count.clone()).or_default() += entry.by;
        reached = reached.max(Some(&entry.sequence));
    }
    counts.retain(|_, by| *by != 0);
    Some((reached?.clone(), counts))
}

/// What a change counts for.
fn counted(change: &Change) -> Vec<(Page, Count, i64)> {
    let mut counted = Vec::new();
    let mut state = |job: &Job, by| {
        let count = Count { kind: job.kind.clone(), what: What::In(job.state) };
        counted.push((Page::States(job.tenant.clone()), count, by));
    };
    let new = match &change.step {
        Step::Created(new) => {
            state(new, 1);
            new
        }
        Step::Changed { old, new } => {
            if old.state != new.state {
                state(old, -1);
                state(new, 1);
            }
            new
        }
        Step::Deleted(old) => {
            state(old, -1);
            return counted;
        }
    };
    let minute = Page::Minute(new.tenant.clone(), Minute::of(new.updated_at));
    let happened = happened(change.before(), new);
    counted.extend(happened.into_iter().map(|what| (minute.clone(), Count { kind: new.kind.clone(), what }, 1)));
    counted
}

/// What happened to a job that became `new`.
fn happened(old: Option<&Job>, new: &Job) -> Vec<What> {
    let mut happened = Vec::new();
    let mut tell = |what| happened.push(What::Happened(what));
    let Some(old) = old else {
        tell(Happened::Accepted);
        return happened;
    };
    let began = new.state == State::Running && new.fence > old.fence;
    let was_running = old.state == State::Running;
    let changed = old.state != new.state;
    // Nobody was left to say how it went.
    let lapsed = old.lease_until.is_some_and(|until| until <= new.updated_at);
    let crashed = was_running && (began || (lapsed && matches!(new.state, State::Dead | State::Cancelled)));
    if crashed {
        tell(Happened::Crashed);
    }
    if changed {
        match new.state {
            State::Succeeded => tell(Happened::Succeeded),
            State::Dead => tell(Happened::Dead),
            State::Cancelled => tell(Happened::Cancelled),
            State::Queued | State::Scheduled if was_running && new.attempt < old.attempt => tell(Happened::Snoozed),
            State::Queued | State::Scheduled if was_running => tell(Happened::Retried),
            State::Queued | State::Scheduled | State::Running => {}
        }
    }
    if began {
        tell(Happened::Started);
        let ready = if was_running { old.lease_until } else { old.run_at };
        let ready = ready.unwrap_or(old.created_at);
        happened.push(What::Waited(bucket(new.updated_at.duration_since(ready))));
    }
    let snoozed = happened.contains(&What::Happened(Happened::Snoozed));
    if was_running
        && changed
        && !crashed
        && !snoozed
        && let Some(started) = old.started_at
    {
        happened.push(What::Ran(bucket(new.updated_at.duration_since(started))));
    }
    happened
}

#[cfg(test)]
#[path = "stats_tests.rs"]
mod tests;
