//! A subscriber as the API shows it.

use jiff::Timestamp;
use millrace::domain::id::SubscriberId;
use millrace::domain::people::{Consent, Subscriber};
use millrace::domain::sequence::Enrolment;
use millrace::domain::suppression::Suppression;
use millrace::sequences;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// The proof of consent.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct ConsentView {
    /// Where it was given; `double opt-in` is the public form of Millrace.
    pub source: String,
    /// When.
    #[schema(value_type = String, format = DateTime)]
    pub at: Timestamp,
    /// The network address it was given from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ip: Option<String>,
    /// The version of the text that was agreed to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
    /// When it was confirmed by the link in the mail.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub confirmed_at: Option<Timestamp>,
    /// The network address it was confirmed from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub confirmed_ip: Option<String>,
    /// The job that imported it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub import: Option<String>,
    /// The line of the imported file, from 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub import_line: Option<u64>,
}

impl From<Consent> for ConsentView {
    fn from(consent: Consent) -> Self {
        let (confirmed_at, confirmed_ip) = consent.confirmed.map_or((None, None), |one| (Some(one.at), one.ip));
        let (import, import_line) =
            consent.import.map_or((None, None), |one| (Some(one.job.to_string()), Some(one.line)));
        Self {
            source: consent.source,
            at: consent.at,
            ip: consent.ip,
            text: consent.text,
            confirmed_at,
            confirmed_ip,
            import,
            import_line,
        }
    }
}

/// That an address gets no newsletter, whatever list it is on.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct SuppressionView {
    /// `complaint`, `bounce`, `soft_bounces`, `manual`, `erased` or `unsubscribed`.
    #[schema(example = "bounce")]
    pub reason: String,
    /// Since when.
    #[schema(value_type = String, format = DateTime)]
    pub at: Timestamp,
}

impl From<Suppression> for SuppressionView {
    fn from(suppression: Suppression) -> Self {
        Self { reason: suppression.reason.as_str().to_owned(), at: suppression.at }
    }
}

/// How far a subscriber is in the newsletter's sequence.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct EnrolmentView {
    /// Which edition of the sequence: `GET /v1/newsletters/{id}/sequence?edition=` shows it.
    #[schema(example = "5f2b9c0d7e1a4836b0c9d8e7f6a5b4c3")]
    pub edition: String,
    /// When it began.
    #[schema(value_type = String, format = DateTime)]
    pub started_at: Timestamp,
    /// How many steps it has.
    pub steps: u32,
    /// How many of them were taken up: each was sent, or its job tells why not.
    pub taken: u32,
    /// When the next step is due. Absent when all were taken up, or it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub next_at: Option<Timestamp>,
    /// The job of the next step. Cancelling it ends the sequence for this subscriber.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(example = "job_0197b3f2a4c87d0e9b61f2c35a7e4d18")]
    pub next_job: Option<String>,
    /// Why it ended before its last step: `unsubscribed`, `suppressed`, or `deleted` with the sequence. A step finds that when
    /// it is due.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended: Option<String>,
    /// When it ended so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub ended_at: Option<Timestamp>,
}

impl EnrolmentView {
    fn of(subscriber: &SubscriberId, enrolment: Enrolment) -> Self {
        Self {
            next_job: sequences::next_job(subscriber, &enrolment).map(String::from),
            edition: enrolment.edition,
            started_at: enrolment.started_at,
            steps: enrolment.steps,
            taken: enrolment.taken,
            next_at: enrolment.next_at,
            ended: enrolment.ended.map(|(why, _)| why.as_str().to_owned()),
            ended_at: enrolment.ended.map(|(_, at)| at),
        }
    }
}

/// A subscriber.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct SubscriberView {
    /// The identifier.
    #[schema(example = "sub_0197b3f2a4c87d0e9b61f2c35a7e4d18_5f2b9c0d7e1a4836b0c9d8e7f6a5b4c3")]
    pub id: String,
    /// The newsletter.
    pub newsletter: String,
    /// The address.
    #[schema(format = Email)]
    pub email: String,
    /// The name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The time zone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub time_zone: Option<String>,
    /// Tags, sorted.
    pub tags: Vec<String>,
    /// `pending`: waits for its confirmation; `active`: gets letters; `unsubscribed`.
    #[schema(example = "active")]
    pub status: String,
    /// The proof of consent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub consent: Option<ConsentView>,
    /// When it was added.
    #[schema(value_type = String, format = DateTime)]
    pub created_at: Timestamp,
    /// When it unsubscribed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub unsubscribed_at: Option<Timestamp>,
    /// How far it is in the newsletter's sequence. Absent when it was never in one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sequence: Option<EnrolmentView>,
    /// Why the address gets no letters although it may be active. Shown when one subscriber is read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub suppressed: Option<SuppressionView>,
}

impl From<Subscriber> for SubscriberView {
    fn from(subscriber: Subscriber) -> Self {
        let id = subscriber.id();
        Self {
            sequence: subscriber.sequence.map(|enrolment| EnrolmentView::of(&id, enrolment)),
            id: id.to_string(),
            newsletter: subscriber.key.newsletter().to_string(),
            email: subscriber.email.into(),
            name: subscriber.name,
            time_zone: subscriber.time_zone.map(|zone| zone.to_string()),
            tags: subscriber.tags,
            status: subscriber.status.as_str().to_owned(),
            consent: subscriber.consent.map(Into::into),
            created_at: subscriber.created_at,
            unsubscribed_at: subscriber.unsubscribed_at,
            suppressed: None,
        }
    }
}
