//! Sending one mail once, over a queue that delivers at least once and a mail service without an idempotency key.
//!
//! The intent is recorded before the call and the outcome after it. Between the two lies the only doubt there is: a process
//! that died, or an answer that was lost. SES's own Send event carries the mail's tags and settles it; only when none has
//! come for `settle` is the mail sent once more.

use crate::job::Failure;
use crate::ports::{Mail, MailError, MailLedger, Mailer, Opened, PortError};
use anyhow::anyhow;
use jiff::{SignedDuration, Timestamp};
use std::time::Duration;

/// First look for a Send event after an attempt of unknown outcome. SES publishes within seconds.
const FIRST_LOOK: Duration = Duration::from_secs(5);
/// Wait when SES takes no mail at all: somebody has to act, or a day's quota has to recover.
const HALTED: Duration = Duration::from_secs(900);

/// The SES tag that names a single mail.
pub const NAME_TAG: &str = "mail";

/// The ledger and the mail service.
#[derive(Clone, Copy)]
pub struct Post<'a> {
    /// Where intents and outcomes are recorded.
    pub ledger: &'a dyn MailLedger,
    /// What sends.
    pub mailer: &'a dyn Mailer,
    /// How long a Send event may take, before a mail of unknown outcome is sent once more.
    pub settle: Duration,
}

/// Sends `mail`, known to the ledger as `name` (`[A-Za-z0-9_-]{1,256}`), unless it was sent before. Gives SES's message id.
/// The name goes with the mail as its tag [`NAME_TAG`], by which events find the ledger's entry.
///
/// # Errors
/// What the job should come to instead: a retry, a wait, or an end.
pub async fn send_once(post: Post<'_>, name: &str, mut mail: Mail, now: Timestamp) -> Result<String, Failure> {
    match post.ledger.open(name, now).await? {
        Opened::Fresh => {}
        Opened::Sent { message_id } => return Ok(message_id),
        Opened::Unsettled { since } => {
            let waited = Duration::try_from(now.duration_since(since).max(SignedDuration::ZERO)).unwrap_or_default();
            if waited < post.settle {
                // Looks get rarer: 5, 10, 20 seconds after the attempt and so on.
                return Err(Failure::Snooze(waited.max(FIRST_LOOK).min(post.settle.saturating_sub(waited))));
            }
            if !post.ledger.reopen(name, since, now).await? {
                return Err(Failure::Snooze(FIRST_LOOK));
            }
            tracing::warn!(mail = name, "no Send event came for a mail of unknown outcome: it is sent once more");
        }
    }
    mail.tags.push((NAME_TAG.to_owned(), name.to_owned()));
    match post.mailer.send(&mail).await {
        Ok(message_id) => {
            post.ledger.accepted(name, &message_id, now).await?;
            Ok(message_id)
        }
        Err(error) => Err(failure(post.ledger, name, error).await?),
    }
}

