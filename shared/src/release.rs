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
    // The index holds keys and times only. What names a job's queue never changes, so it may be read from any copy.
    let ids: Vec<JobId> = due.iter().map(|due| due.id.clone()).collect();
    let found = jobs.get_many(&ids).await?.into_iter().map(|job| (job.id.clone(), job));
    let mut found: HashMap<JobId, Job> = found.collect();
    let listed = due.len();
    let due: Vec<(Job, Timestamp)> =
        due.into_iter().filter_map(|due| Some((found.remove(&due.id)?, due.run_at))).collect();
    let gone = listed - due.len();
    let mut released = release(jobs, queues, due, now).await;
    released.due += gone;
    released.failed += gone;
    Ok(released)
}

/// Does what [`release_due`] does for these jobs, which wait for the clock, each with the time under which it was found and which
/// is less than [`Message::MAX_DELAY`] away. Who has just recorded a job for the clock spares it the wait for the next tick; what
/// fails here is that tick's.
pub async fn release(jobs: &dyn Jobs, queues: &JobQueues, due: Vec<(Job, Timestamp)>, now: Timestamp) -> Released {
    let mut released = Released { due: due.len(), ..Released::default() };
    let mut by_lane: HashMap<(Worker, Lane), Vec<(DueJob, Message)>> = HashMap::new();
    for (job, run_at) in due {
        // A kind that this build does not know stays on the index until a build comes that does.
        let Some(kind) = kind(&job.kind) else {
            tracing::error!(job = %job.id, kind = job.kind, "no worker for the kind of a scheduled job");
            released.failed += 1;
            continue;
        };
        let message = JobMessage::carrying(&job, None, wait_until(Some(run_at), now));
        by_lane.entry((kind.worker, job.lane())).or_default().push((DueJob { id: job.id, run_at }, message));
    }
    for ((worker, lane), due) in by_lane {
        let (due, messages): (Vec<DueJob>, Vec<Message>) = due.into_iter().unzip();
        let sent = queues.send(worker, lane, &messages).await;
        // A vector of futures, not a stream of closures: the compiler finds the latter's future not to be `Send`.
        let writes: Vec<_> = due.into_iter().zip(sent).map(|(job, sent)| taken_off(jobs, job, sent, now)).collect();
        let outcomes: Vec<Result<(), PortError>> = stream::iter(writes).buffer_unordered(CONCURRENCY).collect().await;
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
    released
}

/// Takes a job off the index if its message was sent.
async fn taken_off(jobs: &dyn Jobs, job: DueJob, sent: Result<(), PortError>, now: Timestamp) -> Result<(), PortError> {
    sent?;
    jobs.apply(&job.id, &Event::Release { run_at: job.run_at }, now).await.map(drop)
}
