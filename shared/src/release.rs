//! Bringing scheduled jobs to their queues when their time is near.

use crate::domain::job::Event;
use crate::jobs::{JobMessage, Worker, kind};
use crate::ports::{DueJob, Jobs, Message, PortError, Queue};
use futures::stream::{self, StreamExt as _};
use jiff::Timestamp;
use serde::Serialize;
use std::collections::HashMap;
use std::sync::Arc;
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
/// When the index cannot be read.
pub async fn release_due(
    jobs: &dyn Jobs,
    queues: &HashMap<Worker, Arc<dyn Queue>>,
    now: Timestamp,
    limit: usize,
) -> Result<Released, PortError> {
    let due = jobs.due(now + AHEAD, limit).await?;
    let mut released = Released { due: due.len(), ..Released::default() };
    let mut by_worker: HashMap<Worker, Vec<DueJob>> = HashMap::new();
    for job in due {
        // A kind that this build does not know stays on the index until a build comes that does.
        match kind(&job.kind) {
            Some(kind) => by_worker.entry(kind.worker).or_default().push(job),
            None => {
                tracing::error!(job = %job.id, kind = job.kind, "no worker for the kind of a scheduled job");
                released.failed += 1;
            }
        }
    }
    for (worker, due) in by_worker {
        let Some(queue) = queues.get(&worker) else {
            released.failed += due.len();
            continue;
        };
        let messages: Vec<Message> = due.iter().map(|job| message(job, now)).collect();
        let sent = queue.send(&messages).await;
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

fn message(job: &DueJob, now: Timestamp) -> Message {
    let body = JobMessage::new(job.id.clone(), job.kind.clone(), job.tenant.clone(), None).body();
    Message { body, delay: crate::accept::wait_until(Some(job.run_at), now), tenant: Some(job.tenant.clone()) }
}
