//! Recurring jobs: putting a schedule, and firing what ticks.

use crate::accept::{Intake, NewJob, fingerprint, record_for_clock};
use crate::domain::id::Tenant;
use crate::domain::job::Job;
use crate::domain::schedule::{Schedule, ScheduleName, Template, Wanted};
use crate::jobs::{Kind, kind};
use crate::ports::{PortError, Schedules, Written};
use crate::release::{AHEAD, release};
use futures::stream::{self, StreamExt as _};
use jiff::Timestamp;
use serde::Serialize;
use serde_json::json;

/// How often a schedule is looked at that others write between the looks.
const TRIES: usize = 5;
/// Schedules that are fired at the same time.
const CONCURRENCY: usize = 16;

/// What the clock did for the schedules.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Fired {
    /// Schedules that were found due.
    pub due: usize,
    /// Jobs that ticks got.
    pub jobs: usize,
    /// Schedules that failed; the next run of the clock finds them again.
    pub failed: usize,
}

impl From<NewJob> for Template {
    /// What is the same for each tick of a job that has passed the checks of the door.
    fn from(new: NewJob) -> Self {
        let NewJob { kind, payload, priority, max_attempts, timeout, callback_url, tags, .. } = new;
        Self { kind: kind.name.to_owned(), payload, priority, max_attempts, timeout, callback_url, tags }
    }
}

/// Puts a schedule, in place of the one of this name if there is one. Gives it, and whether it is a new one.
///
/// # Errors
/// When the table cannot be reached, or others wrote at every look. The same may be asked again.
pub async fn put(
    schedules: &dyn Schedules,
    tenant: &Tenant,
    name: &ScheduleName,
    wanted: &Wanted,
    now: Timestamp,
) -> Result<(Schedule, bool), PortError> {
    for _ in 0..TRIES {
        let before = schedules.get(tenant, name).await?;
        let after = match &before {
            Some(before) => before.replaced(wanted.clone(), now),
            None => Schedule::new(tenant.clone(), name.clone(), wanted.clone(), now),
        };
        if schedules.put(before.as_ref(), &after).await? == Written::Done {
            return Ok((after, before.is_none()));
        }
    }
    Err(PortError::Unavailable(anyhow::anyhow!("the schedule was written {TRIES} times meanwhile")))
}

/// Makes the jobs of at most `limit` schedules that tick by `now +` [`AHEAD`], and sends them with the last leg as the message's
/// own delay. A tick has one job however often this runs: the job's id is that of the tick.
///
/// # Errors
/// When the index cannot be read.
pub async fn fire_due(
    schedules: &dyn Schedules,
    intake: &Intake,
    now: Timestamp,
    limit: usize,
) -> Result<Fired, PortError> {
    let found = schedules.due(now + AHEAD, limit).await?;
    let mut fired = Fired { due: found.len(), ..Fired::default() };
    let ticking = found.into_iter().map(|(tenant, name)| async move {
        let mut made = Vec::new();
        let done = fire(schedules, intake, &tenant, &name, now, &mut made).await;
        (name, made, done)
    });
    let mut due = Vec::new();
    let mut outcomes = stream::iter(ticking).buffer_unordered(CONCURRENCY);
    while let Some((name, made, done)) = outcomes.next().await {
        due.extend(made);
        if let Err(error) = done {
            tracing::warn!(schedule = %name, "a schedule was not fired: {error}");
            fired.failed += 1;
        }
    }
    drop(outcomes);
    fired.jobs = due.len();
    // They are recorded for the clock: what is not sent here, its next run sends.
    release(&*intake.jobs, &intake.queues, due, now).await;
    Ok(fired)
}

/// Does for one schedule what [`fire_due`] does for all. To be called when it was put: its first tick may come before the clock
/// looks again, and would be late.
///
/// # Errors
/// When the table cannot be reached. The schedule is put all the same, and the clock fires it.
pub async fn fire_soon(
    schedules: &dyn Schedules,
    intake: &Intake,
    schedule: &Schedule,
    now: Timestamp,
) -> Result<(), PortError> {
    let mut made = Vec::new();
    let done = match schedule.next {
        Some(tick) if tick <= now + AHEAD => {
            fire(schedules, intake, &schedule.tenant, &schedule.name, now, &mut made).await
        }
        _ => Ok(()),
    };
    release(&*intake.jobs, &intake.queues, made, now).await;
    done
}

/// Gives each tick that comes by `now +` [`AHEAD`] its job, and then moves the schedule on: ending in between, it does the same
/// again and finds the job there.
async fn fire(
    schedules: &dyn Schedules,
    intake: &Intake,
    tenant: &Tenant,
    name: &ScheduleName,
    now: Timestamp,
    made: &mut Vec<(Job, Timestamp)>,
) -> Result<(), PortError> {
    for _ in 0..TRIES {
        // Read anew after each write: it may have been replaced or deleted.
        let Some(schedule) = schedules.get(tenant, name).await? else { return Ok(()) };
        let Some(tick) = schedule.next.filter(|tick| *tick <= now + AHEAD) else { return Ok(()) };
        let Some(kind) = kind(&schedule.job.kind) else {
            let source = anyhow::anyhow!("no worker for the kind {}", schedule.job.kind);
            return Err(PortError::Refused(source));
        };
        let (job, new) = record_for_clock(intake, tick_job(&schedule, kind, tick), now).await?;
        if new {
            made.push((job.clone(), tick));
        }
        schedules.put(Some(&schedule), &schedule.ticked(tick, job.created_at)).await?;
    }
    Ok(())
}

fn tick_job(schedule: &Schedule, kind: &'static Kind, tick: Timestamp) -> NewJob {
    let Template { kind: _, payload, priority, max_attempts, timeout, callback_url, tags } = schedule.job.clone();
    NewJob {
        id: schedule.job_id(tick),
        repeatable: true,
        fingerprint: fingerprint(&json!({ "schedule": schedule.name.as_str(), "tick": tick })),
        tenant: schedule.tenant.clone(),
        kind,
        payload,
        priority,
        ordering_key: None,
        run_at: Some(tick),
        expires_at: None,
        max_attempts,
        timeout,
        callback_url,
        group: None,
        tags,
    }
}

#[cfg(test)]
#[path = "schedules_tests.rs"]
mod tests;
