//! Sends the mails of a claimed chunk over its slot of time.

use futures::stream::{self, StreamExt as _};
use jiff::{SignedDuration, Timestamp};
use millrace::domain::chunk::Sent;
use millrace::ports::{Clock, Mail, MailError, Mailer};
use std::sync::Mutex;
use std::sync::PoisonError;
use std::time::Duration;

/// Mails under way at the same time.
const PARALLEL: usize = 20;

/// Why the rest of a chunk is not sent now, the gravest last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Stop {
    /// There was no time left.
    Time,
    /// The mail service was not reached.
    Unreachable,
    /// It asks to slow down.
    Throttled,
    /// The day's quota is used up.
    Quota,
    /// No mail will be accepted until somebody acts.
    Halted,
}

/// What sending came to.
pub(crate) struct Outcome {
    /// By the recipient's place in the chunk.
    pub(crate) sent: Vec<(usize, Sent)>,
    /// Why some were not sent, if some were not.
    pub(crate) stop: Option<Stop>,
}

/// When to send.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Schedule {
    /// When the first one starts.
    pub(crate) from: Timestamp,
    /// How far apart they start.
    pub(crate) every: SignedDuration,
    /// None starts after this.
    pub(crate) last_start: Timestamp,
    /// How long one may take; after that nobody knows what became of it.
    pub(crate) timeout: Duration,
}

/// Sends `mails` by the schedule. Once one is told to wait, those not begun are left.
pub(crate) async fn send(
    mailer: &dyn Mailer,
    clock: &dyn Clock,
    mails: Vec<(usize, Mail)>,
    schedule: Schedule,
) -> Outcome {
    let stop: Mutex<Option<Stop>> = Mutex::new(None);
    let stopped = || *stop.lock().unwrap_or_else(PoisonError::into_inner);
    let halt = |why: Stop| {
        let mut stop = stop.lock().unwrap_or_else(PoisonError::into_inner);
        *stop = (*stop).max(Some(why));
        Sent::NotYet
    };
    let sends = (0i32..).zip(mails).map(|(i, (place, mail))| {
        let (stopped, halt) = (&stopped, &halt);
        async move {
            let start = schedule.from + schedule.every * i;
            if let Ok(wait) = Duration::try_from(start.duration_since(clock.now())) {
                tokio::time::sleep(wait).await;
            }
            if stopped().is_some() {
                return (place, Sent::NotYet);
            }
            if clock.now() > schedule.last_start {
                return (place, halt(Stop::Time));
            }
            let sent = match tokio::time::timeout(schedule.timeout, mailer.send(&mail)).await {
                Ok(Ok(message_id)) => Sent::Accepted(message_id),
                Ok(Err(error)) => {
                    tracing::warn!(place, "a mail was not sent: {error}");
                    match error {
                        MailError::Throttled(_) => halt(Stop::Throttled),
                        MailError::Quota(_) => halt(Stop::Quota),
                        MailError::Halted(_) => halt(Stop::Halted),
                        MailError::NotSent(_) => halt(Stop::Unreachable),
                        MailError::Rejected(_) => Sent::Refused,
                        MailError::Unknown(_) => Sent::Unknown,
                    }
                }
                Err(_) => Sent::Unknown,
            };
            (place, sent)
        }
    });
    let sent = stream::iter(sends).buffer_unordered(PARALLEL).collect().await;
    Outcome { sent, stop: stopped() }
}
