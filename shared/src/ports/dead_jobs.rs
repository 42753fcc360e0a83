use super::PortError;
use crate::domain::id::{JobId, Tenant};
use crate::domain::job::JobError;
use async_trait::async_trait;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// A death's place among those of its tenant, by the time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Death {
    /// When the job died.
    pub at: Timestamp,
    /// Which job.
    pub id: JobId,
}

/// A dead job, as the index of dead jobs shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeadJob {
    /// Which, and since when.
    pub death: Death,
    /// Its kind.
    pub kind: String,
    /// The caller's labels.
    pub tags: Vec<String>,
    /// Why it died.
    pub error: Option<JobError>,
}

/// The jobs that are dead.
#[async_trait]
pub trait DeadJobs: Send + Sync {
    /// At most `limit` (1 or more) of the tenant's dead jobs that died up to `until`, the longest dead first, that come after
    /// the place `after`. Fewer: there are no more. A job may appear late, and stay for a while after it was retried.
    async fn dead(
        &self,
        tenant: &Tenant,
        after: Option<&Death>,
        until: Timestamp,
        limit: usize,
    ) -> Result<Vec<DeadJob>, PortError>;
}
