use super::PortError;
use crate::domain::id::Tenant;
use crate::domain::people::SubscriberKey;
use crate::domain::sign_up::SignUp;
use crate::domain::throttle::Limit;
use async_trait::async_trait;
use jiff::Timestamp;

/// Sign-ups that wait for their confirmation.
#[async_trait]
pub trait SignUps: Send + Sync {
    /// Stores a sign-up, unless the one that is there is younger than
    /// [`ASKED_AGAIN_AFTER`](crate::domain::sign_up::ASKED_AGAIN_AFTER). Gives the one that is stored then; its `first_at` is
    /// the one of the sign-up it replaced.
    async fn ask(&self, sign_up: &SignUp) -> Result<SignUp, PortError>;

    /// Reads a sign-up, as of the last write.
    async fn get(&self, key: &SubscriberKey) -> Result<Option<SignUp>, PortError>;

    /// Forgets a sign-up. One that is not there is no error.
    async fn forget(&self, key: &SubscriberKey) -> Result<(), PortError>;
}

/// How often people may ask for something. Who asked is kept as a keyed hash, and no longer than it counts.
#[async_trait]
pub trait Throttle: Send + Sync {
    /// Whether `subject` may, once more, by this limit; if so, it is counted. See [`Limit::take`], which it carries out
    /// atomically.
    async fn take(&self, limit: Limit, tenant: &Tenant, subject: &str, now: Timestamp) -> Result<bool, PortError>;
}
