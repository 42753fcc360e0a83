use super::PortError;
use crate::domain::id::{JobId, Tenant};
use crate::domain::job::{Event, Job, Refused};
use async_trait::async_trait;
use jiff::Timestamp;

/// What a put-if-absent of a job came to.
#[derive(Debug, Clone, PartialEq)]
pub enum Created {
    /// The job is recorded.
    New,
    /// A job with this id was there; here it is.
    Exists(Box<Job>),
}

/// What came of an event.
#[derive(Debug, Clone, PartialEq)]
pub enum Applied {
    /// It happened; the job as it is now.
    Done(Box<Job>),
    /// It could not happen; why, and the job as it is.
    Refused(Refused, Box<Job>),
    /// There is no such job.
    Missing,
}

/// A scheduled job whose time is near.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DueJob {
    /// Which.
    pub id: JobId,
    /// Its time.
    pub run_at: Timestamp,
}

/// A job's place among its tenant's jobs, by the time it was accepted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecentJob {
    /// When it was accepted.
    pub created_at: Timestamp,
    /// Which.
    pub id: JobId,
}

/// The table of jobs.
#[async_trait]
pub trait Jobs: Send + Sync {
    /// Records a job unless its id is taken. A `Scheduled` job with `clock` set is found by [`Jobs::due`].
    async fn create(&self, job: &Job, clock: bool) -> Result<Created, PortError>;

    /// Reads a job, as of the last write.
    async fn get(&self, id: &JobId) -> Result<Option<Job>, PortError>;

    /// Lets `event` happen to the job, if [`crate::domain::job::transition`] allows it, in one atomic write.
    async fn apply(&self, id: &JobId, event: &Event, now: Timestamp) -> Result<Applied, PortError>;

    /// Reads jobs, in no order; those that are not there are left out. It may show a job as it was a moment ago.
    async fn get_many(&self, ids: &[JobId]) -> Result<Vec<Job>, PortError>;

    /// At most `limit` (1 or more) of the tenant's jobs, the newest first, that come after the place `after`. Fewer: there are
    /// no more. The order among jobs of one millisecond is any, but always the same. A job may appear late, and stay for a
    /// while after it was deleted.
    async fn recent(
        &self,
        tenant: &Tenant,
        after: Option<&RecentJob>,
        limit: usize,
    ) -> Result<Vec<RecentJob>, PortError>;

    /// At most `limit` jobs that wait for the clock and are due at `until`, earliest first within a shard. It may show a job
    /// that has just been released.
    async fn due(&self, until: Timestamp, limit: usize) -> Result<Vec<DueJob>, PortError>;
}
