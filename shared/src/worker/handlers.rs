//! The functions of a worker, by the kind they work on.

use crate::domain::backoff::Backoff;
use crate::domain::id::{JobId, Tenant};
use crate::domain::job::{Event, Progress};
use crate::domain::rate::Policy;
use crate::job::{Failure, Job, Outcome};
use crate::ports::{Applied, Clock, Jobs};
use futures::future::BoxFuture;
use jiff::Timestamp;
use serde_json::Value;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;

/// One attempt, as its handler sees it.
///
/// A handler may be stopped at any of its `await`s: when its time is up, when somebody wants the job cancelled and it has not
/// stopped by itself within [`CANCEL_GRACE`](super::heartbeat::CANCEL_GRACE), and when its worker was held up for so long that
/// the job is another's. So it has to be safe to run again from the start, and must not block: a computation of more than a
/// few milliseconds, and any blocking call, belongs in `tokio::task::spawn_blocking`, where it looks at
/// [`Attempt::should_stop`] now and then. A handler that blocks the thread keeps the worker from extending its lease; the job
/// is then given to another worker while this one still computes, and what this one writes of it is refused.
#[derive(Clone)]
pub struct Attempt {
    /// The job.
    pub id: JobId,
    /// Whose it is.
    pub tenant: Tenant,
    /// When the job was accepted.
    pub created_at: Timestamp,
    /// Which attempt this is, from 1.
    pub number: u32,
    /// How often the job was claimed, this time included. It never repeats, so it may name what this attempt makes.
    pub fence: u64,
    /// When the attempt is cut off.
    pub deadline: Timestamp,
    pub(super) jobs: Arc<dyn Jobs>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) stopping: watch::Receiver<bool>,
}

impl Attempt {
    /// Now, by the worker's clock.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// Whether the handler should stop: somebody wants the job cancelled, or the attempt is over. It costs nothing to ask.
    #[must_use]
    pub fn should_stop(&self) -> bool {
        *self.stopping.borrow() || self.stopping.has_changed().is_err()
    }

    /// Comes to its end when the handler should stop: undo what should not stay, and return [`Failure::Cancelled`]. The
    /// worker hears of a cancel by its next heartbeat, which is a sixth of its invocation away, at most 20 s.
    pub async fn cancelled(&self) {
        // An error: the attempt is over.
        let _ = self.stopping.clone().wait_for(|stop| *stop).await;
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
    pub(super) kind: &'static str,
    pub(super) backoff: Backoff,
    pub(super) timeout: Option<Duration>,
    pub(super) policy: Policy,
    pub(super) call: Handler,
}

/// A worker's functions by kind.
#[derive(Default)]
pub struct Handlers(HashMap<&'static str, Arc<Entry>>);

impl Handlers {
    /// No functions yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds the function for the kind `J`, by all its names.
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
        let policy = Policy { all: J::RATE, each_tenant: J::TENANT_RATE };
        let entry = Entry { kind: J::KIND, backoff: J::BACKOFF, timeout: J::TIMEOUT, policy, call };
        let entry = Arc::new(entry);
        for name in [&[J::KIND], J::ALIASES].concat() {
            self.0.insert(name, entry.clone());
        }
        self
    }

    pub(super) fn get(&self, kind: &str) -> Option<&Entry> {
        self.0.get(kind).map(Arc::as_ref)
    }
}
