//! One tick: whatever is due is brought on its way, and nothing is asked of the event.

use jiff::Timestamp;
use millrace::campaigns::{Keeper, Ticked};
use millrace::jobs::Worker;
use millrace::ports::{Jobs, Queue};
use millrace::release::{Released, release_due};
use serde::Serialize;
use std::collections::HashMap;
use std::sync::Arc;

/// Most jobs that one tick releases, and most chunks that it dispatches. What is left over is the next tick's: it is due
/// all the more.
const LIMIT: usize = 2_000;

/// What the clock works with.
pub(crate) struct Tower {
    pub(crate) jobs: Box<dyn Jobs>,
    pub(crate) queues: HashMap<Worker, Arc<dyn Queue>>,
    pub(crate) keeper: Keeper,
}

/// What a tick did.
#[derive(Debug, Serialize)]
pub(crate) struct Tick {
    pub(crate) jobs: Released,
    pub(crate) campaigns: Ticked,
}

/// Part of a tick failed. The next one tries again; a run of failures is what the alarm on this function is for.
#[derive(Debug, thiserror::Error)]
#[error("part of the tick failed: {0}")]
pub(crate) struct Missed(String);

impl Tower {
    /// Safe to run twice or at the same time as another tick.
    pub(crate) async fn tick(&self, now: Timestamp) -> Result<Tick, Missed> {
        let (jobs, campaigns) =
            tokio::join!(release_due(&*self.jobs, &self.queues, now, LIMIT), self.keeper.tick(now, LIMIT));
        let jobs = jobs.map_err(|error| Missed(error.to_string()))?;
        tracing::info!(
            due = jobs.due,
            released = jobs.released,
            dispatched = campaigns.dispatched.chunks,
            settled = campaigns.settled,
            finished = campaigns.finished,
            errors = jobs.failed + campaigns.errors,
            "tick"
        );
        if jobs.failed + campaigns.errors > 0 {
            return Err(Missed(format!("{} jobs, {} campaigns or chunks", jobs.failed, campaigns.errors)));
        }
        Ok(Tick { jobs, campaigns })
    }
}
