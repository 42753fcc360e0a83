//! Holding a job while its handler runs. The lease is short, so that a job whose worker died is soon taken up again; while
//! the worker lives it extends the lease, and its message's visibility with it, so that both end at the same time.
//!
//! The handler is run only within the lease. When the lease has ended, because the process was frozen or the table could not
//! be reached, the handler waits until a heartbeat has said that the job is still this worker's, and is dropped when it is
//! not. What the runtime cannot stop is a handler that blocks the thread: see [`Attempt`](super::handlers::Attempt).

use crate::accept::wait_until;
use crate::domain::job::{Event, Job};
use crate::ports::{Applied, Clock, Jobs, Queue};
use jiff::Timestamp;
use std::future::poll_fn;
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

/// A lease never outlives the invocation by more than this: then Lambda has ended the process, so the next owner is alone.
const MARGIN: Duration = Duration::from_secs(2);
/// Shortest lease: a slow call to the table must not cost a job.
const SHORTEST: Duration = Duration::from_secs(5);
/// Longest lease: how long a job waits at most for its worker's death to be noticed.
const LONGEST: Duration = Duration::from_secs(60);
/// A heartbeat that was not answered is repeated after this.
const AGAIN: Duration = Duration::from_secs(1);

/// How long a handler may go on whose job somebody wants cancelled. Then it is dropped, as at its time-out.
pub const CANCEL_GRACE: Duration = Duration::from_secs(10);

/// Until when a worker holds a job that it claims now, if its invocation ends at `deadline`: for half of the time that is left,
/// at least 5 s and at most a minute.
pub(super) fn first_lease(now: Timestamp, deadline: Timestamp) -> Timestamp {
    let half = wait_until(Some(deadline), now) / 2;
    lease_until(now, half.clamp(SHORTEST, LONGEST), deadline)
}

/// The end of a lease of this length, which is never more than 2 s beyond the end of the invocation.
fn lease_until(now: Timestamp, length: Duration, deadline: Timestamp) -> Timestamp {
    let until = (now + length).min(deadline + MARGIN);
    // As the table keeps it: what the worker believes must not be longer.
    Timestamp::from_millisecond(until.as_millisecond()).unwrap_or(until)
}

/// A job that a worker holds.
pub(super) struct Hold<'a> {
    pub(super) jobs: &'a dyn Jobs,
    /// The job as it was claimed.
    pub(super) job: &'a Job,
    /// The queue of its message, and the message's receipt.
    pub(super) message: Option<(&'a dyn Queue, &'a str)>,
    pub(super) clock: &'a dyn Clock,
    /// The end of the invocation.
    pub(super) deadline: Timestamp,
    /// Tells the handler that it should stop.
    pub(super) stop: watch::Sender<bool>,
}

/// What became of the work on a job.
pub(super) enum Held<T> {
    /// It is done.
    Done(T),
    /// The job is another worker's, or nobody's any more.
    Lost,
    /// Somebody wanted the job cancelled, and the handler has not stopped by itself.
    Overdue,
}

enum Beat {
    Extended { until: Timestamp, cancel: bool },
    Lost,
    Unanswered,
}

impl Hold<'_> {
    /// Does the work. The first heartbeat comes when a third of the lease is used up, so short work costs no call.
    pub(super) async fn during<T>(&self, work: impl Future<Output = T>) -> Held<T> {
        let mut work = pin!(work);
        let mut until = self.job.lease_until.unwrap_or(self.deadline);
        let length = wait_until(self.job.lease_until, self.job.started_at.unwrap_or(until));
        let mut beat_at = Instant::now() + length / 3;
        let mut drop_at: Option<Instant> = None;
        loop {
            let within_lease =
                poll_fn(|cx| if self.clock.now() < until { work.as_mut().poll(cx) } else { Poll::Pending });
            let next = async {
                match drop_at {
                    Some(drop_at) if drop_at <= beat_at => {
                        sleep_until(drop_at).await;
                        None
                    }
                    _ => {
                        sleep_until(beat_at).await;
                        Some(self.beat(length).await)
                    }
                }
            };
            let beat = tokio::select! {
                biased;
                beat = next => beat,
                done = within_lease => return Held::Done(done),
            };
            let now = Instant::now();
            match beat {
                None => return Held::Overdue,
                Some(Beat::Lost) => return Held::Lost,
                Some(Beat::Unanswered) => beat_at = now + AGAIN,
                Some(Beat::Extended { until: extended, cancel }) => {
                    until = extended;
                    beat_at = now + (length / 3).max(AGAIN);
                    if cancel && drop_at.is_none() {
                        tracing::info!(job = %self.job.id, kind = self.job.kind, "asked to stop");
                        self.stop.send_replace(true);
                        drop_at = Some(now + CANCEL_GRACE);
                    }
                }
            }
        }
    }

    async fn beat(&self, length: Duration) -> Beat {
        let now = self.clock.now();
        let until = lease_until(now, length, self.deadline);
        let event = Event::Heartbeat { fence: self.job.fence, lease_until: until };
        let cancel = match self.jobs.apply(&self.job.id, &event, now).await {
            Ok(Applied::Done(job)) => job.cancel_requested,
            Ok(Applied::Refused(..) | Applied::Missing) => return Beat::Lost,
            Err(error) => {
                tracing::warn!(job = %self.job.id, kind = self.job.kind, "the lease could not be extended: {error}");
                return Beat::Unanswered;
            }
        };
        // The message is shown again when the lease ends, however long the queue would hide it.
        if let Some((queue, receipt)) = self.message
            && let Err(error) = queue.hide(receipt, wait_until(Some(until), now)).await
        {
            tracing::warn!(job = %self.job.id, "the visibility timeout could not be changed: {error}");
        }
        Beat::Extended { until, cancel }
    }
}

#[cfg(test)]
#[path = "heartbeat_tests.rs"]
mod tests;
