//! The kind `sequence-step`: a letter of a newsletter's sequence to one subscriber.

use crate::handler::Desk;
use anyhow::anyhow;
use millrace::accept::Intake;
use millrace::domain::letter::Letterhead;
use millrace::domain::people::{Newsletter, Subscriber, SubscriberKey, SubscriberStatus};
use millrace::domain::sequence::{End, Enrolment, Step};
use millrace::job::{Failure, Outcome};
use millrace::jobs::SequenceStep;
use millrace::letters::{self, Letters, Links, Reader};
use millrace::ports::{Mail, PortError};
use millrace::sequences;
use millrace::worker::handlers::Attempt;
use serde_json::json;
use std::sync::Arc;

/// What sequences need beside the rest of the desk.
pub(crate) struct Course {
    pub(crate) desk: Arc<Desk>,
    pub(crate) letters: Arc<Letters>,
    /// Where the next step's job is put.
    pub(crate) intake: Intake,
}

fn not_sent(why: &str) -> Outcome {
    Ok(json!({ "sent": false, "why": why }))
}

/// What is stored under a name made of its content, and is not what it should be, is so at the next attempt too.
fn stored(error: PortError) -> Failure {
    match error {
        PortError::Corrupt(why) => Failure::Dead(why),
        other => other.into(),
    }
}

impl Course {
    /// Safe to run twice: the next step's job and the mail are named for the subscriber's enrolment and the step.
    pub(crate) async fn step(&self, job: SequenceStep, attempt: Attempt) -> Outcome {
        let door = &self.desk.door;
        let key = SubscriberKey::try_from(&job.subscriber).map_err(|error| Failure::Dead(error.into()))?;
        let found = door.subscribers.get(std::slice::from_ref(&key)).await?.pop().flatten();
        let Some(subscriber) = found.filter(|found| found.tenant == attempt.tenant) else {
            return not_sent("the subscriber is erased");
        };
        let enrolled = subscriber.sequence.clone().filter(|enrolment| enrolment.started_at == job.started_at);
        let Some(enrolment) = enrolled else {
            return not_sent("the subscriber was erased and came back");
        };
        let newsletter = door.newsletters.get(key.newsletter()).await?;
        let newsletter = newsletter.filter(|newsletter| newsletter.tenant == attempt.tenant);
        let end = self.end(&subscriber, &enrolment, newsletter.as_ref()).await?;
        let (None, Some(newsletter)) = (end, newsletter) else {
            let end = end.unwrap_or(End::Deleted);
            door.subscribers.advance(&key, &enrolment.ended(end, attempt.now())).await?;
            return not_sent(end.as_str());
        };
        let steps = sequences::load(&*self.intake.blobs, key.newsletter(), &enrolment.edition).await.map_err(stored)?;
        let steps = steps.ok_or_else(|| Failure::Dead(anyhow!("the edition of the sequence is not in the bucket")))?;
        let place = usize::try_from(job.step).unwrap_or(usize::MAX);
        let step = steps.get(place).ok_or_else(|| Failure::Dead(anyhow!("the sequence has no such step")))?;

        if enrolment.taken <= job.step {
            // The next one first: whatever becomes of this letter, it does not hold up those after it.
            let zone = subscriber.time_zone.as_ref().unwrap_or(&newsletter.time_zone);
            let next_at = steps.get(place + 1).map(|next| next.due(enrolment.started_at, zone));
            let after = enrolment.after(job.step, next_at);
            sequences::go_on(&self.intake, &subscriber, &after, attempt.now()).await?;
            door.subscribers.advance(&key, &after).await?;
        }
        let mail = self.letter(&subscriber, &newsletter, step).await?;
        let message_id = self.desk.send(&sequences::step_name(&job), mail, &attempt).await?;
        Ok(json!({ "message_id": message_id }))
    }

    /// Why nothing more is to be sent, if so.
    async fn end(
        &self,
        subscriber: &Subscriber,
        enrolment: &Enrolment,
        newsletter: Option<&Newsletter>,
    ) -> Result<Option<End>, PortError> {
        if let Some((end, _)) = enrolment.ended {
            return Ok(Some(end));
        }
        let sequence = newsletter.and_then(|newsletter| newsletter.sequence.as_ref());
        if sequence.is_none_or(|sequence| sequence.since > enrolment.started_at) {
            return Ok(Some(End::Deleted));
        }
        if subscriber.status != SubscriberStatus::Active {
            return Ok(Some(End::Unsubscribed));
        }
        let email = std::slice::from_ref(&subscriber.email);
        let suppressed = self.desk.door.suppressions.check(&subscriber.tenant, email).await?;
        Ok(suppressed.into_iter().flatten().next().map(|_| End::Suppressed))
    }

    /// The letter as it was when the subscriber was enrolled, from whom and with which address the newsletter has now.
    async fn letter(&self, subscriber: &Subscriber, newsletter: &Newsletter, step: &Step) -> Result<Mail, Failure> {
        let door = &self.desk.door;
        let ready = self.letters.get(&letters::key(&newsletter.id, &step.letter)).await.map_err(stored)?;
        let public_url = door.public_url.as_str();
        let unsubscribe_url = letters::unsubscribe_url(&door.tokens, public_url, &subscriber.tenant, &subscriber.id());
        let links = Links { public_url, unsubscribe_url: &unsubscribe_url, archive_url: None };
        let tags = vec![("sequence".to_owned(), newsletter.id.to_string())];
        let mail = ready.under(Letterhead::of(newsletter)).mail(Reader::from(subscriber), links, tags);
        mail.map_err(|error| Failure::Dead(error.into()))
    }
}

#[cfg(test)]
#[path = "sequence_tests.rs"]
mod tests;
