use super::PortError;
use crate::domain::id::{NewsletterId, Tenant, UserId};
use crate::domain::people::{Newsletter, NewsletterChange, Subscriber, SubscriberChange, SubscriberKey, User};
use crate::domain::sequence::Enrolment;
use async_trait::async_trait;
use jiff::Timestamp;

/// What a put-if-absent came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Added<T> {
    /// It is stored.
    New,
    /// One with this identifier was there, and is unchanged; here it is.
    Exists(Box<T>),
}

/// The registered users.
#[async_trait]
pub trait Users: Send + Sync {
    /// Stores a user unless one with this identifier, that is, this tenant and address, is there.
    async fn add(&self, user: &User) -> Result<Added<User>, PortError>;

    /// Reads a user, as of the last write.
    async fn get(&self, id: &UserId) -> Result<Option<User>, PortError>;

    /// Notes that the welcome mail was accepted. The first time stays. `false` when there is no such user.
    async fn welcomed(&self, id: &UserId, at: Timestamp) -> Result<bool, PortError>;

    /// Removes a user. One that is not there is no error.
    async fn remove(&self, id: &UserId) -> Result<(), PortError>;
}

/// The newsletters.
#[async_trait]
pub trait Newsletters: Send + Sync {
    /// Stores a newsletter unless one with this identifier is there.
    async fn add(&self, newsletter: &Newsletter) -> Result<Added<Newsletter>, PortError>;

    /// Reads a newsletter, as of the last write.
    async fn get(&self, id: &NewsletterId) -> Result<Option<Newsletter>, PortError>;

    /// Changes a newsletter and gives it as it is now. `None` when there is none. Fields that are not changed keep what
    /// somebody else may write at the same time.
    async fn change(&self, id: &NewsletterId, change: &NewsletterChange) -> Result<Option<Newsletter>, PortError>;

    /// At most `limit` (1 to 100) of the tenant's newsletters whose identifiers come after `after`, in their order, which is
    /// that of their creation. Fewer: there are no more.
    async fn list(
        &self,
        tenant: &Tenant,
        after: Option<&NewsletterId>,
        limit: usize,
    ) -> Result<Vec<Newsletter>, PortError>;
}

/// Some of a newsletter's subscribers, in the order of their digests.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SubscriberPage {
    /// The subscribers.
    pub subscribers: Vec<Subscriber>,
    /// Whether there are none after them.
    pub last: bool,
}

/// The newsletters' subscribers.
#[async_trait]
pub trait Subscribers: Send + Sync {
    /// Stores a subscriber unless this address is on this newsletter already, whatever its status.
    async fn add(&self, subscriber: &Subscriber) -> Result<Added<Subscriber>, PortError>;

    /// Reads subscribers, as of the last write, at most 100. The answer has one entry for each key, in order.
    async fn get(&self, keys: &[SubscriberKey]) -> Result<Vec<Option<Subscriber>>, PortError>;

    /// Changes a subscriber and gives it as it is now. `None` when there is none. Fields that are not changed keep what
    /// somebody else may write at the same time.
    async fn change(&self, key: &SubscriberKey, change: &SubscriberChange) -> Result<Option<Subscriber>, PortError>;

    /// Makes a subscriber active, with the consent of `confirmed`, and its name and time zone if it has them. It is enrolled as
    /// `confirmed` is, unless it was enrolled before. One that is not there is added; one that is active is left as it is.
    /// Gives the one that is stored then.
    async fn confirm(&self, confirmed: &Subscriber) -> Result<Subscriber, PortError>;

    /// Writes how far a subscriber is in its sequence, if that is further than what is stored: see [`Enrolment::follows`].
    async fn advance(&self, key: &SubscriberKey, enrolment: &Enrolment) -> Result<(), PortError>;

    /// Removes a subscriber. One that is not there is no error.
    async fn remove(&self, key: &SubscriberKey) -> Result<(), PortError>;

    /// Unsubscribes. The first time stays. `false` when there is no such subscriber.
    async fn unsubscribe(&self, key: &SubscriberKey, at: Timestamp) -> Result<bool, PortError>;

    /// Reads at most `limit` subscribers of a newsletter whose digests come after `after`, of any status, as of the last
    /// write. Fewer than `limit` are not a sign of the end: `last` is.
    async fn page(
        &self,
        newsletter: &NewsletterId,
        after: Option<&str>,
        limit: usize,
    ) -> Result<SubscriberPage, PortError>;
}
