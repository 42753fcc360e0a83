use super::PortError;
use crate::domain::id::{NewsletterId, UserId};
use crate::domain::people::{Newsletter, Subscriber, SubscriberKey, User};
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
}

/// The newsletters.
#[async_trait]
pub trait Newsletters: Send + Sync {
    /// Stores a newsletter unless one with this identifier is there.
    async fn add(&self, newsletter: &Newsletter) -> Result<Added<Newsletter>, PortError>;

    /// Reads a newsletter, as of the last write.
    async fn get(&self, id: &NewsletterId) -> Result<Option<Newsletter>, PortError>;
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
