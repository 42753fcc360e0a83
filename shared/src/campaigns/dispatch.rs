use crate::domain::chunk::{Chunk, ChunkStatus, REDISPATCH_EVERY};
use crate::domain::id::{CampaignId, Tenant};
use crate::domain::pace::{Grant, cost};
use crate::jobs::ChunkMessage;
use crate::ports::{Campaigns, Chunks, DueItem, Duty, Pace, PortError, Queue, Written};
use futures::future::try_join_all;
use jiff::{SignedDuration, Timestamp};
use serde::Serialize;
use std::collections::HashMap;
use std::sync::Arc;

/// How far ahead of the sending rate chunks are put on the queue: long enough to bridge the time from one dispatch to the
/// next, a minute, and short enough that the queue holds little that a change of plan would have to catch.
const AHEAD: SignedDuration = SignedDuration::from_secs(90);
/// The line of [`Pace`] that dispatching takes its slots from.
const LINE: &str = "dispatch";
/// Chunks looked at together: as many as one SQS request takes.
const TOGETHER: usize = 10;

/// Puts due chunks on the worker's queue, just ahead of the rate.
#[derive(Clone)]
pub struct Dispatcher {
    /// The campaigns.
    pub campaigns: Arc<dyn Campaigns>,
    /// Their chunks.
    pub chunks: Arc<dyn Chunks>,
    /// The lines of time.
    pub pace: Arc<dyn Pace>,
    /// The worker's queue.
    pub queue: Arc<dyn Queue>,
    /// Mails per second, over 0.
    pub rate: f64,
}

/// What a dispatch did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Dispatched {
    /// Chunks put on the queue.
    pub chunks: usize,
    /// Their recipients still to be sent.
    pub mails: usize,
    /// Messages SQS refused. Their chunks are tried again after [`REDISPATCH_EVERY`].
    pub refused: usize,
    /// Whether more is due than the rate lets out for now.
    pub held_back: bool,
}

impl Dispatcher {
    /// Dispatches at most `limit` chunks that are due at `now`.
    ///
    /// # Errors
    /// When a port fails. What is marked as dispatched and was not sent comes again after [`REDISPATCH_EVERY`].
    pub async fn run(&self, now: Timestamp, limit: usize) -> Result<Dispatched, PortError> {
        let mut done = Dispatched::default();
        let mut tenants = HashMap::new();
        let due = self.campaigns.due(Duty::Dispatch, now, limit).await?;
        for some in due.chunks(TOGETHER) {
            let reads = some.iter().filter_map(|item| match item {
                DueItem::Chunk(campaign, number) => Some(self.chunks.get(campaign, *number)),
                DueItem::Campaign(_) => None,
            });
            let mut ready = Vec::new();
            for chunk in try_join_all(reads).await?.into_iter().flatten() {
                // The index may be behind the table.
                if chunk.status != ChunkStatus::Pending || chunk.attention_at.is_none_or(|at| at > now) {
                    continue;
                }
                let Some(tenant) = self.tenant(&mut tenants, &chunk.campaign).await? else { continue };
                if !self.slot(chunk.pending().len(), now).await? {
                    done.held_back = true;
                    break;
                }
                ready.push((chunk, tenant));
            }
            self.send(ready, now, &mut done).await?;
            if done.held_back {
                break;
            }
        }
        Ok(done)
    }

    /// Whose the chunk's campaign is, if its chunks are to be sent.
    async fn tenant(
        &self,
        known: &mut HashMap<CampaignId, Option<Tenant>>,
        id: &CampaignId,
    ) -> Result<Option<Tenant>, PortError> {
        if let Some(tenant) = known.get(id) {
            return Ok(tenant.clone());
        }
        let campaign = self.campaigns.meta(id).await?;
        let tenant = campaign.filter(|campaign| campaign.state.sends()).map(|campaign| campaign.tenant);
        known.insert(id.clone(), tenant.clone());
        Ok(tenant)
    }

    async fn slot(&self, mails: usize, now: Timestamp) -> Result<bool, PortError> {
        let cost = cost(mails, self.rate);
        // A chunk that takes longer than the whole lead goes out when the line is free.
        let grant = self.pace.take(LINE, cost, now, now + AHEAD.max(cost)).await?;
        Ok(matches!(grant, Grant::Slot { .. }))
    }

    async fn send(&self, ready: Vec<(Chunk, Tenant)>, now: Timestamp, done: &mut Dispatched) -> Result<(), PortError> {
        // Marked before sent: the other way round, a crash in between would have the next dispatch send it again at once.
        let marks = ready.iter().map(|(chunk, _)| self.chunks.dispatched(chunk, now + REDISPATCH_EVERY));
        let marked: Vec<_> =
            try_join_all(marks).await?.into_iter().zip(ready).filter(|(mark, _)| *mark == Written::Done).collect();
        let messages: Vec<_> = marked
            .iter()
            .map(|(_, (chunk, tenant))| ChunkMessage::message(chunk.campaign.clone(), chunk.number, tenant.clone()))
            .collect();
        for ((_, (chunk, _)), sent) in marked.iter().zip(self.queue.send(&messages).await) {
            match sent {
                Ok(()) => {
                    done.chunks += 1;
                    done.mails += chunk.pending().len();
                }
                Err(error) => {
                    done.refused += 1;
                    tracing::warn!(campaign = %chunk.campaign, chunk = chunk.number, "not dispatched: {error}");
                }
            }
        }
        Ok(())
    }
}
