use super::{PortError, Written};
use crate::domain::id::Tenant;
use crate::domain::schedule::{Schedule, ScheduleName};
use async_trait::async_trait;
use jiff::Timestamp;

/// A schedule's place among those of its tenant, by the time it was first put.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SchedulePlace {
    /// When it was first put.
    pub created_at: Timestamp,
    /// Which.
    pub name: ScheduleName,
}

/// The schedules of recurring jobs.
#[async_trait]
pub trait Schedules: Send + Sync {
    /// Reads a schedule, as of the last write.
    async fn get(&self, tenant: &Tenant, name: &ScheduleName) -> Result<Option<Schedule>, PortError>;

    /// Writes `after` over `before`, if that version is the one stored; with no `before`, if there is none. When the answer to
    /// such a write was lost, the same call says `Done` again.
    async fn put(&self, before: Option<&Schedule>, after: &Schedule) -> Result<Written, PortError>;

    /// Deletes a schedule. `false` when there is none.
    async fn delete(&self, tenant: &Tenant, name: &ScheduleName) -> Result<bool, PortError>;

    /// At most `limit` (1-100) of the tenant's schedules, the latest put first, that come after the place `after`, and where to
    /// go on; `None` at the end. A schedule may appear late.
    async fn list(
        &self,
        tenant: &Tenant,
        after: Option<&SchedulePlace>,
        limit: usize,
    ) -> Result<(Vec<Schedule>, Option<SchedulePlace>), PortError>;

    /// At most `limit` schedules whose next tick comes by `until`, the earliest first. It may show one that has just ticked.
    async fn due(&self, until: Timestamp, limit: usize) -> Result<Vec<(Tenant, ScheduleName)>, PortError>;
}
