//! Welcome sequences: their editions in the bucket, and the jobs that send their steps.
//!
//! A subscriber has one job at a time: each step's job makes the next one's before it sends. So a step that fails holds up no
//! later one, and one that finds its reader gone is the last.

use crate::accept::{Intake, NewJob, SubmitError, submit};
use crate::domain::id::{JobId, NewsletterId, SubscriberId, digest_hex};
use crate::domain::lane::Priority;
use crate::domain::people::{Subscriber, SubscriberStatus};
use crate::domain::sequence::{Enrolment, Sequence, Step};
use crate::job::Job as _;
use crate::jobs::SequenceStep;
use crate::own_job::own_job;
use crate::ports::{Blobs, PortError};
use jiff::Timestamp;

fn edition_key(newsletter: &NewsletterId, edition: &str) -> String {
    format!("letters/{newsletter}/sequence-{edition}.json")
}

/// Writes a sequence's edition, if it is not there. Its letters are there before it.
///
/// # Errors
/// When the bucket does not take it.
pub async fn store(blobs: &dyn Blobs, newsletter: &NewsletterId, sequence: &Sequence) -> Result<(), PortError> {
    let body = serde_json::to_vec(&sequence.steps).map_err(|error| PortError::Refused(error.into()))?;
    let key = edition_key(newsletter, &sequence.edition());
    blobs.put_new(&key, body, "application/json").await.map(drop)
}

/// The steps of an edition; `None` when the newsletter never had it.
///
/// # Errors
/// When the bucket cannot be read, or holds something else.
pub async fn load(blobs: &dyn Blobs, newsletter: &NewsletterId, edition: &str) -> Result<Option<Vec<Step>>, PortError> {
    let body = blobs.get(&edition_key(newsletter, edition)).await?;
    let corrupt = |_| PortError::Corrupt(anyhow::anyhow!("the edition of a sequence cannot be read"));
    body.map(|body| serde_json::from_slice(&body).map_err(corrupt)).transpose()
}

/// What a step is known by wherever it must happen once. It names no address, and is fit to be the tag of a mail.
#[must_use]
pub fn step_name(step: &SequenceStep) -> String {
    let (started, number) = (step.started_at.as_millisecond().to_string(), step.step.to_string());
    format!("sequence-{}", digest_hex(&[step.subscriber.as_str(), &started, &number]))
}

/// The job of a subscriber's next step, if there is one.
#[must_use]
pub fn next_job(subscriber: &SubscriberId, enrolment: &Enrolment) -> Option<JobId> {
    enrolment.next_at.map(|_| job_id(&step(subscriber, enrolment)))
}

fn step(subscriber: &SubscriberId, enrolment: &Enrolment) -> SequenceStep {
    SequenceStep { subscriber: subscriber.clone(), started_at: enrolment.started_at, step: enrolment.taken }
}

fn job_id(step: &SequenceStep) -> JobId {
    JobId::derived(&[SequenceStep::KIND, &step_name(step)])
}

/// Submits the first step of whoever was just enrolled. Done before is as good: it is the same job. Nothing is done for those
/// who are in no sequence, or past its first step.
///
/// # Errors
/// When the job was not accepted. The subscriber is enrolled all the same, and the same call makes it good.
pub async fn begin(intake: &Intake, subscriber: &Subscriber, now: Timestamp) -> Result<(), SubmitError> {
    let enrolment = subscriber.sequence.as_ref().filter(|enrolment| enrolment.taken == 0);
    match enrolment {
        Some(enrolment) if subscriber.status == SubscriberStatus::Active => {
            go_on(intake, subscriber, enrolment, now).await
        }
        _ => Ok(()),
    }
}

/// Submits the next step of an enrolment, if there is one.
///
/// # Errors
/// When the job was not accepted.
pub async fn go_on(
    intake: &Intake,
    subscriber: &Subscriber,
    enrolment: &Enrolment,
    now: Timestamp,
) -> Result<(), SubmitError> {
    let Some(due) = enrolment.next_at else { return Ok(()) };
    let step = step(&subscriber.id(), enrolment);
    // Who has just registered or signed up is waited on by a person; a letter of a sequence is not.
    let new = NewJob {
        priority: Priority::Low,
        tags: vec![subscriber.key.newsletter().to_string()],
        ..own_job(job_id(&step), &subscriber.tenant, &step, Some(due))
    };
    submit(intake, new, now).await.map(drop)
}
