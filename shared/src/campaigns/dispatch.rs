use super::LINE;
use crate::domain::campaign::Campaign;
use crate::domain::chunk::{Chunk, ChunkStatus, MAX_RECIPIENTS, REDISPATCH_EVERY};
use crate::domain::id::{CampaignId, Tenant};
use crate::domain::pace::SendRate;
use crate::jobs::ChunkMessage;
use crate::ports::{Campaigns, Chunks, PortError, Queue, SendLine, Written};
use futures::future::try_join_all;
use futures::stream::{self, StreamExt as _, TryStreamExt as _};
use jiff::{SignedDuration, Timestamp};
use serde::Serialize;
use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

/// How far ahead of the sending rate chunks are put on the queue: long enough to bridge the time from one dispatch to the
/// next, a minute, and short enough that the queue holds little that a change of plan would have to catch.
const AHEAD: SignedDuration = SignedDuration::from_secs(90);
/// Most campaigns that share one dispatch. The others have their turn when some of these are through.
const MOST_CAMPAIGNS: usize = 500;
/// Chunks looked at together: as many as one SQS request takes.
const TOGETHER: usize = 10;
/// Campaigns looked at together.
const CAMPAIGNS_TOGETHER: usize = 16;

/// Puts due chunks on the worker's queue, just ahead of the rate.
#[derive(Clone)]
pub struct Dispatcher {
    /// The campaigns.
    pub campaigns: Arc<dyn Campaigns>,
    /// Their chunks.
    pub chunks: Arc<dyn Chunks>,
    /// How fast mails may go out.
    pub line: Arc<dyn SendLine>,
    /// The worker's queue.
    pub queue: Arc<dyn Queue>,
    /// The most mails a second that the operator wants; `None` is as many as SES allows.
    pub limit: Option<SendRate>,
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

/// A campaign that wants to be dispatched.
struct Candidate {
    campaign: Campaign,
    ready: VecDeque<u32>,
    /// Its mails on the queue.
    load: usize,
    /// The mails it may have there by its own rate.
    most: usize,
}

impl Dispatcher {
    /// Dispatches at most `limit` chunks that are due at `now`, of at most `mails` mails. Tenants share the rate equally,
    /// and so do the campaigns of one.
    ///
    /// # Errors
    /// When a port fails. What is marked as dispatched and was not sent comes again after [`REDISPATCH_EVERY`].
    pub async fn run(&self, now: Timestamp, limit: usize, mails: Option<u64>) -> Result<Dispatched, PortError> {
        let mut done = Dispatched::default();
        let ids = self.campaigns.active(MOST_CAMPAIGNS).await?;
        if ids.is_empty() {
            return Ok(done);
        }
        let rate = self.line.line(LINE).await?.rate(self.limit, now);
        let looks: Vec<_> = ids.into_iter().map(|id| self.candidate(id, rate, now)).collect();
        let looks: Vec<_> = stream::iter(looks).buffer_unordered(CAMPAIGNS_TOGETHER).try_collect().await?;
        let mut candidates: Vec<Candidate> = looks.into_iter().flatten().collect();
        let load: usize = candidates.iter().map(|one| one.load).sum();
        let quota = mails.map_or(usize::MAX, |mails| usize::try_from(mails).unwrap_or(usize::MAX));
        let mut room = ahead(rate).saturating_sub(load).min(quota);

        let mut reads = Vec::new();
        for one in &mut candidates {
            reads.push(async move {
                // A chunk holds one mail at least.
                let most = room.min(one.most.saturating_sub(one.load)).min(limit);
                // One more than may go out tells whether any are held back.
                one.ready = self.chunks.ready(&one.campaign.id, now, most + 1).await?.into();
                Ok::<_, PortError>(())
            });
        }
        stream::iter(reads).buffer_unordered(CAMPAIGNS_TOGETHER).try_collect::<Vec<()>>().await?;
        let mut tenants: HashMap<Tenant, usize> = HashMap::new();
        for one in &candidates {
            *tenants.entry(one.campaign.tenant.clone()).or_default() += one.load;
        }
        while room > 0 && done.chunks + done.refused < limit {
            let most = TOGETHER.min(limit - done.chunks - done.refused).min(room.div_ceil(MAX_RECIPIENTS));
            let picked = pick(&mut candidates, &mut tenants, most);
            if picked.is_empty() {
                break;
            }
            let reads = picked.iter().map(|(at, number)| self.chunks.get(&candidates[*at].campaign.id, *number));
            let mut ready = Vec::new();
            for (chunk, (at, _)) in try_join_all(reads).await?.into_iter().zip(&picked) {
                // The index may be behind the table.
                let chunk = chunk.filter(|chunk| {
                    chunk.status == ChunkStatus::Pending && chunk.attention_at.is_some_and(|due| due <= now)
                });
                let one = &mut candidates[*at];
                let mails = chunk.as_ref().map_or(0, |chunk| chunk.pending().len());
                // It was picked as a full one.
                let less = MAX_RECIPIENTS - mails;
                one.load -= less;
                if let Some(load) = tenants.get_mut(&one.campaign.tenant) {
                    *load -= less;
                }
                room = room.saturating_sub(mails);
                ready.extend(chunk.map(|chunk| (chunk, one.campaign.tenant.clone())));
            }
            self.send(ready, now, &mut done).await?;
        }
        done.held_back = candidates.iter().any(|one| !one.ready.is_empty());
        Ok(done)
    }

    /// The campaign with what it has on the queue, if it sends.
    async fn candidate(&self, id: CampaignId, rate: SendRate, now: Timestamp) -> Result<Option<Candidate>, PortError> {
        let campaign = self.campaigns.meta(&id).await?.filter(|campaign| campaign.state.sends());
        let Some(campaign) = campaign else { return Ok(None) };
        let load = self.chunks.queued(&id, now).await? * MAX_RECIPIENTS;
        let most = ahead(campaign.rate.map_or(rate, |own| own.min(rate)));
        Ok(Some(Candidate { campaign, ready: VecDeque::new(), load, most }))
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

/// The mails that may be on the queue at this rate: one chunk at least.
fn ahead(rate: SendRate) -> usize {
    ((rate.get() * AHEAD.as_secs_f64()) as usize).max(MAX_RECIPIENTS)
}

/// The next chunks to go out, by candidate: each time one of the tenant with the least on the queue, and of its campaign
/// with the least. Counts them as full ones.
fn pick(candidates: &mut [Candidate], tenants: &mut HashMap<Tenant, usize>, most: usize) -> Vec<(usize, u32)> {
    let mut picked = Vec::new();
    while picked.len() < most {
        let wanting = candidates.iter().enumerate().filter(|(_, one)| !one.ready.is_empty() && one.load < one.most);
        let next = wanting.min_by_key(|(_, one)| (tenants.get(&one.campaign.tenant).copied(), one.load));
        let Some((at, _)) = next else { break };
        let one = &mut candidates[at];
        let Some(number) = one.ready.pop_front() else { break };
        one.load += MAX_RECIPIENTS;
        *tenants.entry(one.campaign.tenant.clone()).or_default() += MAX_RECIPIENTS;
        picked.push((at, number));
    }
    picked
}
