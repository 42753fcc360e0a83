use super::Faults;
use crate::domain::hits::{HitCounts, ReaderHits, ReaderPlace};
use crate::domain::id::CampaignId;
use crate::ports::{HitChange, HitLedger, PortError, Written};
use async_trait::async_trait;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

#[derive(Default)]
struct Inner {
    readers: BTreeMap<ReaderPlace, ReaderHits>,
    counts: BTreeMap<CampaignId, HitCounts>,
}

/// Opens and clicks in memory.
#[derive(Clone, Default)]
pub struct MemoryHits {
    inner: Arc<Mutex<Inner>>,
    /// What goes wrong with each call.
    pub faults: Faults,
}

impl MemoryHits {
    fn with<T>(&self, work: impl FnOnce(&mut Inner) -> T) -> T {
        work(&mut self.inner.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// A campaign's counts, worked out from its readers.
    #[must_use]
    pub fn counted(&self, campaign: &CampaignId) -> HitCounts {
        let of = |(place, hits): (&ReaderPlace, &ReaderHits)| (place.campaign == *campaign).then(|| hits.counts());
        self.with(|inner| inner.readers.iter().filter_map(of).sum())
    }
}

#[async_trait]
impl HitLedger for MemoryHits {
    async fn reader_hits(&self, places: &[ReaderPlace]) -> Result<Vec<Option<ReaderHits>>, PortError> {
        self.faults.before("reader hits").await?;
        Ok(self.with(|inner| places.iter().map(|place| inner.readers.get(place).cloned()).collect()))
    }

    async fn note_hits(&self, campaign: &CampaignId, chunk: u32, changes: &[HitChange]) -> Result<Written, PortError> {
        self.faults.before("note hits").await?;
        let at = |change: &HitChange| ReaderPlace { campaign: campaign.clone(), chunk, place: change.place };
        let written = self.with(|inner| {
            if changes.iter().all(|change| inner.readers.get(&at(change)) == Some(&change.after)) {
                return Written::Done;
            }
            if changes.iter().any(|change| inner.readers.get(&at(change)) != change.before.as_ref()) {
                return Written::Stale;
            }
            for change in changes {
                let before = change.before.as_ref().map(ReaderHits::counts).unwrap_or_default();
                let counts = inner.counts.entry(campaign.clone()).or_default();
                *counts = *counts + change.after.counts() - before;
                inner.readers.insert(at(change), change.after.clone());
            }
            Written::Done
        });
        self.faults.after("note hits").await?;
        Ok(written)
    }

    async fn hit_counts(&self, campaign: &CampaignId) -> Result<HitCounts, PortError> {
        self.faults.before("hit counts").await?;
        Ok(self.with(|inner| inner.counts.get(campaign).copied().unwrap_or_default()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::conformance;
    use jiff::Timestamp;

    #[tokio::test]
    async fn hits_in_memory_conform() {
        conformance::hits(&MemoryHits::default(), "memory", Timestamp::UNIX_EPOCH).await;
    }
}
