use super::Faults;
use crate::domain::campaign::{Campaign, Counts, Frozen};
use crate::domain::chunk::{Chunk, ChunkStatus, SendEvent};
use crate::domain::id::CampaignId;
use crate::domain::pace::{Grant, grant};
use crate::ports::{Added, CampaignView, Campaigns, Chunks, DueItem, Duty, Pace, PortError, Written};
use async_trait::async_trait;
use jiff::{SignedDuration, Timestamp};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

type ChunkKey = (CampaignId, u32);

#[derive(Default)]
struct Inner {
    campaigns: BTreeMap<CampaignId, (Campaign, Counts)>,
    chunks: BTreeMap<ChunkKey, Chunk>,
    events: BTreeMap<ChunkKey, BTreeMap<(usize, u8), SendEvent>>,
    lines: BTreeMap<String, Timestamp>,
}

/// Campaigns, chunks and lines of time in memory. Their guards are the version and the fence.
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
            inner.chunks.extend(page.chunks.iter().map(|chunk| (key(chunk), chunk.clone())));
            if let Some((_, counts)) = inner.campaigns.get_mut(&before.id) {
                *counts = *counts + added;
            }
            Written::Done
        });
        self.faults.after("freeze").await?;
        Ok(written)
    }

    async fn due(&self, duty: Duty, until: Timestamp, limit: usize) -> Result<Vec<DueItem>, PortError> {
        self.faults.before("due").await?;
        let mut due: Vec<(Timestamp, DueItem)> = self.with(|inner| {
            let campaigns = inner.campaigns.values().filter_map(|(campaign, _)| {
                let at = campaign.attention_at.filter(|_| duty == Duty::Attention)?;
                Some((at, DueItem::Campaign(campaign.id.clone())))
            });
            let chunks = inner.chunks.values().filter_map(|chunk| {
                let its = if chunk.status == ChunkStatus::Pending { Duty::Dispatch } else { Duty::Attention };
                let at = chunk.attention_at.filter(|_| its == duty)?;
                Some((at, DueItem::Chunk(chunk.campaign.clone(), chunk.number)))
            });
            campaigns.chain(chunks).filter(|(at, _)| *at <= until).collect()
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

    async fn update(&self, before: &Chunk, after: &Chunk) -> Result<Written, PortError> {
        self.faults.before("ledger").await?;
        let written = self.with(|inner| {
            let Some(chunk) = inner.chunks.get_mut(&key(before)) else { return Written::Stale };
            if chunk.fence != before.fence {
                return if chunk == after { Written::Done } else { Written::Stale };
            }
            let moved = after.counts() - chunk.counts();
            *chunk = after.clone();
            if let Some((_, counts)) = inner.campaigns.get_mut(&before.campaign) {
                *counts = *counts + moved;
            }
            Written::Done
        });
        self.faults.after("ledger").await?;
        Ok(written)
    }

    async fn dispatched(&self, chunk: &Chunk, until: Timestamp) -> Result<Written, PortError> {
        self.faults.before("dispatched").await?;
        let written = self.with(|inner| match inner.chunks.get_mut(&key(chunk)) {
            Some(stored)
                if stored.status == ChunkStatus::Pending
                    && stored.fence == chunk.fence
                    && (stored.attention_at == chunk.attention_at || stored.attention_at == Some(until)) =>
            {
                stored.attention_at = Some(until);
                Written::Done
            }
            _ => Written::Stale,
        });
        self.faults.after("dispatched").await?;
        Ok(written)
    }

    async fn seen(
        &self,
        campaign: &CampaignId,
        number: u32,
        event: &SendEvent,
        _now: Timestamp,
    ) -> Result<(), PortError> {
        self.faults.before("seen").await?;
        self.with(|inner| {
            let events = inner.events.entry((campaign.clone(), number)).or_default();
            events.entry((event.recipient, event.attempt)).or_insert_with(|| event.clone());
        });
        self.faults.after("seen").await
    }

    async fn events(&self, campaign: &CampaignId, number: u32) -> Result<Vec<SendEvent>, PortError> {
        self.faults.before("events").await?;
        let key = (campaign.clone(), number);
        Ok(self.with(|inner| inner.events.get(&key).map(|all| all.values().cloned().collect()).unwrap_or_default()))
    }
}

#[async_trait]
impl Pace for MemoryCampaigns {
    async fn take(
        &self,
        name: &str,
        cost: SignedDuration,
        now: Timestamp,
        latest: Timestamp,
    ) -> Result<Grant, PortError> {
        self.faults.before("take").await?;
        let granted = self.with(|inner| {
            let granted = grant(inner.lines.get(name).copied(), cost, now, latest);
            if let Grant::Slot { until, .. } = granted {
                inner.lines.insert(name.to_owned(), until);
            }
            granted
        });
        self.faults.after("take").await?;
        Ok(granted)
    }
}
