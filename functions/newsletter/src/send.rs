//! Sends the mails of a claimed chunk over its slot of time.

use futures::future::{self, Either};
use futures::stream::{self, StreamExt as _};
use jiff::{SignedDuration, Timestamp};
use millrace::domain::chunk::Sent;
use millrace::ports::{Clock, Mail, MailError, Mailer};
use std::future::Future;
use std::pin::pin;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::Notify;

/// Mails under way at the same time: a whole chunk, for at high rates SES's answers take longer than the slot.
const PARALLEL: usize = 50;

/// Why the rest of a chunk is not sent now, the gravest last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Stop {
    /// There was no time left.
    Time,
    /// The campaign has another rate.
    Rate,
    /// The campaign was stopped.
    Stopped,
    /// The mail service was not reached.
    Unreachable,
    /// It asks to slow down.
    Throttled,
    /// The day's quota is used up.
    Quota,
    /// No mail of this sender will be accepted until somebody acts.
    Sender,
    /// No mail at all will be.
    Account,
}

/// What sending came to.
pub(crate) struct Outcome {
    /// By the recipient's place in the chunk.
    pub(crate) sent: Vec<(usize, Sent)>,
    /// Why some were not sent, if some were not.
    pub(crate) stop: Option<Stop>,
    /// SES's code for that.
    pub(crate) code: Option<String>,
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

/// Why the rest is left, once something says so.
#[derive(Default)]
struct Halt {
    said: Mutex<Option<(Stop, Option<String>)>>,
    notify: Notify,
}

impl Halt {
    fn lock(&self) -> MutexGuard<'_, Option<(Stop, Option<String>)>> {
        self.said.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn say(&self, why: Stop, code: Option<String>) -> Sent {
        let mut said = self.lock();
        if said.as_ref().is_none_or(|(before, _)| *before < why) {
            *said = Some((why, code));
        }
        self.notify.notify_waiters();
        Sent::NotYet
    }

    /// Sleeps for so long, or until the rest is left.
    async fn sleep(&self, wait: Duration) {
        // Made before the look: what is said in between wakes it too.
        let told = pin!(self.notify.notified());
        if !self.is_said() {
            future::select(pin!(tokio::time::sleep(wait)), told).await;
        }
    }

    fn is_said(&self) -> bool {
        self.lock().is_some()
    }
}

/// Sends `mails` by the schedule. Once one is told to wait, or `stopped` comes to its end, those not begun are left.
pub(crate) async fn send(
    mailer: &dyn Mailer,
    clock: &dyn Clock,
    mails: &[(usize, Mail)],
    schedule: Schedule,
    stopped: impl Future<Output = Stop>,
) -> Outcome {
    let halt = Halt::default();
    let mut sends = Vec::new();
    let mut start = schedule.from;
    for (place, mail) in mails {
        let halt = &halt;
        sends.push(async move {
            if let Ok(wait) = Duration::try_from(start.duration_since(clock.now())) {
                halt.sleep(wait).await;
            }
            if halt.is_said() {
                return (*place, Sent::NotYet);
            }
            if clock.now() > schedule.last_start {
                return (*place, halt.say(Stop::Time, None));
            }
            let sent = match tokio::time::timeout(schedule.timeout, mailer.send(mail)).await {
                Ok(Ok(message_id)) => Sent::Accepted(message_id),
                Ok(Err(error)) => {
                    tracing::warn!(place, "a mail was not sent: {error}");
                    match error {
                        MailError::Throttled(code) => halt.say(Stop::Throttled, Some(code)),
                        MailError::Quota(code) => halt.say(Stop::Quota, Some(code)),
                        MailError::Sender(code) => halt.say(Stop::Sender, Some(code)),
                        MailError::Halted(code) => halt.say(Stop::Account, Some(code)),
                        MailError::NotSent(_) => halt.say(Stop::Unreachable, None),
                        MailError::Rejected(code) => Sent::Refused(code),
                        MailError::Unknown(_) => Sent::Unknown,
                    }
                }
                Err(_) => Sent::Unknown,
            };
            (*place, sent)
        });
        start += schedule.every;
    }
    let sends = pin!(stream::iter(sends).buffer_unordered(PARALLEL).collect::<Vec<_>>());
    let sent = match future::select(sends, pin!(stopped)).await {
        Either::Left((sent, _)) => sent,
        Either::Right((why, sends)) => {
            halt.say(why, None);
            sends.await
        }
    };
    let (stop, code) = halt.lock().take().unzip();
    Outcome { sent, stop, code: code.flatten() }
}
