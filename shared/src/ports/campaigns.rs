use super::{Added, PortError};
use crate::domain::campaign::{Campaign, Counts, Frozen};
use crate::domain::chunk::{Chunk, SendEvent};
use crate::domain::id::CampaignId;
use crate::domain::pace::Grant;
use async_trait::async_trait;
use jiff::{SignedDuration, Timestamp};

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

/// What is to be done about the things that the clock finds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Duty {
    /// Pending chunks, to be dispatched.
    Dispatch,
    /// Campaigns to be opened, frozen or finished, and chunks whose lease or waiting time is over. Apart from the
    /// former, so that a long campaign's chunks do not stand in their way.
    Attention,
}

/// Something whose time has come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DueItem {
    /// A campaign.
    Campaign(CampaignId),
    /// One of a campaign's chunks.
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

    /// At most `limit` campaigns and chunks of a duty whose attention time is at or before `until`, the earliest first
    /// within a shard. It may show one that has just been seen to.
    async fn due(&self, duty: Duty, until: Timestamp, limit: usize) -> Result<Vec<DueItem>, PortError>;
}

/// The chunks of campaigns: the ledger of who was sent what.
#[async_trait]
pub trait Chunks: Send + Sync {
    /// Reads a chunk, as of the last write.
    async fn get(&self, campaign: &CampaignId, number: u32) -> Result<Option<Chunk>, PortError>;

    /// Writes `after` over `before`, if that version is the one stored, and moves the campaign's counts by the
    /// difference, in one transaction. When the answer to such a write was lost, the same call says `Done` again.
    async fn update(&self, before: &Chunk, after: &Chunk) -> Result<Written, PortError>;

    /// Puts off a pending chunk's dispatch from `chunk.attention_at` to `until`. `Stale` when somebody else did, or
    /// claimed it: then it is not to be dispatched.
    async fn dispatched(&self, chunk: &Chunk, until: Timestamp) -> Result<Written, PortError>;

    /// Notes a Send event: SES accepted this attempt. Idempotent.
    async fn seen(
        &self,
        campaign: &CampaignId,
        number: u32,
        event: &SendEvent,
        now: Timestamp,
    ) -> Result<(), PortError>;

    /// The Send events noted for a chunk, as of the last write.
    async fn events(&self, campaign: &CampaignId, number: u32) -> Result<Vec<SendEvent>, PortError>;
}

/// Sending rates shared by all workers.
#[async_trait]
pub trait Pace: Send + Sync {
    /// Takes `cost` of the time of the line called `name`, if it can be had by `latest`. See
    /// [`grant`](crate::domain::pace::grant), which it carries out atomically.
    async fn take(
        &self,
        name: &str,
        cost: SignedDuration,
        now: Timestamp,
        latest: Timestamp,
    ) -> Result<Grant, PortError>;
}
