use crate::domain::address::EmailAddress;
use crate::domain::id::{InvalidId, JobId, NewsletterId, SubscriberId, Tenant};
use crate::domain::local_time::Zone;
use crate::domain::sequence::Enrolment;
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use std::fmt;

/// Most tags on one subscriber.
pub const MAX_TAGS: usize = 20;
/// Longest tag, in characters.
pub const MAX_TAG_CHARS: usize = 64;

/// Tags, sorted, each once.
///
/// # Errors
/// What is wrong with them, for whoever gave them.
pub fn parse_tags(mut tags: Vec<String>) -> Result<Vec<String>, String> {
    let fine = |tag: &String| (1..=MAX_TAG_CHARS).contains(&tag.chars().count()) && !tag.chars().any(char::is_control);
    if !tags.iter().all(fine) {
        return Err(format!("a tag has 1 to {MAX_TAG_CHARS} characters, none of them control characters"));
    }
    tags.sort();
    tags.dedup();
    if tags.len() > MAX_TAGS {
        return Err(format!("there may be at most {MAX_TAGS} tags"));
    }
    Ok(tags)
}

/// How long an address is kept that was never confirmed.
pub const PENDING_KEPT: SignedDuration = SignedDuration::from_hours(30 * 24);

/// Whether a subscriber may be written to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SubscriberStatus {
    /// Was signed up and has not confirmed it: gets no letters.
    Pending,
    /// Gets letters.
    Active,
    /// Does not want letters any more: gets none.
    Unsubscribed,
}

impl SubscriberStatus {
    /// Every status.
    pub const ALL: [Self; 3] = [Self::Pending, Self::Active, Self::Unsubscribed];

    /// The stable name.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Active => "active",
            Self::Unsubscribed => "unsubscribed",
        }
    }

    /// Reads a stable name.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|status| status.as_str() == text)
    }
}

/// The proof that somebody wanted to be written to. It goes when the subscriber is erased.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Consent {
    /// Where it was given, as a form's URL or the name of a list.
    pub source: String,
    /// When.
    pub at: Timestamp,
    /// The network address it came from, when it was given to Millrace itself. It is kept as it is, because it is part of the
    /// proof; a hash proves nothing to a court.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ip: Option<String>,
    /// The version of the text that was agreed to, see [`CONSENT_TEXT`](super::sign_up::CONSENT_TEXT).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
    /// When and whence it was confirmed by the link sent to the address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub confirmed: Option<Confirmation>,
    /// The line it was imported by.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub import: Option<ImportLine>,
}

impl Consent {
    /// A consent that somebody else took and vouches for.
    #[must_use]
    pub fn told(source: impl Into<String>, at: Timestamp) -> Self {
        Self { source: source.into(), at, ip: None, text: None, confirmed: None, import: None }
    }
}

/// The second half of a double opt-in.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Confirmation {
    /// When.
    pub at: Timestamp,
    /// The network address it came from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ip: Option<String>,
}

/// A line of an imported file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImportLine {
    /// The job that imported it.
    pub job: JobId,
    /// The line, from 1.
    pub line: u64,
}

/// One address on one newsletter.
#[derive(Clone, PartialEq, Eq)]
pub struct Subscriber {
    /// Which newsletter and which address.
    pub key: SubscriberKey,
    /// Whose subscriber.
    pub tenant: Tenant,
    /// Where mail goes.
    pub email: EmailAddress,
    /// The name, when given.
    pub name: Option<String>,
    /// The time zone, when given.
    pub time_zone: Option<Zone>,
    /// Tags, sorted, each once.
    pub tags: Vec<String>,
    /// Whether it gets letters.
    pub status: SubscriberStatus,
    /// The consent, when it was told.
    pub consent: Option<Consent>,
    /// When it was added.
    pub created_at: Timestamp,
    /// When it unsubscribed.
    pub unsubscribed_at: Option<Timestamp>,
    /// How far it is in the newsletter's sequence, if it was ever enrolled in one.
    pub sequence: Option<Enrolment>,
}

impl Subscriber {
    /// The identifier.
    #[must_use]
    pub fn id(&self) -> SubscriberId {
        self.key.id()
    }

    /// When the subscription began that lasts now: subscribing anew begins another one.
    #[must_use]
    pub fn began(&self) -> Timestamp {
        let consent = self.consent.as_ref();
        consent
            .map_or(self.created_at, |consent| consent.confirmed.as_ref().map_or(consent.at, |confirmed| confirmed.at))
    }
}

impl fmt::Debug for Subscriber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Subscriber").field("key", &self.key).field("status", &self.status).finish_non_exhaustive()
    }
}

