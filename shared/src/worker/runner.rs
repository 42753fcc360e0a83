//! One message through claim, handler and finish.

use super::RESERVE;
use super::batch::{self, Verdict};
use super::handlers::{Attempt, Entry, Handlers};
use super::heartbeat::{Held, Hold, first_lease};
use super::limits::Limiter;
use super::ordered;
use crate::accept::wait_until;
use crate::domain::job::{Carrier, Event, Job, JobError, Refused, Stored};
use crate::domain::lane::Lane;
use crate::job::{Failure, Outcome};
use crate::jobs::JobMessage;
use crate::ports::{Applied, Blobs, Clock, Jobs, Message, PortError};
use crate::queues::{OwnLane, OwnQueues};
use aws_lambda_events::event::sqs::{SqsBatchResponse, SqsEvent, SqsMessage};
use futures::FutureExt as _;
use jiff::Timestamp;
use serde_json::Value;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;

/// Nothing is started with less time than this left.
const LEAST_TIME: Duration = Duration::from_secs(2);
/// An ordered job that begins so long after its invocation, behind others of its key, has less time than is its due: an
/// attempt that the invocation's end cuts off does not count.
const LATE: Duration = Duration::from_secs(1);

/// What a worker needs to run jobs.
#[derive(Clone)]
pub struct Runner {
    /// The table of jobs.
    pub jobs: Arc<dyn Jobs>,
    /// Large payloads and results.
    pub blobs: Arc<dyn Blobs>,
    /// The queues of the worker's lanes.
    pub queues: OwnQueues,
    /// How many jobs may start.
    pub limiter: Arc<Limiter>,
    /// What time it is.
    pub clock: Arc<dyn Clock>,
    /// Draws a number from 0 to 1, for the jitter of retries.
    pub dice: fn() -> f64,
}

/// The time of one invocation.
#[derive(Debug, Clone, Copy)]
struct Invocation {
    began: Timestamp,
    deadline: Timestamp,
}

/// Why an attempt did not get to a result of its own.
enum Cut {
    Panicked,
    /// It stood behind others of its key in the invocation, which ended before it.
    Short,
    TimedOut(Duration),
    InvalidPayload(String),
}

impl Runner {
    /// Takes the messages of a batch as far as they go before `deadline`, the end of the invocation.
    pub async fn batch(&self, handlers: &Handlers, event: SqsEvent, deadline: Timestamp) -> SqsBatchResponse {
        let time = Invocation { began: self.clock.now(), deadline };
        let one = async |record: &SqsMessage| self.run(handlers, record, time).await;
        // A group goes on when its first message does, so those behind it must not be hidden for longer.
        let behind = async |record: &SqsMessage| {
            let _ = self.show_again(record, Duration::ZERO).await;
        };
        batch::run_in_order(event, one, behind).await
    }

