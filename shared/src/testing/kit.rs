use super::{MemoryBlobs, MemoryJobs, MemoryLimits, MemoryQueue, MemoryQueues, VirtualClock, builders};
use crate::accept::{Intake, NewJob, fingerprint, submit, wait_until};
use crate::domain::id::JobId;
use crate::domain::job::{Job as StoredJob, State, Stored};
use crate::domain::lane::Priority;
use crate::job::{Job, Outcome};
use crate::jobs::{JobMessage, Worker, kind};
use crate::ports::{Blobs as _, Clock as _, Jobs as _};
use crate::queues::{JobQueues, OwnQueues};
use crate::release::{AHEAD, release_due};
use crate::worker::handlers::{Attempt, Handlers};
use crate::worker::limits::Limiter;
use crate::worker::runner::Runner;
use aws_lambda_events::event::sqs::{SqsEvent, SqsMessage};
use jiff::Timestamp;
use serde_json::Value;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::time::sleep;

/// A worker whose functions run as they are deployed, with all that is around them in memory: claim, lease, heartbeat,
/// time-out, retries, rate limits, queues, the clock.
///
/// Time is tokio's, so it is under control: in a test with `start_paused` an hour passes at once, in the handler as well as
/// around it.
///
/// ```
/// use millrace::domain::job::State;
/// use millrace::job::{Failure, Outcome};
/// use millrace::jobs::{Echo, Worker};
/// use millrace::testing::Kit;
/// use millrace::worker::handlers::Attempt;
/// use serde_json::json;
/// use std::time::Duration;
///
/// // The function to be tested: the service it calls is away in its first attempt.
/// async fn handle(job: Echo, attempt: Attempt) -> Outcome {
///     tokio::time::sleep(Duration::from_secs(5)).await;
///     if attempt.number == 1 {
///         return Err(Failure::RetryAfter(Duration::from_secs(3600), anyhow::anyhow!("away")));
///     }
///     Ok(json!({ "heard": job.message }))
/// }
///
/// #[tokio::main(flavor = "current_thread", start_paused = true)] // as a test: #[tokio::test(start_paused = true)]
/// async fn main() {
///     let kit = Kit::new(Worker::Echo).on::<Echo, _, _>(handle);
///     let job = Echo { message: Some(json!("hello")), ..Echo::default() };
///
///     // One attempt.
///     let after = kit.run(&job).await;
///     assert_eq!((after.state, after.attempt), (State::Scheduled, 1));
///     assert_eq!(after.error.unwrap().class, "transient");
///
///     // All that is left to do, however late.
///     kit.drain().await;
///     let done = kit.job(&after.id).await;
///     assert_eq!((done.state, done.attempt), (State::Succeeded, 2));
///     assert_eq!(kit.result(&after.id).await, json!({ "heard": "hello" }));
/// }
/// ```
///
/// A function that submits jobs is given [`Kit::intake`], and [`Kit::enqueued`] shows what it has submitted. One that has to be
/// safe to be run again is seen to be by [`Kit::kill_after`].
pub struct Kit {
    /// What time it is: tokio's, counted from a moment in 2027.
    pub clock: VirtualClock,
    /// The table of jobs.
    pub jobs: MemoryJobs,
    /// The bucket.
    pub blobs: MemoryBlobs,
    /// The queues of all workers, by their names after the stack's.
    pub queues: MemoryQueues,
    /// What the operator has set.
    pub limits: MemoryLimits,
    /// How long an invocation may take: 30 s. A received message is hidden for six times as long.
    pub timeout: Duration,
    /// Most messages of a batch: 10.
    pub batch: usize,
    worker: Worker,
    runner: Runner,
    handlers: Handlers,
    submitted: AtomicUsize,
}

/// More deliveries than any work takes that comes to an end.
const MOST: usize = 10_000;

