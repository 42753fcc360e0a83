use super::{PortError, Written};
use crate::domain::hits::{HitCounts, ReaderHits, ReaderPlace};
use crate::domain::id::CampaignId;
use async_trait::async_trait;

/// What is to be written of one reader.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HitChange {
    /// The recipient's place in its chunk.
    pub place: usize,
    /// What was known; `None` when nothing was.
    pub before: Option<ReaderHits>,
    /// What is known now: something else.
    pub after: ReaderHits,
}

/// Opens and clicks of campaigns' mails, and how many readers they come from.
#[async_trait]
pub trait HitLedger: Send + Sync {
    /// What is known of readers, at most 100, as of the last write; `None` for whom no hit is known.
    async fn reader_hits(&self, places: &[ReaderPlace]) -> Result<Vec<Option<ReaderHits>>, PortError>;

    /// Writes what is known of readers of one chunk, at most its recipients and each once, if what was known is what is
    /// stored, and moves the campaign's counts by the difference: all in one transaction. When the answer to such a write was
    /// lost, the same call says `Done` again.
    async fn note_hits(&self, campaign: &CampaignId, chunk: u32, changes: &[HitChange]) -> Result<Written, PortError>;

    /// A campaign's counts: the sum over its readers.
    async fn hit_counts(&self, campaign: &CampaignId) -> Result<HitCounts, PortError>;
}
