use super::PortError;
use crate::domain::id::JobId;
use async_trait::async_trait;
use jiff::Timestamp;
use serde_json::Value;

/// How far long jobs have come, so that the next attempt goes on where the last one was.
#[async_trait]
pub trait Checkpoints: Send + Sync {
    /// What was saved last for the job, as of the last write. `None` when nothing was.
    async fn load(&self, job: &JobId) -> Result<Option<Value>, PortError>;

    /// Saves `state`, at most 300 KB of JSON, in place of what was there. `fence` is that of the attempt
    /// ([`Attempt::fence`](crate::worker::handlers::Attempt::fence)). `false` when a later claim of the job has saved: then the
    /// lease was lost, and nothing is written.
    async fn save(&self, job: &JobId, fence: u64, state: &Value, now: Timestamp) -> Result<bool, PortError>;
}
