//! The job and its state machine: one pure function, [`transition`]. Each transition is one conditional DynamoDB write
//! whose condition is the guard written here; the in-memory store calls the function itself.

use super::group::Member;
use super::id::{JobId, Tenant};
use super::lane::{Lane, OrderingKey, Priority};
use super::target::CallbackUrl;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::time::Duration;

/// Where a job stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// Waits for its time.
    Scheduled,
    /// On its queue, or about to be.
    Queued,
    /// A worker holds its lease.
    Running,
    /// Done.
    Succeeded,
    /// Will not be tried again by itself.
    Dead,
    /// Somebody did not want it any more.
    Cancelled,
}

impl State {
    /// Every state, in the order a job meets them.
    pub const ALL: [Self; 6] =
        [Self::Scheduled, Self::Queued, Self::Running, Self::Succeeded, Self::Dead, Self::Cancelled];

    /// Whether a job in this state stays as it is, unless somebody retries it.
    #[must_use]
    pub fn is_final(self) -> bool {
        matches!(self, Self::Succeeded | Self::Dead | Self::Cancelled)
    }

    /// The wire name.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Scheduled => "scheduled",
            Self::Queued => "queued",
            Self::Running => "running",
            Self::Succeeded => "succeeded",
            Self::Dead => "dead",
            Self::Cancelled => "cancelled",
        }
    }
}

/// JSON kept with the job, or a pointer to it in the bucket.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stored {
    /// The JSON itself, at most [`Stored::INLINE_MAX`] bytes of text.
    Inline(Value),
    /// The key of a blob that holds the JSON.
    Blob(String),
}

impl Stored {
    /// JSON up to this many bytes is kept in the job's item. Every write of the item is billed by its whole size, so
    /// beyond about 2 KB one S3 PUT ($5 per million) is cheaper than the larger item in three writes.
    pub const INLINE_MAX: usize = 2_048;
}

/// How far a job is, as its handler says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Progress {
    /// 0-100.
    pub percent: u8,
    /// A short word on what is being done; at most 200 characters are kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
}

/// Why the last attempt did not succeed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobError {
    /// One of `transient`, `throttled`, `permanent`, `panic`, `timeout`, `crashed`, `expired`, `unknown_kind`,
    /// `unknown_version`, `invalid_payload`, `not_queued`.
    pub class: String,
    /// What happened, at most [`JobError::MESSAGE_MAX`] characters.
    pub message: String,
    /// Which attempt it was.
    pub attempt: u32,
    /// When.
    pub at: Timestamp,
}

impl JobError {
    /// Longest message kept, in characters.
    pub const MESSAGE_MAX: usize = 300;

    /// An error, its message cut to size.
    #[must_use]
    pub fn new(class: &str, message: &str, attempt: u32, at: Timestamp) -> Self {
        let message = message.chars().take(Self::MESSAGE_MAX).collect();
        Self { class: class.to_owned(), message, attempt, at }
    }
}

/// A job as it is stored.
#[derive(Debug, Clone, PartialEq)]
pub struct Job {
    /// Its identifier.
    pub id: JobId,
    /// Whose it is.
    pub tenant: Tenant,
    /// What is to be done: the name of a registered kind.
    pub kind: String,
    /// Which lane it takes, unless it has an ordering key.
    pub priority: Priority,
    /// Others with this key it does not run beside, nor before those submitted before it.
    pub ordering_key: Option<OrderingKey>,
    /// Where it stands.
    pub state: State,
    /// Attempts that were counted. An attempt counts when a worker claims the job.
    pub attempt: u32,
    /// How many attempts there may be, 1-100.
    pub max_attempts: u32,
    /// How often the job was claimed. It only grows; every write of a worker carries the value of its own claim, so a
    /// worker that lost the job can write nothing.
    pub fence: u64,
    /// SHA-256 of what was submitted: tells a repeat from a different request under the same key.
    pub fingerprint: String,
    /// The caller's labels.
    pub tags: Vec<String>,
    /// When it was accepted.
    pub created_at: Timestamp,
    /// When it last changed.
    pub updated_at: Timestamp,
    /// Not to be started before.
    pub run_at: Option<Timestamp>,
    /// When the last attempt started.
    pub started_at: Option<Timestamp>,
    /// When it reached its final state.
    pub finished_at: Option<Timestamp>,
    /// Until when the worker that claimed it owns it.
    pub lease_until: Option<Timestamp>,
    /// The number drawn for the last claim.
    pub owner: Option<u64>,
    /// Not to be started after: it is then dead, class `expired`.
    pub expires_at: Option<Timestamp>,
    /// Longest one attempt may take, when shorter than the kind's own.
    pub timeout: Option<Duration>,
    /// To be called when it is over.
    pub callback_url: Option<CallbackUrl>,
    /// Its place in a group.
    pub group: Option<Member>,
    /// How far it is.
    pub progress: Option<Progress>,
    /// Somebody wants it cancelled, and its owner has not been heard of since.
    pub cancel_requested: bool,
    /// What it is to work on.
    pub payload: Stored,
    /// Whether a retry replaced the payload: a message of before then carries the old one.
    pub edited: bool,
    /// What came of it.
    pub result: Option<Stored>,
    /// Why the last attempt failed.
    pub error: Option<JobError>,
}