    /// Takes one message as far as it goes before the invocation ends.
    async fn run(&self, handlers: &Handlers, record: &SqsMessage, time: Invocation) -> Verdict {
        let deadline = time.deadline;
        let body = record.body.as_deref().unwrap_or_default();
        let message = match JobMessage::parse(body) {
            Ok(message) => message,
            Err(error) => return self.unreadable(record, body, &error).await,
        };
        // A job that stood behind others of its key should have about the time that the first had.
        let least = if self.is_ordered(record) { time.whole() / 2 } else { Duration::ZERO }.max(LEAST_TIME + RESERVE);
        if wait_until(Some(deadline), self.clock.now()) < least {
            // Not started, so no attempt is spent; another invocation takes it at once.
            return self.show_again(record, Duration::ZERO).await;
        }
        let Some(handler) = handlers.get(&message.kind) else {
            let note = "this worker has no handler for the kind";
            return self.condemn(record, &message.id, "unknown_kind", note).await;
        };
        let ticket = match self.admit(handler, record, &message).await {
            Ok(ticket) => ticket,
            Err(verdict) => return verdict,
        };
        let started = self.clock.now();
        let claim = Event::Claim { lease_until: first_lease(started, deadline), owner: (self.dice)().to_bits() };
        let job = match self.jobs.apply(&message.id, &claim, started).await {
            Ok(Applied::Done(job)) => *job,
            Ok(Applied::Refused(why, job)) => {
                drop(ticket);
                return self.refused(record, &message, why, &job).await;
            }
            Ok(Applied::Missing) => {
                tracing::warn!(job = %message.id, kind = message.kind, "there is no such job: its message is dropped");
                return Verdict::Acknowledge;
            }
            Err(error) => {
                tracing::warn!(job = %message.id, kind = message.kind, "the job could not be claimed: {error}");
                return Verdict::Keep;
            }
        };
        ticket.spend();
        let (event, class) = match self.attempt(handler, record, &job, message.payload, time).await {
            Ok(Some(event)) => event,
            Ok(None) => {
                tracing::warn!(job = %job.id, kind = job.kind, "the lease was lost: the attempt was stopped");
                return Verdict::Keep;
            }
            Err(error) if error.is_transient() => {
                // The handler was never called, so the job goes back without spending the attempt.
                tracing::warn!(job = %job.id, kind = job.kind, "the payload could not be read: {error}");
                let run_at = self.clock.now() + handler.backoff.base;
                let back = Event::GiveBack { fence: job.fence, run_at, spent: false, by: Carrier::Queue, error: None };
                (back, "snoozed")
            }
            Err(error) => {
                tracing::error!(job = %job.id, kind = job.kind, "the payload cannot be read: {error}");
                let why = "the stored payload cannot be read";
                let error = JobError::new("invalid_payload", why, job.attempt, self.clock.now());
                (Event::Bury { fence: job.fence, error }, "invalid_payload")
            }
        };
        let event = match self.is_ordered(record) {
            true => ordered::limited(event, job.attempt, record, self.clock.now()),
            false => event,
        };
        let verdict = self.finish(record, &job, &event, deadline).await;
        let ms = wait_until(Some(self.clock.now()), started).as_millis();
        tracing::info!(job = %job.id, kind = job.kind, attempt = job.attempt, outcome = class, ms, "attempt");
        verdict
    }

    /// Runs the handler inside its fences and says what its outcome makes of the job: nothing, when it lost the job.
    async fn attempt(
        &self,
        handler: &Entry,
        record: &SqsMessage,
        job: &Job,
        carried: Option<Value>,
        time: Invocation,
    ) -> Result<Option<(Event, &'static str)>, PortError> {
        let payload = match carried {
            Some(payload) if !job.edited => payload,
            _ => self.payload(job).await?,
        };
        let left = wait_until(Some(time.deadline), self.clock.now()).saturating_sub(RESERVE);
        let limit = [job.timeout, handler.timeout].into_iter().flatten().fold(left, Duration::min);
        let behind = job.lane() == Lane::Ordered && left + LATE < time.whole().saturating_sub(RESERVE);
        let (stop, stopping) = watch::channel(false);
        let attempt = Attempt {
            id: job.id.clone(),
            tenant: job.tenant.clone(),
            created_at: job.created_at,
            number: job.attempt,
            fence: job.fence,
            deadline: self.clock.now() + limit,
            jobs: self.jobs.clone(),
            clock: self.clock.clone(),
            stopping,
        };
        let message = record.receipt_handle.as_deref().map(|receipt| (&*self.lane(record).queue, receipt));
        let (jobs, clock) = (&*self.jobs, &*self.clock);
        let hold = Hold { jobs, job, message, clock, deadline: time.deadline, stop };
        let work = async { Ok((handler.call)(payload, attempt).map_err(Cut::InvalidPayload)?.await) };
        let work = hold.during(AssertUnwindSafe(work).catch_unwind());
        let outcome = match tokio::time::timeout(limit, work).await {
            Ok(Held::Done(Ok(outcome))) => outcome,
            Ok(Held::Done(Err(_))) => Err(Cut::Panicked),
            Ok(Held::Overdue) => Ok(Err(Failure::Cancelled)),
            Ok(Held::Lost) => return Ok(None),
            Err(_) if behind && limit == left => Err(Cut::Short),
            Err(_) => Err(Cut::TimedOut(limit)),
        };
        Ok(Some(self.decide(handler, job, outcome).await))
    }

