//! What a person may do to a job that was accepted: cancel it, or retry it.

use crate::accept::{Intake, stored_payload};
use crate::domain::job::{Event, Job, Refused, State};
use crate::jobs::{JobMessage, Kind};
use crate::ports::{Applied, Jobs, PortError};
use jiff::Timestamp;
use serde_json::Value;
use std::time::Duration;

/// How often a job is looked at that changes hands between the looks.
const TRIES: usize = 5;

/// What came of a wish.
#[derive(Debug, Clone, PartialEq)]
pub enum Wished {
    /// It is done, or under way; the job as it is.
    Done(Box<Job>),
    /// The job's state does not allow it; the job as it is.
    Refused(Box<Job>),
    /// There is no such job any more.
    Missing,
}

/// Cancels a job. One that waits is cancelled by one write; the owner of one that runs is asked to stop, and hears of it
/// by its next heartbeat. A claim at the same moment is decided by the writes' conditions.
///
/// # Errors
/// When the table cannot be reached, or the job changed hands at every look.
pub async fn cancel(jobs: &dyn Jobs, job: Job, now: Timestamp) -> Result<Wished, PortError> {
    let mut event = if job.state == State::Running { Event::AskCancel } else { Event::Cancel };
    for _ in 0..TRIES {
        event = match jobs.apply(&job.id, &event, now).await? {
            Applied::Done(job) => return Ok(Wished::Done(job)),
            Applied::Missing => return Ok(Wished::Missing),
            Applied::Refused(Refused::Leased { .. }, _) => Event::AskCancel,
            Applied::Refused(Refused::WrongState, _) => Event::Cancel,
            Applied::Refused(_, job) => return Ok(Wished::Refused(job)),
        };
    }
    Err(PortError::Unavailable(anyhow::anyhow!("the job changed hands {TRIES} times")))
}

/// Retries a job that is dead or cancelled, with another payload if one is given, which has passed the kind's check. It is
/// recorded first as waiting for the clock, then sent: should this end in between, the clock sends it within a minute or
/// two, so a job that is retried is not lost. An ordered job is sent to the end of its key, behind what was submitted
/// meanwhile; its old place it has only while a message of before stands there.
///
/// # Errors
/// When the table or the bucket cannot be reached. Nothing was promised; the same request may be made again.
pub async fn retry(
    intake: &Intake,
    job: &Job,
    kind: &Kind,
    payload: Option<Value>,
    now: Timestamp,
) -> Result<Wished, PortError> {
    let payload = match payload {
        Some(payload) => Some(stored_payload(intake, &job.id, payload).await?),
        None => None,
    };
    let job = match intake.jobs.apply(&job.id, &Event::Retry { payload, death: None }, now).await? {
        Applied::Done(job) => job,
        Applied::Refused(_, job) => return Ok(Wished::Refused(job)),
        Applied::Missing => return Ok(Wished::Missing),
    };
    let message = JobMessage::carrying(&job, None, Duration::ZERO);
    let sent = intake.queues.send_one(kind.worker, job.lane(), message).await;
    let released = match sent {
        Ok(()) => intake.jobs.apply(&job.id, &Event::Release { run_at: now }, now).await,
        Err(error) => Err(error),
    };
    Ok(Wished::Done(match released {
        // Refused: a worker was quicker.
        Ok(Applied::Done(job) | Applied::Refused(_, job)) => job,
        Ok(Applied::Missing) => job,
        Err(error) => {
            tracing::warn!(job = %job.id, "a retried job is left to the clock: {error}");
            job
        }
    }))
}

#[cfg(test)]
#[path = "operate_tests.rs"]
mod tests;