impl Job {
    /// The lane that brings it to its worker.
    #[must_use]
    pub fn lane(&self) -> Lane {
        if self.ordering_key.is_some() { Lane::Ordered } else { self.priority.into() }
    }
}

/// What may happen to a job.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// The clock has put its message on the queue.
    Release {
        /// The time under which the clock found it. A job that has since run and been put off to another time needs
        /// another message, so it stays with the clock.
        run_at: Timestamp,
    },
    /// A worker takes it.
    Claim {
        /// Until when the worker holds it, unless it extends that.
        lease_until: Timestamp,
        /// A number drawn for this claim: tells it from another worker's of the same millisecond.
        owner: u64,
    },
    /// Its owner is still at work.
    Heartbeat {
        /// The owner's claim.
        fence: u64,
        /// Until when the owner holds it from now.
        lease_until: Timestamp,
    },
    /// Its owner says how far it is.
    Progress {
        /// The owner's claim.
        fence: u64,
        /// How far.
        progress: Progress,
    },
    /// Its owner is done.
    Succeed {
        /// The owner's claim.
        fence: u64,
        /// What came of it.
        result: Option<Stored>,
    },
    /// Its owner gives it back.
    GiveBack {
        /// The owner's claim.
        fence: u64,
        /// Not to be started before.
        run_at: Timestamp,
        /// Whether the attempt counts.
        spent: bool,
        /// Who brings it to the queue again.
        by: Carrier,
        /// Why, if it failed.
        error: Option<JobError>,
    },
    /// Its owner says it cannot succeed.
    Bury {
        /// The owner's claim.
        fence: u64,
        /// Why.
        error: JobError,
    },
    /// Nobody owns it and it may not be started any more: its attempts are spent, its time has passed, or no worker
    /// knows its kind.
    Condemn {
        /// Why.
        error: JobError,
    },
    /// Somebody does not want it, and nobody owns it.
    Cancel,
    /// Somebody does not want it, and it runs: its owner is to stop.
    AskCancel,
    /// Its owner has stopped and wants no other attempt.
    Stop {
        /// The owner's claim.
        fence: u64,
    },
    /// Somebody wants it done after all. It waits for the clock with its time come, so that it is brought to its queue
    /// even if who retried it never gets to that.
    Retry {
        /// What it is to work on from now; as before when absent.
        payload: Option<Stored>,
        /// Only if it is dead since this time: who retries what a list showed does not mean a later death. Any when absent.
        death: Option<Timestamp>,
    },
}

/// Who brings a job to its queue at `run_at`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Carrier {
    /// A message that is on the queue already, with a delay of at most 15 minutes.
    Queue,
    /// The clock, by the index of scheduled jobs.
    Clock,
}

/// Why an event cannot happen to a job now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refused {
    /// It is in a final state.
    Final,
    /// Another worker owns it.
    Leased {
        /// Until when.
        until: Timestamp,
    },
    /// Its time has not come.
    NotYet {
        /// When it comes.
        run_at: Timestamp,
    },
    /// It has had all its attempts.
    Spent,
    /// Its time has passed.
    Expired,
    /// It is to be cancelled.
    CancelAsked,
    /// The worker's lease was lost: the job was claimed again, or is not running.
    Lost,
    /// It is not in the state the event starts from.
    WrongState,
}