    /// The event that an outcome is.
    async fn decide(&self, handler: &Entry, job: &Job, outcome: Result<Outcome, Cut>) -> (Event, &'static str) {
        let now = self.clock.now();
        let (class, why, wait) = match outcome {
            Ok(Ok(value)) => match self.keep(job, value).await {
                Ok(result) => return (Event::Succeed { fence: job.fence, result }, "succeeded"),
                Err(error) => {
                    tracing::warn!(job = %job.id, "the result could not be kept: {error}");
                    ("transient", "the result could not be kept".to_owned(), Some(self.backoff(handler, job)))
                }
            },
            Ok(Err(Failure::Snooze(wait))) => return (give_back(job, now + wait, now, false, None), "snoozed"),
            Err(Cut::Short) => return (give_back(job, now, now, false, None), "cut short"),
            Ok(Err(Failure::Cancelled)) => return (Event::Stop { fence: job.fence }, "cancelled"),
            Ok(Err(Failure::Dead(why))) => ("permanent", format!("{why:#}"), None),
            Err(Cut::InvalidPayload(why)) => ("invalid_payload", why, None),
            Ok(Err(Failure::Retry(why))) => ("transient", format!("{why:#}"), Some(self.backoff(handler, job))),
            Ok(Err(Failure::RetryAfter(wait, why))) => ("transient", format!("{why:#}"), Some(wait)),
            Ok(Err(Failure::Throttled(wait, why))) => {
                let wait = self.backoff(handler, job).max(wait.unwrap_or_default());
                ("throttled", format!("{why:#}"), Some(wait))
            }
            Err(Cut::Panicked) => ("panic", "the handler panicked".to_owned(), Some(self.backoff(handler, job))),
            Err(Cut::TimedOut(limit)) => {
                let why = format!("the handler took longer than {} ms", limit.as_millis());
                ("timeout", why, Some(self.backoff(handler, job)))
            }
        };
        let error = JobError::new(class, &why, job.attempt, now);
        tracing::warn!(job = %job.id, kind = job.kind, attempt = job.attempt, class, "the attempt failed");
        let event = match wait {
            Some(wait) if job.attempt < job.max_attempts => give_back(job, now + wait, now, true, Some(error)),
            _ => Event::Bury { fence: job.fence, error },
        };
        (event, class)
    }

    fn backoff(&self, handler: &Entry, job: &Job) -> Duration {
        handler.backoff.wait(job.attempt, (self.dice)())
    }

