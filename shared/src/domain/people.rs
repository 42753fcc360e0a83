//! Users, newsletters and subscribers.

mod subscriber;

pub use subscriber::{
    Confirmation, Consent, ImportLine, InvalidKey, MAX_TAG_CHARS, MAX_TAGS, PENDING_KEPT, Segment, Subscriber,
    SubscriberChange, SubscriberKey, SubscriberStatus, parse_tags,
};

use super::address::{EmailAddress, Mailbox};
use super::id::{NewsletterId, Tenant, UserId};
use super::local_time::{SendTime, Weekdays, Zone};
use super::sequence::{Enrolment, Sequence};
use jiff::Timestamp;
use std::fmt;

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
    /// Whether its letters are shown to everybody, in an archive and a feed.
    pub archive: bool,
    /// Whether opens and clicks of its campaigns are counted.
    pub tracking: bool,
    /// The letters that whoever is subscribed gets first.
    pub sequence: Option<Sequence>,
    /// When it was created.
    pub created_at: Timestamp,
}

/// What is to be changed of a newsletter. `None` leaves a field as it is; `Some(None)` empties it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NewsletterChange {
    /// The title readers know.
    pub name: Option<String>,
    /// The From header.
    pub from: Option<Mailbox>,
    /// Where replies go.
    pub reply_to: Option<Option<Mailbox>>,
    /// The sender's postal address.
    pub postal_address: Option<String>,
    /// The zone of those who gave none.
    pub time_zone: Option<Zone>,
    /// The time of day letters go out.
    pub send_at: Option<SendTime>,
    /// The weekdays letters may go out.
    pub days: Option<Option<Weekdays>>,
    /// Whether its letters are shown to everybody.
    pub archive: Option<bool>,
    /// Whether opens and clicks of its campaigns are counted.
    pub tracking: Option<bool>,
    /// The letters that whoever is subscribed gets first.
    pub sequence: Option<Option<Sequence>>,
}

impl Newsletter {
    /// The enrolment in its sequence, if it has one, of somebody who is subscribed `now` and gave this zone.
    #[must_use]
    pub fn enrol(&self, zone: Option<&Zone>, now: Timestamp) -> Option<Enrolment> {
        self.sequence.as_ref().map(|sequence| sequence.enrol(zone.unwrap_or(&self.time_zone), now))
    }
}

impl NewsletterChange {
    /// The newsletter with the change made.
    #[must_use]
    pub fn of(&self, newsletter: Newsletter) -> Newsletter {
        Newsletter {
            name: self.name.clone().unwrap_or(newsletter.name),
            from: self.from.clone().unwrap_or(newsletter.from),
            reply_to: self.reply_to.clone().unwrap_or(newsletter.reply_to),
            postal_address: self.postal_address.clone().unwrap_or(newsletter.postal_address),
            time_zone: self.time_zone.clone().unwrap_or(newsletter.time_zone),
            send_at: self.send_at.unwrap_or(newsletter.send_at),
            days: self.days.unwrap_or(newsletter.days),
            archive: self.archive.unwrap_or(newsletter.archive),
            tracking: self.tracking.unwrap_or(newsletter.tracking),
            sequence: self.sequence.clone().unwrap_or(newsletter.sequence),
            ..newsletter
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_address_is_one_user_of_a_tenant() {
        let (one, two) = (Tenant::parse("a").unwrap(), Tenant::parse("b").unwrap());
        let email = EmailAddress::parse("Ada@example.com").unwrap();
        let same = EmailAddress::parse("ada@EXAMPLE.com").unwrap();
        assert_eq!(User::id_of(&one, &email), User::id_of(&one, &same));
        assert_ne!(User::id_of(&one, &email), User::id_of(&two, &email));
    }
}
