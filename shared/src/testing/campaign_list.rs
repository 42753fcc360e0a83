use crate::domain::id::{CampaignId, NewsletterId, Tenant};
use crate::ports::{CampaignList, PortError, Whose};
use async_trait::async_trait;
use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};

/// Lists of campaigns in memory.
#[derive(Clone, Default)]
pub struct MemoryCampaignList {
    listed: Arc<Mutex<BTreeSet<(CampaignId, Tenant, NewsletterId)>>>,
    /// What goes wrong with each call.
    pub faults: super::Faults,
}

#[async_trait]
impl CampaignList for MemoryCampaignList {
    async fn list(&self, tenant: &Tenant, newsletter: &NewsletterId, id: &CampaignId) -> Result<(), PortError> {
        self.faults.before("list").await?;
        let entry = (id.clone(), tenant.clone(), newsletter.clone());
        self.listed.lock().unwrap_or_else(PoisonError::into_inner).insert(entry);
        self.faults.after("list").await
    }

    async fn newest(
        &self,
        whose: Whose<'_>,
        before: Option<&CampaignId>,
        limit: usize,
    ) -> Result<Vec<CampaignId>, PortError> {
        self.faults.before("newest").await?;
        let listed = self.listed.lock().unwrap_or_else(PoisonError::into_inner);
        let fits = |(id, tenant, newsletter): &&(CampaignId, Tenant, NewsletterId)| {
            before.is_none_or(|before| id < before)
                && match whose {
                    Whose::Tenant(wanted) => tenant == wanted,
                    Whose::Newsletter(wanted) => newsletter == wanted,
                }
        };
        Ok(listed.iter().rev().filter(fits).map(|(id, ..)| id.clone()).take(limit).collect())
    }
}
