//! Users, newsletters and subscribers.

use super::address::{EmailAddress, Mailbox};
use super::id::{InvalidId, NewsletterId, SubscriberId, Tenant, UserId};
use super::local_time::{SendTime, Weekdays, Zone};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::fmt;

/// Most tags on one subscriber.
pub const MAX_TAGS: usize = 20;
/// Longest tag, in characters.
pub const MAX_TAG_CHARS: usize = 64;

/// Somebody who registered.
#[derive(Clone, PartialEq, Eq)]
pub struct User {
    /// The identifier: follows from tenant and address, see [`User::id_of`].
    pub id: UserId,
    /// Whose user.
    pub tenant: Tenant,
    /// Where mail goes.
    pub email: EmailAddress,
    /// The name, when given.
    pub name: Option<String>,
    /// The time zone, when given.
    pub time_zone: Option<Zone>,
    /// When the user registered.
    pub created_at: Timestamp,
    /// When the welcome mail was accepted.
    pub welcomed_at: Option<Timestamp>,
}

impl User {
    /// The identifier of the user with this address: one address is one user.
    #[must_use]
    pub fn id_of(tenant: &Tenant, email: &EmailAddress) -> UserId {
        UserId::derived(&[tenant.as_str(), &email.normalised()])
    }
}

// Names and addresses stay out of whatever prints a value.
impl fmt::Debug for User {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("User").field("id", &self.id).field("welcomed_at", &self.welcomed_at).finish_non_exhaustive()
    }
}

/// What one subscribes to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Newsletter {
    /// The identifier.
    pub id: NewsletterId,
    /// Whose newsletter.
    pub tenant: Tenant,
    /// The title readers know.
    pub name: String,
    /// The From header.
    pub from: Mailbox,
    /// Where replies go, when not to `from`.
    pub reply_to: Option<Mailbox>,
    /// The sender's postal address, which the law wants in every letter.
    pub postal_address: String,
    /// The zone of those who gave none.
    pub time_zone: Zone,
    /// The time of day letters go out.
    pub send_at: SendTime,
    /// The weekdays letters may go out; `None` is every day.
    pub days: Option<Weekdays>,
    /// When it was created.
    pub created_at: Timestamp,
}

/// Whether a subscriber may be written to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SubscriberStatus {
    /// Gets letters.
    Active,
    /// Gets none.
    Unsubscribed,
}

impl SubscriberStatus {
    /// The stable name.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Unsubscribed => "unsubscribed",
        }
    }

    /// Reads a stable name.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Active, Self::Unsubscribed].into_iter().find(|status| status.as_str() == text)
    }
}

/// The proof that somebody wanted to be written to.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Consent {
    /// Where it was given, as a form's URL or the name of a list.
    pub source: String,
    /// When.
    pub at: Timestamp,
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
}

impl Subscriber {
    /// The identifier.
    #[must_use]
    pub fn id(&self) -> SubscriberId {
        self.key.id()
    }
}

impl fmt::Debug for Subscriber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Subscriber").field("key", &self.key).field("status", &self.status).finish_non_exhaustive()
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

    #[test]
    fn one_address_is_one_user_of_a_tenant() {
        let (one, two) = (Tenant::parse("a").unwrap(), Tenant::parse("b").unwrap());
        let email = EmailAddress::parse("Ada@example.com").unwrap();
        let same = EmailAddress::parse("ada@EXAMPLE.com").unwrap();
        assert_eq!(User::id_of(&one, &email), User::id_of(&one, &same));
        assert_ne!(User::id_of(&one, &email), User::id_of(&two, &email));
    }
}
