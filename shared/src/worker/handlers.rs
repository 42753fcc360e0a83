//! The functions of a worker, by the kind they work on.

use crate::domain::backoff::Backoff;
use crate::domain::id::{JobId, Tenant};
use crate::domain::job::{Event, Progress};
use crate::job::{Failure, Job, Outcome};
use crate::ports::{Applied, Clock, Jobs};
use futures::future::BoxFuture;
use jiff::Timestamp;
use serde_json::Value;
use std::collections::HashMap;
use std::sync::Arc;

/// One attempt, as its handler sees it.
#[derive(Clone)]
pub struct Attempt {
    /// The job.
    pub id: JobId,
    /// Whose it is.
    pub tenant: Tenant,
    /// Which attempt this is, from 1.
    pub number: u32,
    /// How often the job was claimed, this time included. It never repeats, so it may name what this attempt makes.
    pub fence: u64,
    /// When the attempt is cut off.
    pub deadline: Timestamp,
    pub(super) jobs: Arc<dyn Jobs>,
    pub(super) clock: Arc<dyn Clock>,
}

impl Attempt {
    /// Now, by the worker's clock.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// Says how far the job is: `percent` 0-100 and a short note, which the API shows. One table write for each call.
    ///
    /// # Errors
    /// [`Failure::Cancelled`] when somebody wants the job cancelled: undo what should not stay, and return it. Else when the table cannot be reached, or the lease was lost: then another worker has the job, and this one should stop.
    pub async fn progress(&self, percent: u8, note: Option<&str>) -> Result<(), Failure> {
        let note = note.map(|note| note.chars().take(200).collect());
        let event = Event::Progress { fence: self.fence, progress: Progress { percent: percent.min(100), note } };
        match self.jobs.apply(&self.id, &event, self.now()).await? {
            Applied::Done(job) if job.cancel_requested => Err(Failure::Cancelled),
            Applied::Done(_) => Ok(()),
            Applied::Refused(..) | Applied::Missing => {
                Err(Failure::Retry(anyhow::anyhow!("the lease was lost: another worker has the job")))
            }
        }
    }
}

type Handler = Box<dyn Fn(Value, Attempt) -> Result<BoxFuture<'static, Outcome>, String> + Send + Sync>;

pub(super) struct Entry {
    pub(super) backoff: Backoff,
    pub(super) call: Handler,
}

/// A worker's functions by kind.
#[derive(Default)]
pub struct Handlers(HashMap<&'static str, Entry>);

impl Handlers {
    /// No functions yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds the function for the kind `J`.
    #[must_use]
    pub fn on<J, F, Fut>(mut self, handler: F) -> Self
    where
        J: Job,
        F: Fn(J, Attempt) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Outcome> + Send + 'static,
    {
        let call: Handler = Box::new(move |payload, attempt| {
            let job = serde_json::from_value::<J>(payload).map_err(|error| error.to_string())?;
            job.check()?;
            Ok(Box::pin(handler(job, attempt)))
        });
        self.0.insert(J::KIND, Entry { backoff: J::BACKOFF, call });
        self
    }

    pub(super) fn get(&self, kind: &str) -> Option<&Entry> {
        self.0.get(kind)
    }
}
