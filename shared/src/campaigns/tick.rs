use super::{Dispatched, Dispatcher, finish};
use crate::domain::campaign::{ATTENTION_EVERY, CampaignState, HINT_EVERY};
use crate::domain::chunk::ChunkStatus;
use crate::domain::id::CampaignId;
use crate::jobs::CampaignHint;
use crate::ports::{DueItem, Duty, PortError, Queue};
use futures::stream::{self, StreamExt as _};
use jiff::{SignedDuration, Timestamp};
use serde::Serialize;
use std::sync::Arc;

/// Due things seen to at the same time.
const TOGETHER: usize = 8;

/// Looks after campaigns and chunks whose time has come.
#[derive(Clone)]
pub struct Keeper {
    /// Dispatches chunks.
    pub dispatcher: Dispatcher,
    /// The planner's queue.
    pub planner_queue: Arc<dyn Queue>,
    /// How long the Send event of a mail of unknown outcome is waited for before it is sent once more.
    pub settle: SignedDuration,
}

/// What a look at the due things came to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Ticked {
    /// Hints sent to the planner.
    pub hints: usize,
    /// Campaigns finished.
    pub finished: usize,
    /// Chunks settled.
    pub settled: usize,
    /// What was dispatched.
    pub dispatched: Dispatched,
    /// Things that failed, to be tried at the next tick.
    pub errors: usize,
}

impl Keeper {
    /// Sees to at most `limit` due campaigns and chunks, and dispatches at most `limit` chunks. One that fails is counted
    /// and harms no other.
    pub async fn tick(&self, now: Timestamp, limit: usize) -> Ticked {
        let mut ticked = Ticked::default();
        match self.dispatcher.campaigns.due(Duty::Attention, now, limit).await {
            Ok(due) => {
                let parts = stream::iter(due).map(|item| async move {
                    let done = match &item {
                        DueItem::Campaign(id) => self.campaign(id, now).await,
                        DueItem::Chunk(campaign, number) => self.chunk(campaign, *number, now).await,
                    };
                    done.unwrap_or_else(|error| {
                        tracing::warn!(?item, "not seen to: {error}");
                        Ticked { errors: 1, ..Ticked::default() }
                    })
                });
                let parts: Vec<Ticked> = parts.buffer_unordered(TOGETHER).collect().await;
                for part in parts {
                    ticked.hints += part.hints;
                    ticked.finished += part.finished;
                    ticked.settled += part.settled;
                    ticked.errors += part.errors;
                }
            }
            Err(error) => {
                tracing::warn!("the due campaigns and chunks could not be listed: {error}");
                ticked.errors += 1;
            }
        }
        match self.dispatcher.run(now, limit).await {
            Ok(dispatched) => ticked.dispatched = dispatched,
            Err(error) => {
                tracing::warn!("the dispatch was cut short: {error}");
                ticked.errors += 1;
            }
        }
        ticked
    }

    async fn campaign(&self, id: &CampaignId, now: Timestamp) -> Result<Ticked, PortError> {
        let campaigns = &self.dispatcher.campaigns;
        let Some(campaign) = campaigns.meta(id).await? else { return Ok(Ticked::default()) };
        if campaign.attention_at.is_none_or(|at| at > now) {
            return Ok(Ticked::default());
        }
        match campaign.state {
            CampaignState::Draft | CampaignState::Finished => Ok(Ticked::default()),
            CampaignState::Scheduled | CampaignState::Freezing => {
                let hint = CampaignHint::message(campaign.id.clone(), campaign.tenant.clone());
                self.planner_queue.send_one(hint).await?;
                // When somebody else wrote meanwhile, the planner is at it.
                campaigns.update(&campaign, &campaign.look_again(now + HINT_EVERY)).await?;
                Ok(Ticked { hints: 1, ..Ticked::default() })
            }
            CampaignState::Sending => {
                if finish(&**campaigns, id, now).await? {
                    return Ok(Ticked { finished: 1, ..Ticked::default() });
                }
                campaigns.update(&campaign, &campaign.look_again(now + ATTENTION_EVERY)).await?;
                Ok(Ticked::default())
            }
        }
    }

    /// Settles a chunk whose worker did not record it in its time, or whose events were waited for.
    async fn chunk(&self, id: &CampaignId, number: u32, now: Timestamp) -> Result<Ticked, PortError> {
        let chunks = &self.dispatcher.chunks;
        let Some(chunk) = chunks.get(id, number).await? else { return Ok(Ticked::default()) };
        if !matches!(chunk.status, ChunkStatus::Sending | ChunkStatus::Settling) {
            return Ok(Ticked::default());
        }
        let events = chunks.events(id, number).await?;
        let Ok(settled) = chunk.settle(&events, now, self.settle) else { return Ok(Ticked::default()) };
        // Stale: somebody else settled it, or its worker recorded it at the last moment.
        chunks.update(&chunk, &settled).await?;
        tracing::warn!(
            campaign = %id,
            chunk = number,
            status = settled.status.as_str(),
            unknown = settled.counts().unknown,
            pending = settled.counts().pending,
            "a chunk was settled"
        );
        let finished = settled.status == ChunkStatus::Done && finish(&*self.dispatcher.campaigns, id, now).await?;
        Ok(Ticked { settled: 1, finished: usize::from(finished), ..Ticked::default() })
    }
}
