use super::{Added, PortError};
use crate::domain::campaign::{Campaign, Counts, Frozen};
use crate::domain::chunk::Chunk;
use crate::domain::id::CampaignId;
use async_trait::async_trait;
use jiff::Timestamp;

/// A campaign with how its recipients stand.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CampaignView {
    /// The campaign.
    pub campaign: Campaign,
    /// Its recipients by state. Once the campaign is frozen they add up to its total.
    pub counts: Counts,
}

/// What a write over a known version came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Written {
    /// What was asked is stored.
    Done,
    /// Another version is stored by now, or none: nothing was written. Read again and decide again.
    Stale,
}

/// Something whose time has come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DueItem {
    /// A campaign to be opened, frozen or finished, or one whose pause may be over.
    Campaign(CampaignId),
    /// One of a campaign's chunks, whose lease or waiting time is over.
    Chunk(CampaignId, u32),
}

/// The campaigns.
#[async_trait]
pub trait Campaigns: Send + Sync {
    /// Stores a campaign unless one with this identifier is there.
    async fn create(&self, campaign: &Campaign) -> Result<Added<Campaign>, PortError>;

    /// Reads a campaign and its counts, as of the last write.
    async fn get(&self, id: &CampaignId) -> Result<Option<CampaignView>, PortError>;

    /// Reads a campaign without its counts, as of the last write.
    async fn meta(&self, id: &CampaignId) -> Result<Option<Campaign>, PortError>;

    /// Writes `after` over `before`, if that version is the one stored.
    async fn update(&self, before: &Campaign, after: &Campaign) -> Result<Written, PortError>;

    /// Writes a page of the audience and the campaign after it over `before`, all or nothing: so nobody is lost or put
    /// down twice, whatever stops the writer and however many there are.
    async fn freeze(&self, before: &Campaign, page: &Frozen) -> Result<Written, PortError>;

    /// At most `limit` campaigns that send. It may miss one that has just begun to, and show one that has just ended.
    async fn active(&self, limit: usize) -> Result<Vec<CampaignId>, PortError>;

    /// At most `limit` campaigns and chunks whose attention time is at or before `until`, the earliest first within a
    /// shard; pending chunks are not among them. It may show one that has just been seen to.
    async fn due(&self, until: Timestamp, limit: usize) -> Result<Vec<DueItem>, PortError>;
}

/// The chunks of campaigns: the ledger of who was sent what, and what became of it.
#[async_trait]
pub trait Chunks: Send + Sync {
    /// Reads a chunk, as of the last write.
    async fn get(&self, campaign: &CampaignId, number: u32) -> Result<Option<Chunk>, PortError>;

    /// Reads the chunks with these numbers, at most 100, as of the last write; those that are there, in order.
    async fn range(&self, campaign: &CampaignId, numbers: std::ops::Range<u32>) -> Result<Vec<Chunk>, PortError>;

    /// Writes `after` over `before`, if that version is the one stored, and moves the campaign's counts by the
    /// difference, in one transaction. When the answer to such a write was lost, the same call says `Done` again.
    async fn update(&self, before: &Chunk, after: &Chunk) -> Result<Written, PortError>;

    /// The numbers of at most `limit` pending chunks of a campaign whose attention time is at or before `until`: those
    /// that are due and not on the queue, and those whose message is taken for lost. It may show one that has just been
    /// dispatched.
    async fn ready(&self, campaign: &CampaignId, until: Timestamp, limit: usize) -> Result<Vec<u32>, PortError>;

    /// How many chunks of a campaign are on the queue, without those whose message is taken for lost at `now`. It may be
    /// behind by those that have just been dispatched or claimed.
    async fn queued(&self, campaign: &CampaignId, now: Timestamp) -> Result<usize, PortError>;

    /// Notes that a pending chunk's message goes to the queue, and is taken for lost at `until`. No change of the chunk:
    /// its fence stays. `Stale` when somebody else did, or claimed it: then its message is not to be sent.
    async fn dispatched(&self, chunk: &Chunk, until: Timestamp) -> Result<Written, PortError>;

    /// The opposite, for a message that is given up: the chunk is ready at `at`.
    async fn put_back(&self, chunk: &Chunk, at: Timestamp) -> Result<Written, PortError>;
}
