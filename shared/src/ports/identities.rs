use super::PortError;
use crate::domain::preflight::Identity;
use async_trait::async_trait;

/// The senders that the mail service knows.
#[async_trait]
pub trait Identities: Send + Sync {
    /// The identity of this name, an address or a domain. `None` when the mail service does not know it. SES answers this
    /// about once a second: ask seldom.
    async fn identity(&self, name: &str) -> Result<Option<Identity>, PortError>;
}
