use super::PortError;
use crate::domain::rate::{Bucket, Limit, Whose};
use async_trait::async_trait;

/// The limits that the operator has set, and the buckets of all limits.
#[async_trait]
pub trait Limits: Send + Sync {
    /// Every limit the operator has set, in no order. It may show them as they were a moment ago. What cannot be read as a
    /// limit is left out and logged: one entry that was spoilt by hand must not stop all work.
    async fn all(&self) -> Result<Vec<Limit>, PortError>;

    /// Sets a limit, in place of the one that is there.
    async fn set(&self, limit: &Limit) -> Result<(), PortError>;

    /// Removes a limit. `false`: there was none.
    async fn remove(&self, kind: &str, whose: &Whose) -> Result<bool, PortError>;

    /// Reads a bucket, as of the last write.
    async fn bucket(&self, name: &str) -> Result<Bucket, PortError>;

    /// Writes `after`, whose mark is new, over the bucket whose mark is that of `before`. When another stands there, nothing is
    /// written and it is given back. When the answer to such a write was lost, the same call says `Ok` again.
    async fn swap(&self, name: &str, before: &Bucket, after: &Bucket) -> Result<Result<(), Bucket>, PortError>;
}
