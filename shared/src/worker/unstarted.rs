//! What becomes of a message whose job is not started: it cannot be read, its kind's limit is reached, or the claim was refused.

use super::batch::{Verdict, park};
use super::handlers::Entry;
use super::limits::{Before, Passed, Ticket};
use super::ordered;
use super::runner::Runner;
use crate::accept::wait_until;
use crate::domain::id::JobId;
use crate::domain::job::{Event, Job, JobError, Refused, State};
use crate::jobs::{JobMessage, UnreadableMessage};
use crate::ports::{Applied, Group, Message};
use aws_lambda_events::event::sqs::SqsMessage;
use std::time::Duration;

/// A message comes back after this, and at most twice this, when nobody could say whether its job may start.
const UNDECIDED_AGAIN: Duration = Duration::from_secs(5);

impl Runner {
    /// A message of another build's form names its job, which is then dead and can be retried. Any other is put aside.
    pub(super) async fn unreadable(&self, record: &SqsMessage, body: &str, error: &UnreadableMessage) -> Verdict {
        match (error, JobMessage::id_in(body)) {
            (UnreadableMessage::Version(_), Some(id)) => {
                self.condemn(record, &id, "unknown_version", &error.to_string()).await
            }
            _ => park(&*self.lane(record).dead_letters, record, &error.to_string()).await,
        }
    }

    /// Lets a job pass its kind's limits, or says what becomes of its message.
    pub(super) async fn admit(
        &self,
        handler: &Entry,
        record: &SqsMessage,
        message: &JobMessage,
    ) -> Result<Ticket, Verdict> {
        let ordered = self.is_ordered(record);
        let before = if ordered { Before::Shown(ordered::shown_before(record)) } else { Before::Told(message.waited) };
        match self.limiter.pass(handler, &message.tenant, before, &*self.clock, self.dice).await {
            Ok(Passed::Go(ticket)) => Ok(ticket),
            Ok(Passed::Wait(wait, waited)) => {
                tracing::info!(job = %message.id, kind = handler.kind, ms = wait.as_millis(), "waits for its rate limit");
                if ordered {
                    return Err(self.show_again(record, wait).await);
                }
                let (body, group) =
                    (JobMessage { waited, ..message.clone() }.body(), Group::Tenant(message.tenant.clone()));
                Err(self.send_copy(record, Message { body, delay: wait, group: Some(group) }).await)
            }
            Err(error) => {
                tracing::warn!(job = %message.id, kind = handler.kind, "the rate limits could not be asked: {error}");
                Err(self.show_again(record, UNDECIDED_AGAIN.mul_f64(1.0 + (self.dice)())).await)
            }
        }
    }

    pub(super) async fn refused(&self, record: &SqsMessage, message: &JobMessage, why: Refused, job: &Job) -> Verdict {
        let now = self.clock.now();
        match why {
            Refused::Final => Verdict::Acknowledge,
            Refused::Leased { until } => self.show_again(record, wait_until(Some(until), now)).await,
            Refused::NotYet { run_at } => {
                let wait = wait_until(Some(run_at), now);
                if job.state == State::Scheduled && wait > Message::MAX_DELAY && !self.is_ordered(record) {
                    return Verdict::Acknowledge; // the clock brings it
                }
                self.show_again(record, wait).await
            }
            Refused::Spent => {
                let note = "the last attempt ended without a word: its process was killed or ran out of time";
                self.condemn(record, &message.id, "crashed", note).await
            }
            Refused::Expired => self.condemn(record, &message.id, "expired", "not started before expires_at").await,
            Refused::CancelAsked => self.cancel(record, message).await,
            Refused::Lost | Refused::WrongState => Verdict::Keep,
        }
    }

    /// Ends a job that somebody wanted cancelled and whose worker died before it could stop.
    pub(super) async fn cancel(&self, record: &SqsMessage, message: &JobMessage) -> Verdict {
        let now = self.clock.now();
        match self.jobs.apply(&message.id, &Event::Cancel, now).await {
            Ok(Applied::Refused(Refused::Leased { until }, _)) => {
                self.show_again(record, wait_until(Some(until), now)).await
            }
            Ok(_) => {
                tracing::info!(job = %message.id, kind = message.kind, "cancelled");
                Verdict::Acknowledge
            }
            Err(error) => {
                tracing::warn!(job = %message.id, "the job could not be cancelled: {error}");
                Verdict::Keep
            }
        }
    }

    /// Ends a job that nobody owns and that may not be started.
    pub(super) async fn condemn(&self, record: &SqsMessage, id: &JobId, class: &str, note: &str) -> Verdict {
        let now = self.clock.now();
        let attempt = match self.jobs.get(id).await {
            Ok(job) => job.map_or(0, |job| job.attempt),
            Err(error) => {
                tracing::warn!(job = %id, "the job could not be read: {error}");
                return Verdict::Keep;
            }
        };
        let error = JobError::new(class, note, attempt, now);
        match self.jobs.apply(id, &Event::Condemn { error }, now).await {
            Ok(Applied::Refused(Refused::Leased { until }, _)) => {
                self.show_again(record, wait_until(Some(until), now)).await
            }
            Ok(_) => {
                tracing::error!(job = %id, class, "the job is dead");
                Verdict::Acknowledge
            }
            Err(error) => {
                tracing::warn!(job = %id, "the job could not be ended: {error}");
                Verdict::Keep
            }
        }
    }
}