/// What the job comes to. Takes the intent back when the mail was surely not accepted.
async fn failure(ledger: &dyn MailLedger, name: &str, error: MailError) -> Result<Failure, PortError> {
    if !matches!(error, MailError::Unknown(_)) {
        ledger.withdraw(name).await?;
    }
    let why = anyhow!("{error}");
    Ok(match error {
        MailError::Throttled(_) => Failure::Throttled(None, why),
        MailError::NotSent(_) => Failure::Retry(why),
        MailError::Quota(_) | MailError::Sender(_) | MailError::Halted(_) => {
            tracing::error!(mail = name, "no mail can be sent: {error}");
            Failure::RetryAfter(HALTED, why)
        }
        MailError::Rejected(_) => Failure::Dead(why),
        MailError::Unknown(_) => Failure::RetryAfter(FIRST_LOOK, why),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{MemoryMailLedger, MemoryMailer};

    const SETTLE: Duration = Duration::from_secs(900);

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_800_000_000 + second).unwrap()
    }

    fn mail() -> Mail {
        Mail {
            from: "millrace@example.com".into(),
            reply_to: None,
            to: "ada@example.com".into(),
            subject: "Welcome".into(),
            text: "Hello".into(),
            html: "<p>Hello</p>".into(),
            headers: vec![],
            tags: vec![],
            tracked: false,
        }
    }

    async fn send(ledger: &MemoryMailLedger, mailer: &MemoryMailer, second: i64) -> Result<String, Failure> {
        let post = Post { ledger, mailer, settle: SETTLE };
        send_once(post, "job_1", mail(), at(second)).await
    }

    #[tokio::test]
    async fn a_second_attempt_sends_nothing() {
        let (ledger, mailer) = (MemoryMailLedger::default(), MemoryMailer::default());
        let first = send(&ledger, &mailer, 0).await.unwrap();
        assert_eq!(send(&ledger, &mailer, 1).await.unwrap(), first);
        assert_eq!(mailer.sent()[0].1.tags, [("mail".to_owned(), "job_1".to_owned())]);
        assert_eq!(mailer.sent().len(), 1);
    }

    #[tokio::test]
    async fn a_lost_answer_is_settled_by_the_event_and_not_by_a_second_mail() {
        let (ledger, mailer) = (MemoryMailLedger::default(), MemoryMailer::default());
        mailer.fail_next(true, MailError::Unknown("time-out".into()));
        assert!(matches!(send(&ledger, &mailer, 0).await, Err(Failure::RetryAfter(..))));
        assert!(matches!(send(&ledger, &mailer, 6).await, Err(Failure::Snooze(_))));
        ledger.accepted("job_1", "ses-1", at(7)).await.unwrap();
        assert_eq!(send(&ledger, &mailer, 20).await.unwrap(), "ses-1");
        assert_eq!(mailer.sent().len(), 1);
    }

    #[tokio::test]
    async fn without_an_event_it_is_sent_once_more_when_the_time_is_over() {
        let (ledger, mailer) = (MemoryMailLedger::default(), MemoryMailer::default());
        mailer.fail_next(false, MailError::Unknown("reset".into()));
        assert!(send(&ledger, &mailer, 0).await.is_err());
        assert!(matches!(send(&ledger, &mailer, 899).await, Err(Failure::Snooze(_))));
        assert!(send(&ledger, &mailer, 900).await.is_ok());
        assert_eq!(mailer.sent().len(), 1);
    }

    #[tokio::test]
    async fn a_crash_between_acceptance_and_record_is_settled_by_the_event() {
        let (ledger, mailer) = (MemoryMailLedger::default(), MemoryMailer::default());
        ledger.faults.refuse_next("accepted");
        assert!(send(&ledger, &mailer, 0).await.is_err());
        ledger.accepted("job_1", "ses-1", at(1)).await.unwrap();
        assert_eq!(send(&ledger, &mailer, 2).await.unwrap(), "ses-1");
        assert_eq!(mailer.sent().len(), 1);
    }

    #[tokio::test]
    async fn a_mail_that_was_surely_not_accepted_is_free_to_be_sent_again() {
        let errors = [
            MailError::Throttled("x".into()),
            MailError::NotSent("x".into()),
            MailError::Quota("x".into()),
            MailError::Halted("x".into()),
        ];
        for error in errors {
            let (ledger, mailer) = (MemoryMailLedger::default(), MemoryMailer::default());
            mailer.fail_next(false, error);
            assert!(!matches!(send(&ledger, &mailer, 0).await, Ok(_) | Err(Failure::Dead(_))));
            assert!(send(&ledger, &mailer, 1).await.is_ok());
        }
    }

    #[tokio::test]
    async fn a_rejected_mail_ends_its_job() {
        let (ledger, mailer) = (MemoryMailLedger::default(), MemoryMailer::default());
        mailer.fail_next(false, MailError::Rejected("BadRequestException".into()));
        assert!(matches!(send(&ledger, &mailer, 0).await, Err(Failure::Dead(_))));
    }
}
