use super::PortError;
use crate::domain::id::{CampaignId, NewsletterId, Tenant};
use async_trait::async_trait;

/// Whose campaigns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Whose<'a> {
    /// All of a tenant's.
    Tenant(&'a Tenant),
    /// A newsletter's.
    Newsletter(&'a NewsletterId),
}

/// The campaigns of a tenant and of a newsletter, by their identifiers, which sort by time.
#[async_trait]
pub trait CampaignList: Send + Sync {
    /// Lists a campaign. Idempotent. It is listed before it is stored: so a list may name one that does not exist, and never
    /// lacks one that does.
    async fn list(&self, tenant: &Tenant, newsletter: &NewsletterId, id: &CampaignId) -> Result<(), PortError>;

    /// At most `limit` campaigns, the newest first, older than `before`.
    async fn newest(
        &self,
        whose: Whose<'_>,
        before: Option<&CampaignId>,
        limit: usize,
    ) -> Result<Vec<CampaignId>, PortError>;
}
