//! Bringing scheduled jobs to their queues when their time is near.

use crate::accept::wait_until;
use crate::domain::id::JobId;
use crate::domain::job::{Event, Job};
use crate::domain::lane::Lane;
use crate::jobs::{JobMessage, Worker, kind};
use crate::ports::{DueJob, Jobs, Message, PortError};
use crate::queues::JobQueues;
use futures::stream::{self, StreamExt as _};
use jiff::Timestamp;
use serde::Serialize;
use std::collections::HashMap;
use std::time::Duration;

/// A tick looks this far ahead: the next one comes in 60 s, and may be late. What is due within it leaves at once, with
/// the last leg as the message's own delay, and so starts within a second or two of its time.
pub const AHEAD: Duration = Duration::from_secs(90);
/// Writes at the same time.
const CONCURRENCY: usize = 16;

/// What a tick did.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Released {
    /// Jobs that were found due.
    pub due: usize,
    /// Jobs now on their queues.
    pub released: usize,
    /// Jobs that were not released; the next tick finds them again.
    pub failed: usize,
}

/// Sends the messages of at most `limit` jobs that are due by `now +` [`AHEAD`], then takes them off the index. A tick that
/// dies in between sends some of them twice, which is harmless.
///
/// # Errors
/// When the index or the jobs cannot be read.
pub async fn release_due(
    jobs: &dyn Jobs,
    queues: &JobQueues,
    now: Timestamp,
    limit: usize,
) -> Result<Released, PortError> {
    let mut due = jobs.due(now + AHEAD, limit).await?;
    // Ordered jobs that were retried keep the order in which they were.
    due.sort_by_key(|due| due.run_at);
    let mut released = Released { due: due.len(), ..Released::default() };
    // The index holds keys and times only. What names a job's queue never changes, so it may be read from any copy.
    let ids: Vec<JobId> = due.iter().map(|due| due.id.clone()).collect();
    let found = jobs.get_many(&ids).await?.into_iter().map(|job| (job.id.clone(), job));
    let mut found: HashMap<JobId, Job> = found.collect();
    let mut by_lane: HashMap<(Worker, Lane), Vec<(DueJob, Message)>> = HashMap::new();
    for due in due {
        let job = found.remove(&due.id);
        // A kind that this build does not know stays on the index until a build comes that does.
        match job.as_ref().and_then(|job| Some((job, kind(&job.kind)?.worker))) {
            Some((job, worker)) => {
                let delay = wait_until(Some(due.run_at), now);
                let message = JobMessage::carrying(job, None, delay);
                by_lane.entry((worker, job.lane())).or_default().push((due, message));
            }
            None => {
                let kind = job.map(|job| job.kind);
                tracing::error!(job = %due.id, kind, "no worker for the kind of a scheduled job");
                released.failed += 1;
            }
        }
    }
    for ((worker, lane), due) in by_lane {
        let (due, messages): (Vec<DueJob>, Vec<Message>) = due.into_iter().unzip();
        let sent = queues.send(worker, lane, &messages).await;
        let outcomes = stream::iter(due.iter().zip(sent)).map(|(job, sent)| async move {
            sent?;
            jobs.apply(&job.id, &Event::Release { run_at: job.run_at }, now).await.map(drop)
        });
        let outcomes: Vec<Result<(), PortError>> = outcomes.buffer_unordered(CONCURRENCY).collect().await;
        for outcome in outcomes {
            match outcome {
                Ok(()) => released.released += 1,
                Err(error) => {
                    tracing::warn!("a scheduled job was not released: {error}");
                    released.failed += 1;
                }
            }
        }
    }
    Ok(released)
}
