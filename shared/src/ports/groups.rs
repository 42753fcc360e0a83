use super::{Added, PortError};
use crate::domain::group::Group;
use crate::domain::id::GroupId;
use async_trait::async_trait;
use jiff::Timestamp;

/// The groups of jobs.
#[async_trait]
pub trait Groups: Send + Sync {
    /// Records a group unless its id is taken.
    async fn create(&self, group: &Group) -> Result<Added<Group>, PortError>;

    /// Reads a group, as of the last write.
    async fn get(&self, id: &GroupId) -> Result<Option<Group>, PortError>;

    /// Notes that all its jobs are on their queues. The first time stays.
    async fn accepted(&self, id: &GroupId, at: Timestamp) -> Result<(), PortError>;

    /// Gives it up, unless it is completed. The first time stays.
    async fn abandoned(&self, id: &GroupId, at: Timestamp) -> Result<(), PortError>;

    /// Takes jobs out of the set of those that are not over, which has no effect for one that is out already. Gives the
    /// group as it is then, `None` when there is none.
    async fn close(&self, id: &GroupId, jobs: &[u16]) -> Result<Option<Group>, PortError>;

    /// Notes that the job that follows is on its queue. The first time stays. It is kept for some time from then.
    async fn completed(&self, id: &GroupId, at: Timestamp) -> Result<(), PortError>;
}
