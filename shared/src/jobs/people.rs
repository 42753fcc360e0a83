use crate::domain::id::{NewsletterId, SubscriberId, UserId};
use crate::domain::people::SubscriberStatus;
use crate::job::Job;
use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Send the welcome mail to a registered user, once.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Welcome {
    /// Who. The address is looked up when the mail is sent, so no queue holds it.
    #[schemars(with = "String", regex(pattern = "^usr_[A-Za-z0-9_-]+$"))]
    pub user: UserId,
}

impl Job for Welcome {
    const KIND: &'static str = "welcome";
    const MAX_ATTEMPTS: u32 = 10;
}

/// Send the mail that asks whether somebody wants the newsletter they were signed up to, once for each sign-up.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ConfirmSubscription {
    /// Who, on which newsletter. The address is looked up when the mail is sent, so no queue holds it.
    #[schemars(with = "String", regex(pattern = "^sub_[A-Za-z0-9_-]+$"))]
    pub subscriber: SubscriberId,
    /// When it was asked for.
    #[schemars(with = "String")]
    pub asked_at: Timestamp,
}

impl Job for ConfirmSubscription {
    const KIND: &'static str = "confirm-subscription";
    const MAX_ATTEMPTS: u32 = 10;
}

/// Send a subscriber one letter of the sequence it is enrolled in, once. Which letter that is, its enrolment says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SequenceStep {
    /// Who, on which newsletter. The address is looked up when the letter is sent, so no queue holds it.
    #[schemars(with = "String", regex(pattern = "^sub_[A-Za-z0-9_-]+$"))]
    pub subscriber: SubscriberId,
    /// When the enrolment began.
    #[schemars(with = "String")]
    pub started_at: Timestamp,
    /// Which step, from 0.
    pub step: u32,
}

impl Job for SequenceStep {
    const KIND: &'static str = "sequence-step";
    /// A step that is due when the day's quota is used up tries for longer than it takes to recover.
    const MAX_ATTEMPTS: u32 = 100;
}

/// Take in a list of subscribers, uploaded as CSV.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ImportSubscribers {
    /// To which newsletter.
    #[schemars(with = "String")]
    pub newsletter: NewsletterId,
    /// Where everybody on the list gave their consent.
    pub consent_source: String,
    /// When.
    #[schemars(with = "String")]
    pub consent_at: Timestamp,
    /// What to do with subscribers that are there already.
    pub existing: Existing,
    /// When it was asked for.
    #[schemars(with = "String")]
    pub created_at: Timestamp,
    /// Until when the file may be uploaded.
    #[schemars(with = "String")]
    pub upload_until: Timestamp,
}

/// What an import does with an address that is on the newsletter already. It never subscribes one that unsubscribed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Existing {
    /// It stays as it is.
    Keep,
    /// It gets the name, the time zone and the tags that its line has. What a line does not have stays.
    Update,
}

impl Job for ImportSubscribers {
    const KIND: &'static str = "import-subscribers";
    const MAX_ATTEMPTS: u32 = 10;
}

/// Write a newsletter's subscribers to a CSV file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ExportSubscribers {
    /// Of which newsletter.
    #[schemars(with = "String")]
    pub newsletter: NewsletterId,
    /// Only those of this status.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub status: Option<SubscriberStatus>,
    /// Only those with this tag.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tag: Option<String>,
}

impl Job for ExportSubscribers {
    const KIND: &'static str = "export-subscribers";
    const MAX_ATTEMPTS: u32 = 10;
}