impl Kit {
    /// A worker that knows no kind yet. To be called within a tokio runtime.
    ///
    /// # Panics
    /// Never: the time is valid.
    #[must_use]
    pub fn new(worker: Worker) -> Self {
        let clock = VirtualClock::starting(Timestamp::from_second(1_800_000_000).expect("a time"));
        let (jobs, blobs, limits) = (MemoryJobs::default(), MemoryBlobs::default(), MemoryLimits::default());
        let queues = MemoryQueues::new(Arc::new(clock));
        let runner = Runner {
            jobs: Arc::new(jobs.clone()),
            blobs: Arc::new(blobs.clone()),
            queues: OwnQueues::open(worker, |name| queues.open(name)),
            limiter: Arc::new(Limiter::new(Arc::new(limits.clone()))),
            clock: Arc::new(clock),
            dice: || 0.5,
        };
        let (timeout, handlers, submitted) = (Duration::from_secs(30), Handlers::new(), AtomicUsize::new(0));
        Self { clock, jobs, blobs, queues, limits, timeout, batch: 10, worker, runner, handlers, submitted }
    }

    /// With this function for the kind `J`, as [`Handlers::on`].
    #[must_use]
    pub fn on<J, F, Fut>(self, handler: F) -> Self
    where
        J: Job,
        F: Fn(J, Attempt) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Outcome> + Send + 'static,
    {
        Self { handlers: self.handlers.on(handler), ..self }
    }

    /// Where jobs are put: for a function that submits jobs.
    #[must_use]
    pub fn intake(&self) -> Intake {
        let queues = JobQueues::open(|name| self.queues.open(name));
        Intake { jobs: Arc::new(self.jobs.clone()), blobs: Arc::new(self.blobs.clone()), queues }
    }

    /// Submits a job for the tenant [`builders::tenant`].
    pub async fn submit<J: Job>(&self, job: &J) -> JobId {
        self.submit_with(job, |_| {}).await
    }

    /// Submits a job of which something is said that [`Kit::submit`] leaves to its kind.
    ///
    /// # Panics
    /// When no worker takes such a job.
    pub async fn submit_with<J: Job>(&self, job: &J, change: impl FnOnce(&mut NewJob)) -> JobId {
        let payload = serde_json::to_value(job).expect("a payload is JSON");
        let number = self.submitted.fetch_add(1, Ordering::Relaxed).to_string();
        let mut new = NewJob {
            id: JobId::derived(&["kit", &number]),
            repeatable: false,
            fingerprint: fingerprint(&payload),
            tenant: builders::tenant(),
            kind: kind(J::KIND).unwrap_or_else(|| panic!("{} is not in KINDS", J::KIND)),
            payload,
            priority: Priority::Normal,
            ordering_key: None,
            run_at: None,
            expires_at: None,
            max_attempts: None,
            timeout: None,
            callback_url: None,
            group: None,
            tags: Vec::new(),
        };
        change(&mut new);
        submit(&self.intake(), new, self.clock.now()).await.expect("the job is accepted").job.id
    }

    /// Submits a job and delivers once: the job as it is then.
    pub async fn run<J: Job>(&self, job: &J) -> StoredJob {
        let id = self.submit(job).await;
        self.deliver().await;
        self.job(&id).await
    }

    /// Delivers what is visible on each of the worker's lanes, one batch at most, and waits until they are worked on. Gives
    /// their number. What is still to come, a retry, stays on its queue.
    pub async fn deliver(&self) -> usize {
        let mut delivered = 0;
        for queue in self.lanes() {
            let event = queue.receive(self.batch, self.timeout * 6, || 0.0);
            if !event.records.is_empty() {
                delivered += event.records.len();
                let response = self.runner.batch(&self.handlers, event.clone(), self.clock.now() + self.timeout).await;
                queue.answered(&event, &response);
            }
        }
        delivered
    }

    /// Delivers, and ends the worker after `time` as a power cut does, unless it was done before.
    pub async fn kill_after(&self, time: Duration) {
        let _ = tokio::time::timeout(time, self.deliver()).await;
    }

    /// Delivers until nothing is left to do, and lets time pass in between. Gives the number of messages. Jobs of other workers
    /// stay where they are.
    ///
    /// # Panics
    /// When it does not come to an end, or the clock cannot do its part.
    pub async fn drain(&self) -> usize {
        let mut delivered = 0;
        for _ in 0..MOST {
            let (intake, now) = (self.intake(), self.clock.now());
            release_due(&*intake.jobs, &intake.queues, now, MOST).await.expect("what is due");
            let messages = self.deliver().await;
            delivered += messages;
            if messages == 0 {
                let Some(next) = self.next().await else { return delivered };
                sleep(wait_until(Some(next), self.clock.now()).max(Duration::from_millis(1))).await;
            }
        }
        panic!("after {MOST} deliveries there is still something to do: {:?}", self.jobs.all());
    }