/// What `event` makes of `job`.
///
/// # Errors
/// The reason for which the event cannot happen; the job is then unchanged.
pub fn transition(job: &Job, event: &Event, now: Timestamp) -> Result<Job, Refused> {
    guard(job, event, now)?;
    let mut next = job.clone();
    next.updated_at = now;
    match event {
        Event::Release { .. } => next.state = State::Queued,
        Event::Claim { lease_until, owner } => {
            next.owner = Some(*owner);
            next.state = State::Running;
            next.attempt += 1;
            next.fence += 1;
            next.started_at = Some(now);
            next.lease_until = Some(*lease_until);
        }
        Event::Heartbeat { lease_until, .. } => next.lease_until = Some(*lease_until),
        Event::Progress { progress, .. } => next.progress = Some(progress.clone()),
        Event::Succeed { result, .. } => {
            next.state = State::Succeeded;
            next.result.clone_from(result);
            next.finished_at = Some(now);
            next.lease_until = None;
        }
        Event::GiveBack { run_at, spent, by, error, .. } => {
            next.state = match by {
                Carrier::Queue => State::Queued,
                Carrier::Clock => State::Scheduled,
            };
            next.run_at = Some(*run_at);
            next.lease_until = None;
            if !spent {
                next.attempt -= 1;
            }
            if error.is_some() {
                next.error.clone_from(error);
            }
        }
        Event::Bury { error, .. } | Event::Condemn { error } => {
            next.state = State::Dead;
            next.error = Some(error.clone());
            next.finished_at = Some(now);
            next.lease_until = None;
        }
        Event::Cancel | Event::Stop { .. } => {
            next.state = State::Cancelled;
            next.finished_at = Some(now);
            next.lease_until = None;
        }
        Event::AskCancel => next.cancel_requested = true,
        Event::Retry { payload, .. } => {
            next.state = State::Scheduled;
            next.attempt = 0;
            next.run_at = Some(now);
            next.finished_at = None;
            next.expires_at = None;
            next.progress = None;
            next.cancel_requested = false;
            if let Some(payload) = payload {
                next.payload.clone_from(payload);
                next.edited = true;
            }
        }
    }
    Ok(next)
}

fn guard(job: &Job, event: &Event, now: Timestamp) -> Result<(), Refused> {
    match event {
        Event::Release { run_at } => match job.state {
            State::Scheduled if job.run_at == Some(*run_at) => Ok(()),
            state if state.is_final() => Err(Refused::Final),
            _ => Err(Refused::WrongState),
        },
        Event::Claim { .. } => {
            startable(job, now)?;
            if job.cancel_requested {
                return Err(Refused::CancelAsked);
            }
            if job.expires_at.is_some_and(|until| until <= now) {
                return Err(Refused::Expired);
            }
            if job.attempt >= job.max_attempts { Err(Refused::Spent) } else { Ok(()) }
        }
        Event::Heartbeat { fence, .. }
        | Event::Progress { fence, .. }
        | Event::Succeed { fence, .. }
        | Event::Bury { fence, .. }
        | Event::Stop { fence } => owned(job, *fence),
        Event::GiveBack { fence, .. } => {
            owned(job, *fence)?;
            if job.cancel_requested { Err(Refused::CancelAsked) } else { Ok(()) }
        }
        Event::AskCancel => match job.state {
            State::Running => Ok(()),
            state if state.is_final() => Err(Refused::Final),
            _ => Err(Refused::WrongState),
        },
        Event::Retry { death, .. } => match (job.state, death) {
            (State::Dead | State::Cancelled, None) => Ok(()),
            (State::Dead, Some(death)) if job.finished_at == Some(*death) => Ok(()),
            (State::Succeeded, _) => Err(Refused::Final),
            _ => Err(Refused::WrongState),
        },
        Event::Condemn { .. } | Event::Cancel => match job.state {
            state if state.is_final() => Err(Refused::Final),
            State::Running => match job.lease_until {
                Some(until) if until > now => Err(Refused::Leased { until }),
                _ => Ok(()),
            },
            _ => Ok(()),
        },
    }
}

/// Whether the claim with this fence still owns the job.
fn owned(job: &Job, fence: u64) -> Result<(), Refused> {
    if job.state == State::Running && job.fence == fence { Ok(()) } else { Err(Refused::Lost) }
}

/// Whether nobody owns the job and its time has come.
fn startable(job: &Job, now: Timestamp) -> Result<(), Refused> {
    match job.state {
        State::Succeeded | State::Dead | State::Cancelled => Err(Refused::Final),
        State::Running => match job.lease_until {
            Some(until) if until > now => Err(Refused::Leased { until }),
            _ => Ok(()),
        },
        State::Scheduled | State::Queued => match job.run_at {
            Some(run_at) if run_at > now => Err(Refused::NotYet { run_at }),
            _ => Ok(()),
        },
    }
}

#[cfg(test)]
#[path = "job_tests.rs"]
mod tests;