/// What is to be changed of a subscriber. `None` leaves a field as it is; `Some(None)` empties it.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct SubscriberChange {
    /// The name.
    pub name: Option<Option<String>>,
    /// The time zone.
    pub time_zone: Option<Option<Zone>>,
    /// Tags, sorted, each once.
    pub tags: Option<Vec<String>>,
}

impl SubscriberChange {
    /// Whether it changes nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// The subscriber with the change made.
    #[must_use]
    pub fn of(&self, subscriber: Subscriber) -> Subscriber {
        Subscriber {
            name: self.name.clone().unwrap_or(subscriber.name),
            time_zone: self.time_zone.clone().unwrap_or(subscriber.time_zone),
            tags: self.tags.clone().unwrap_or(subscriber.tags),
            ..subscriber
        }
    }
}

/// A subscriber's identifier in its two parts. One address on one newsletter always gives the same key.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SubscriberKey {
    newsletter: NewsletterId,
    digest: String,
}

impl SubscriberKey {
    /// The key of this address on this newsletter.
    #[must_use]
    pub fn of(newsletter: &NewsletterId, email: &EmailAddress) -> Self {
        Self { newsletter: newsletter.clone(), digest: email.digest(newsletter.as_str()) }
    }

    /// The key with this digest.
    ///
    /// # Errors
    /// When the digest is not 32 lower-case hex digits.
    pub fn new(newsletter: NewsletterId, digest: impl Into<String>) -> Result<Self, InvalidKey> {
        let digest = digest.into();
        if is_digest(&digest) { Ok(Self { newsletter, digest }) } else { Err(InvalidKey) }
    }

    /// The newsletter.
    #[must_use]
    pub fn newsletter(&self) -> &NewsletterId {
        &self.newsletter
    }

    /// What stands for the address: 32 lower-case hex digits.
    #[must_use]
    pub fn digest(&self) -> &str {
        &self.digest
    }

    /// The identifier: `sub_<the newsletter's>_<digest>`.
    #[must_use]
    pub fn id(&self) -> SubscriberId {
        let newsletter = &self.newsletter.as_str()[NewsletterId::PREFIX.len()..];
        // A newsletter's identifier that left no room for the digest would not have been created by `new` or `of`'s
        // callers; the derived one keeps the identifier well-formed all the same.
        SubscriberId::parse(format!("{}{newsletter}_{}", SubscriberId::PREFIX, self.digest))
            .unwrap_or_else(|_| SubscriberId::derived(&[newsletter, &self.digest]))
    }
}

fn is_digest(text: &str) -> bool {
    text.len() == 32 && text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
}

/// The text names no subscriber.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a subscriber id")]
pub struct InvalidKey;

impl From<InvalidId> for InvalidKey {
    fn from(_: InvalidId) -> Self {
        Self
    }
}

impl TryFrom<&SubscriberId> for SubscriberKey {
    type Error = InvalidKey;

    fn try_from(id: &SubscriberId) -> Result<Self, InvalidKey> {
        let rest = &id.as_str()[SubscriberId::PREFIX.len()..];
        let (newsletter, digest) = rest.rsplit_once('_').ok_or(InvalidKey)?;
        Self::new(NewsletterId::parse(format!("{}{newsletter}", NewsletterId::PREFIX))?, digest)
    }
}

/// Whom a campaign is for, among the active subscribers. Empty lists ask for nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Segment {
    /// At least one of these tags.
    #[serde(default)]
    pub tags_any: Vec<String>,
    /// All of these tags.
    #[serde(default)]
    pub tags_all: Vec<String>,
}

impl Segment {
    /// Whether a campaign with this segment takes the subscriber.
    #[must_use]
    pub fn takes(&self, subscriber: &Subscriber) -> bool {
        let has = |tag: &String| subscriber.tags.contains(tag);
        subscriber.status == SubscriberStatus::Active
            && (self.tags_any.is_empty() || self.tags_any.iter().any(has))
            && self.tags_all.iter().all(has)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_subscriber_id_reads_back_and_names_no_address() {
        let newsletter = NewsletterId::from_uuid(uuid::Uuid::from_u128(7));
        let email = EmailAddress::parse("Ada@example.com").unwrap();
        let key = SubscriberKey::of(&newsletter, &email);
        assert_eq!(SubscriberKey::try_from(&key.id()).unwrap(), key);
        assert_eq!(key, SubscriberKey::of(&newsletter, &EmailAddress::parse("ada@example.com").unwrap()));
        assert!(!key.id().as_str().contains("ada"));
        for bad in
            ["sub_1", "sub_1_2", "sub__0123456789abcdef0123456789abcdef", "sub_1_0123456789ABCDEF0123456789ABCDEF"]
        {
            assert!(SubscriberKey::try_from(&SubscriberId::parse(bad).unwrap()).is_err(), "{bad}");
        }
    }
}