    /// When something is next to be done.
    async fn next(&self) -> Option<Timestamp> {
        let now = self.clock.now();
        let messages = self.lanes().into_iter().flat_map(|queue| queue.all()).map(|message| message.visible_at);
        let due = self.jobs.due(Timestamp::MAX, MOST).await.expect("the jobs in memory");
        messages.filter(|at| *at > now).chain(due.into_iter().map(|job| job.run_at - AHEAD)).min()
    }

    fn lanes(&self) -> Vec<MemoryQueue> {
        self.worker.lanes().iter().map(|lane| self.queues.get(&self.worker.queue(*lane))).collect()
    }

    /// A job as it is.
    ///
    /// # Panics
    /// When there is none.
    pub async fn job(&self, id: &JobId) -> StoredJob {
        self.jobs.get(id).await.expect("the jobs in memory").unwrap_or_else(|| panic!("there is no job {id}"))
    }

    /// What came of a job; null when it has no result.
    ///
    /// # Panics
    /// When there is no such job.
    pub async fn result(&self, id: &JobId) -> Value {
        match self.job(id).await.result {
            None => Value::Null,
            Some(Stored::Inline(value)) => value,
            Some(Stored::Blob(key)) => {
                let bytes = self.blobs.get(&key).await.expect("the blobs in memory").expect("the result");
                serde_json::from_slice(&bytes).expect("a result is JSON")
            }
        }
    }

    /// The payloads of the jobs of a kind that wait, whoever works on them, in the order in which they were submitted.
    ///
    /// # Panics
    /// When one cannot be read as `J`.
    pub async fn enqueued<J: Job>(&self) -> Vec<J> {
        let waits = |job: &StoredJob| job.kind == J::KIND && matches!(job.state, State::Scheduled | State::Queued);
        let mut waiting: Vec<StoredJob> = self.jobs.all().into_iter().filter(waits).collect();
        waiting.sort_by_key(|job| job.created_at);
        let mut payloads = Vec::new();
        for job in waiting {
            let payload = match job.payload {
                Stored::Inline(value) => value,
                Stored::Blob(key) => {
                    let bytes = self.blobs.get(&key).await.expect("the blobs in memory").expect("the payload");
                    serde_json::from_slice(&bytes).expect("a payload is JSON")
                }
            };
            payloads.push(serde_json::from_value(payload).expect("a payload of its kind"));
        }
        payloads
    }

    /// The messages that the worker has put aside because it could not read them.
    #[must_use]
    pub fn dead_letters(&self) -> Vec<String> {
        let mut names: Vec<String> = self.worker.lanes().iter().map(|lane| self.worker.dead_letters(*lane)).collect();
        names.dedup();
        names.iter().flat_map(|name| self.queues.get(name).all()).map(|letter| letter.body).collect()
    }

    /// Runs a sample event as Lambda would bring it. The jobs that its messages name are recorded first. Gives the ids of the
    /// messages that the queue has to keep.
    ///
    /// # Panics
    /// When it is no SQS event.
    pub async fn sample(&self, event: &str) -> Vec<String> {
        let event: Value = serde_json::from_str(event).expect("an event is JSON");
        let mut batch = SqsEvent::default();
        for record in event["Records"].as_array().expect("records") {
            let record: SqsMessage = serde_json::from_value(record.clone()).expect("an SQS record");
            if let Ok(message) = JobMessage::parse(record.body.as_deref().unwrap_or_default()) {
                let payload = message.payload.map_or(Stored::Inline(Value::Null), Stored::Inline);
                let job = super::conformance::queued_job("sample", self.clock.now());
                let job = StoredJob { id: message.id, kind: message.kind, tenant: message.tenant, payload, ..job };
                self.jobs.create(&job, false).await.expect("the jobs in memory");
            }
            batch.records.push(record);
        }
        let response = self.runner.batch(&self.handlers, batch, self.clock.now() + self.timeout).await;
        response.batch_item_failures.into_iter().map(|failure| failure.item_identifier).collect()
    }
}
