use super::Faults;
use crate::domain::campaign::{Campaign, Counts, Frozen};
use crate::domain::chunk::{Chunk, ChunkStatus};
use crate::domain::id::CampaignId;
use crate::ports::{Added, CampaignView, Campaigns, Chunks, DueItem, PortError, Written};
use async_trait::async_trait;
use jiff::Timestamp;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};

type ChunkKey = (CampaignId, u32);

#[derive(Default)]
struct Inner {
    campaigns: BTreeMap<CampaignId, (Campaign, Counts)>,
    chunks: BTreeMap<ChunkKey, Chunk>,
    /// Chunks to be looked at, by their time: pending ones by campaign, the others together.
    pending: BTreeSet<(CampaignId, Timestamp, u32)>,
    waiting: BTreeSet<(Timestamp, CampaignId, u32)>,
}

/// Campaigns and their chunks in memory. Their guards are the version and the fence.
#[derive(Clone, Default)]
pub struct MemoryCampaigns {
    inner: Arc<Mutex<Inner>>,
    /// What goes wrong with each call.
    pub faults: Faults,
}

impl MemoryCampaigns {
    fn with<T>(&self, work: impl FnOnce(&mut Inner) -> T) -> T {
        work(&mut self.inner.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Every chunk of a campaign, by number.
    #[must_use]
    pub fn chunks_of(&self, campaign: &CampaignId) -> Vec<Chunk> {
        self.with(|inner| inner.chunks.values().filter(|chunk| chunk.campaign == *campaign).cloned().collect())
    }
}

impl Inner {
    /// Stores a chunk, and where it is found by its time.
    fn keep(&mut self, chunk: Chunk) {
        let key = key(&chunk);
        self.index(&key, false);
        self.chunks.insert(key.clone(), chunk);
        self.index(&key, true);
    }

    fn index(&mut self, key: &ChunkKey, there: bool) {
        let Some(chunk) = self.chunks.get(key) else { return };
        let Some(at) = chunk.attention_at else { return };
        let (id, number) = (chunk.campaign.clone(), chunk.number);
        match (chunk.status == ChunkStatus::Pending, there) {
            (true, true) => self.pending.insert((id, at, number)),
            (true, false) => self.pending.remove(&(id, at, number)),
            (false, true) => self.waiting.insert((at, id, number)),
            (false, false) => self.waiting.remove(&(at, id, number)),
        };
    }

    /// Changes when a pending chunk is looked at, and whether it is on the queue.
    fn put_off(&mut self, chunk: &Chunk, queued: bool, at: Timestamp, from: Option<Timestamp>) -> Written {
        let Some(stored) = self.chunks.get(&key(chunk)) else { return Written::Stale };
        let expected = stored.status == ChunkStatus::Pending
            && stored.fence == chunk.fence
            && (from.is_none() || stored.attention_at == from || stored.attention_at == Some(at));
        if !expected {
            return Written::Stale;
        }
        let put_off = Chunk { attention_at: Some(at), queued, ..stored.clone() };
        self.keep(put_off);
        Written::Done
    }

    fn replace(&mut self, before: &Campaign, after: &Campaign) -> Written {
        match self.campaigns.get_mut(&after.id) {
            Some((campaign, _)) if campaign.version == before.version => {
                *campaign = after.clone();
                Written::Done
            }
            Some((campaign, _)) if campaign == after => Written::Done,
            _ => Written::Stale,
        }
    }
}

#[async_trait]
impl Campaigns for MemoryCampaigns {
    async fn create(&self, campaign: &Campaign) -> Result<Added<Campaign>, PortError> {
        self.faults.before("create").await?;
        let added = self.with(|inner| match inner.campaigns.get(&campaign.id) {
            Some((old, _)) => Added::Exists(Box::new(old.clone())),
            None => {
                inner.campaigns.insert(campaign.id.clone(), (campaign.clone(), Counts::default()));
                Added::New
            }
        });
        self.faults.after("create").await?;
        Ok(added)
    }

    async fn get(&self, id: &CampaignId) -> Result<Option<CampaignView>, PortError> {
        self.faults.before("campaign").await?;
        Ok(self.with(|inner| {
            let (campaign, counts) = inner.campaigns.get(id)?.clone();
            Some(CampaignView { campaign, counts })
        }))
    }

    async fn meta(&self, id: &CampaignId) -> Result<Option<Campaign>, PortError> {
        self.faults.before("meta").await?;
        Ok(self.with(|inner| inner.campaigns.get(id).map(|(campaign, _)| campaign.clone())))
    }

    async fn update(&self, before: &Campaign, after: &Campaign) -> Result<Written, PortError> {
        self.faults.before("update").await?;
        let written = self.with(|inner| inner.replace(before, after));
        self.faults.after("update").await?;
        Ok(written)
    }

    async fn freeze(&self, before: &Campaign, page: &Frozen) -> Result<Written, PortError> {
        self.faults.before("freeze").await?;
        let written = self.with(|inner| {
            let repeated = inner.campaigns.get(&before.id).is_some_and(|(campaign, _)| *campaign == page.campaign);
            let taken = page.chunks.iter().any(|chunk| inner.chunks.contains_key(&key(chunk)));
            if repeated {
                return Written::Done;
            }
            if taken || inner.replace(before, &page.campaign) == Written::Stale {
                return Written::Stale;
            }
            let added: Counts = page.chunks.iter().map(Chunk::counts).sum();
            page.chunks.iter().for_each(|chunk| inner.keep(chunk.clone()));
            if let Some((_, counts)) = inner.campaigns.get_mut(&before.id) {
                *counts = *counts + added;
            }
            Written::Done
        });
        self.faults.after("freeze").await?;
        Ok(written)
    }

    async fn active(&self, limit: usize) -> Result<Vec<CampaignId>, PortError> {
        self.faults.before("active").await?;
        Ok(self.with(|inner| {
            let active = inner.campaigns.values().filter(|(campaign, _)| campaign.state.sends());
            active.map(|(campaign, _)| campaign.id.clone()).take(limit).collect()
        }))
    }

    async fn due(&self, until: Timestamp, limit: usize) -> Result<Vec<DueItem>, PortError> {
        self.faults.before("due").await?;
        let mut due: Vec<(Timestamp, DueItem)> = self.with(|inner| {
            let campaigns = inner.campaigns.values().filter_map(|(campaign, _)| {
                let at = campaign.attention_at.filter(|at| *at <= until)?;
                Some((at, DueItem::Campaign(campaign.id.clone())))
            });
            let waiting = inner.waiting.iter().take_while(|(at, ..)| *at <= until).take(limit);
            let chunks = waiting.map(|(at, id, number)| (*at, DueItem::Chunk(id.clone(), *number)));
            campaigns.chain(chunks).collect()
        });
        due.sort_by_key(|(at, _)| *at);
        Ok(due.into_iter().take(limit).map(|(_, item)| item).collect())
    }
}

fn key(chunk: &Chunk) -> ChunkKey {
    (chunk.campaign.clone(), chunk.number)
}

#[async_trait]
impl Chunks for MemoryCampaigns {
    async fn get(&self, campaign: &CampaignId, number: u32) -> Result<Option<Chunk>, PortError> {
        self.faults.before("chunk").await?;
        Ok(self.with(|inner| inner.chunks.get(&(campaign.clone(), number)).cloned()))
    }

    async fn range(&self, campaign: &CampaignId, numbers: Range<u32>) -> Result<Vec<Chunk>, PortError> {
        self.faults.before("range").await?;
        let (from, to) = ((campaign.clone(), numbers.start), (campaign.clone(), numbers.end.max(numbers.start)));
        Ok(self.with(|inner| inner.chunks.range(from..to).map(|(_, chunk)| chunk.clone()).collect()))
    }

    async fn update(&self, before: &Chunk, after: &Chunk) -> Result<Written, PortError> {
        self.faults.before("ledger").await?;
        let written = self.with(|inner| {
            let Some(chunk) = inner.chunks.get(&key(before)) else { return Written::Stale };
            if chunk.fence != before.fence {
                return if chunk == after { Written::Done } else { Written::Stale };
            }
            let moved = after.counts() - chunk.counts();
            inner.keep(after.clone());
            if let Some((_, counts)) = inner.campaigns.get_mut(&before.campaign) {
                *counts = *counts + moved;
            }
            Written::Done
        });
        self.faults.after("ledger").await?;
        Ok(written)
    }

    async fn ready(&self, campaign: &CampaignId, until: Timestamp, limit: usize) -> Result<Vec<u32>, PortError> {
        self.faults.before("ready").await?;
        let (from, to) = ((campaign.clone(), Timestamp::MIN, 0), (campaign.clone(), until, u32::MAX));
        Ok(self.with(|inner| inner.pending.range(from..=to).take(limit).map(|(.., number)| *number).collect()))
    }

    async fn queued(&self, campaign: &CampaignId, now: Timestamp) -> Result<usize, PortError> {
        self.faults.before("queued").await?;
        let (from, to) = ((campaign.clone(), now, u32::MAX), (campaign.clone(), Timestamp::MAX, u32::MAX));
        Ok(self.with(|inner| {
            let later = inner.pending.range(from..=to);
            let queued = |number| inner.chunks.get(&(campaign.clone(), number)).is_some_and(|chunk| chunk.queued);
            later.filter(|(.., number)| queued(*number)).count()
        }))
    }

    async fn dispatched(&self, chunk: &Chunk, until: Timestamp) -> Result<Written, PortError> {
        self.faults.before("dispatched").await?;
        let Some(from) = chunk.attention_at else { return Ok(Written::Stale) };
        let written = self.with(|inner| inner.put_off(chunk, true, until, Some(from)));
        self.faults.after("dispatched").await?;
        Ok(written)
    }

    async fn put_back(&self, chunk: &Chunk, at: Timestamp) -> Result<Written, PortError> {
        self.faults.before("put back").await?;
        let written = self.with(|inner| inner.put_off(chunk, false, at, None));
        self.faults.after("put back").await?;
        Ok(written)
    }
}