    /// Writes the event, then tells the queue.
    async fn finish(&self, record: &SqsMessage, job: &Job, event: &Event, deadline: Timestamp) -> Verdict {
        let mut event = event.clone();
        let written = loop {
            match self.jobs.apply(&job.id, &event, self.clock.now()).await {
                Err(error) if error.is_transient() && wait_until(Some(deadline), self.clock.now()) > RESERVE / 2 => {
                    tracing::warn!(job = %job.id, "the outcome could not be written, once more: {error}");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
                Ok(Applied::Refused(Refused::CancelAsked, _)) => {
                    tracing::info!(job = %job.id, kind = job.kind, "cancelled instead of tried again");
                    event = Event::Stop { fence: job.fence };
                }
                written => break written,
            }
        };
        match written {
            Ok(Applied::Done(job)) => match event {
                Event::GiveBack { run_at, by: Carrier::Queue, .. } => self.bring_back(record, &job, run_at).await,
                _ => Verdict::Acknowledge,
            },
            // Somebody else owns the job, perhaps by this very message. Deleting it could leave that owner's crash
            // without a message; showing it again costs one look.
            Ok(_) => {
                tracing::warn!(job = %job.id, kind = job.kind, "the lease was lost: nothing was written");
                Verdict::Keep
            }
            Err(error) => {
                tracing::error!(job = %job.id, kind = job.kind, "the outcome could not be written: {error}");
                Verdict::Keep
            }
        }
    }

    /// Sends a delayed copy, so that the retry has a message of its own whose receive count starts anew. The message of an
    /// ordered job stays where it is: a copy would lose the job its place.
    async fn bring_back(&self, record: &SqsMessage, job: &Job, run_at: Timestamp) -> Verdict {
        let delay = wait_until(Some(run_at), self.clock.now());
        if self.is_ordered(record) {
            return self.show_again(record, delay).await;
        }
        self.send_copy(record, JobMessage::carrying(job, None, delay)).await
    }

    /// Sends a message in place of the one that was received, which is then done.
    pub(super) async fn send_copy(&self, record: &SqsMessage, copy: Message) -> Verdict {
        let delay = copy.delay;
        match self.lane(record).queue.send_one(copy).await {
            Ok(()) => Verdict::Acknowledge,
            Err(error) => {
                tracing::warn!(message_id = record.message_id, "no copy could be sent, the message stays: {error}");
                self.show_again(record, delay).await
            }
        }
    }

    /// The lane that a record has come by.
    pub(super) fn lane(&self, record: &SqsMessage) -> &OwnLane {
        self.queues.of(record.event_source_arn.as_deref())
    }

    pub(super) fn is_ordered(&self, record: &SqsMessage) -> bool {
        self.lane(record).lane == Lane::Ordered
    }

    pub(super) async fn show_again(&self, record: &SqsMessage, wait: Duration) -> Verdict {
        let wait = if self.is_ordered(record) { ordered::look(wait) } else { wait };
        if let Some(receipt) = &record.receipt_handle
            && let Err(error) = self.lane(record).queue.hide(receipt, wait).await
        {
            // Its own visibility timeout brings it back, later.
            tracing::warn!(message_id = record.message_id, "the visibility timeout could not be changed: {error}");
        }
        Verdict::Keep
    }

    async fn payload(&self, job: &Job) -> Result<Value, PortError> {
        match &job.payload {
            Stored::Inline(value) => Ok(value.clone()),
            Stored::Blob(key) => match self.blobs.get(key).await? {
                Some(bytes) => serde_json::from_slice(&bytes).map_err(|error| PortError::Corrupt(error.into())),
                None => Err(PortError::Corrupt(anyhow::anyhow!("the payload {key} is gone"))),
            },
        }
    }

    /// Puts a result where it belongs by its size.
    async fn keep(&self, job: &Job, value: Value) -> Result<Option<Stored>, PortError> {
        if value.is_null() {
            return Ok(None);
        }
        let text = value.to_string();
        if text.len() <= Stored::INLINE_MAX {
            return Ok(Some(Stored::Inline(value)));
        }
        let key = format!("results/{}-{}.json", job.id, job.fence);
        self.blobs.put(&key, text.into_bytes(), "application/json").await?;
        Ok(Some(Stored::Blob(key)))
    }
}

impl Invocation {
    /// How long the invocation is.
    fn whole(self) -> Duration {
        wait_until(Some(self.deadline), self.began)
    }
}

/// Back to the queue, or to the clock when SQS cannot hold it for so long. An ordered job's message never leaves its queue.
fn give_back(job: &Job, run_at: Timestamp, now: Timestamp, spent: bool, error: Option<JobError>) -> Event {
    // In whole milliseconds, as the table keeps it: or this write could not be told from another's when it is read back.
    let run_at = Timestamp::from_millisecond(run_at.as_millisecond()).unwrap_or(run_at);
    let far = wait_until(Some(run_at), now) > Message::MAX_DELAY;
    let by = if far && job.lane() != Lane::Ordered { Carrier::Clock } else { Carrier::Queue };
    Event::GiveBack { fence: job.fence, run_at, spent, by, error }
}

#[cfg(test)]
#[path = "runner_tests.rs"]
mod tests;
