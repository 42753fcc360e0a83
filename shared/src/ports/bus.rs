use super::PortError;
use crate::domain::effects::JobEvent;
use async_trait::async_trait;

/// The bus that is told what happens to jobs.
#[async_trait]
pub trait Bus: Send + Sync {
    /// Tells it these events, each at least once. On an error some may have been told.
    async fn publish(&self, events: &[JobEvent]) -> Result<(), PortError>;
}
