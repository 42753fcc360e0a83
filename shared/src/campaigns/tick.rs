use super::{Dispatched, Dispatcher, LINE, finish, learn, stop, trip};
use crate::domain::account::Account;
use crate::domain::campaign::{ATTENTION_EVERY, CampaignState, HINT_EVERY, QUOTA_EVERY, StopReason};
use crate::domain::chunk::{ChunkStatus, Settlement, Uncertain};
use crate::domain::id::CampaignId;
use crate::domain::pace::Line;
use crate::jobs::CampaignHint;
use crate::ports::{DueItem, PortError, Queue, SendingAccount, Written};
use crate::telemetry::{self, Metric};
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
    /// What SES allows.
    pub account: Arc<dyn SendingAccount>,
    /// The planner's queue.
    pub planner_queue: Arc<dyn Queue>,
    /// How long the events of a mail of unknown outcome are waited for before it is settled without them.
    pub settle: SignedDuration,
}

/// What a look at the due things came to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Ticked {
    /// Hints sent to the planner.
    pub hints: usize,
    /// Campaigns finished.
    pub finished: usize,
    /// Campaigns paused because SES's daily quota is used up.
    pub paused: usize,
    /// Campaigns that went on after such a pause.
    pub resumed: usize,
    /// Chunks settled.
    pub settled: usize,
    /// What was dispatched.
    pub dispatched: Dispatched,
    /// Things that failed, to be tried at the next tick.
    pub errors: usize,
}

/// What one tick knows.
#[derive(Clone, Copy)]
struct Known {
    now: Timestamp,
    account: Option<Account>,
    line: Line,
}

impl Keeper {
    /// Sees to at most `limit` due campaigns and chunks, and dispatches at most `limit` chunks. One that fails is counted
    /// and harms no other.
    pub async fn tick(&self, now: Timestamp, limit: usize) -> Ticked {
        let mut ticked = Ticked::default();
        let (active, due) = match self.wanting(now, limit).await {
            Ok(wanting) => wanting,
            Err(error) => {
                tracing::warn!("the due campaigns and chunks could not be listed: {error}");
                ticked.errors += 1;
                Default::default()
            }
        };
        if active.is_empty() && due.is_empty() {
            return ticked;
        }
        let (known, errors) = self.known(now).await;
        ticked.errors += errors;
        let left = known.account.and_then(|account| account.left());
        if left == Some(0) {
            for id in &active {
                match stop(&*self.dispatcher.campaigns, id, StopReason::Quota, None, now).await {
                    Ok(()) => ticked.paused += 1,
                    Err(_) => ticked.errors += 1,
                }
            }
        }
        let parts = stream::iter(due).map(|item| async move {
            let done = match &item {
                DueItem::Campaign(id) => self.campaign(id, known).await,
                DueItem::Chunk(campaign, number) => self.chunk(campaign, *number, known).await,
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
            ticked.resumed += part.resumed;
            ticked.settled += part.settled;
            ticked.errors += part.errors;
        }
        match self.dispatcher.run(now, limit, left).await {
            Ok(dispatched) => ticked.dispatched = dispatched,
            Err(error) => {
                tracing::warn!("the dispatch was cut short: {error}");
                ticked.errors += 1;
            }
        }
        ticked
    }

    async fn wanting(&self, now: Timestamp, limit: usize) -> Result<(Vec<CampaignId>, Vec<DueItem>), PortError> {
        let campaigns = &self.dispatcher.campaigns;
        futures::try_join!(campaigns.active(limit), campaigns.due(now, limit))
    }

    /// What SES allows and how its events are, and how much of that could not be learned.
    async fn known(&self, now: Timestamp) -> (Known, usize) {
        let line = &*self.dispatcher.line;
        let (account, before) = futures::join!(learn(&*self.account, line), line.line(LINE));
        let mut errors = 0;
        let mut warn = |error: PortError| {
            tracing::warn!("what SES allows or tells is not known: {error}");
            errors += 1;
        };
        let account = account.map_err(&mut warn).ok();
        telemetry::count(Metric::MailQuotaUsed, account.and_then(|account| account.used_percent()).unwrap_or(0));
        let line = before.map_err(&mut warn).unwrap_or_default();
        (Known { now, account, line }, errors)
    }

    async fn campaign(&self, id: &CampaignId, known: Known) -> Result<Ticked, PortError> {
        let (campaigns, now) = (&self.dispatcher.campaigns, known.now);
        let Some(campaign) = campaigns.meta(id).await? else { return Ok(Ticked::default()) };
        if campaign.attention_at.is_none_or(|at| at > now) {
            return Ok(Ticked::default());
        }
        match campaign.state {
            CampaignState::Draft | CampaignState::Finished | CampaignState::Cancelled | CampaignState::Halted => {
                Ok(Ticked::default())
            }
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
                if trip(&**campaigns, id, now).await? {
                    return Ok(Ticked::default());
                }
                campaigns.update(&campaign, &campaign.look_again(now + ATTENTION_EVERY)).await?;
                Ok(Ticked::default())
            }
            // Of the paused ones only those that wait for the quota are ever due.
            CampaignState::Paused => {
                if known.account.is_some_and(|account| account.has_room())
                    && let Some(view) = campaigns.get(id).await?
                    && view.campaign == campaign
                    && let Ok(resumed) = campaign.resume(&view.counts, now)
                {
                    campaigns.update(&campaign, &resumed).await?;
                    tracing::info!(campaign = %id, "the quota has room again: the campaign goes on");
                    return Ok(Ticked { resumed: 1, ..Ticked::default() });
                }
                campaigns.update(&campaign, &campaign.look_again(now + QUOTA_EVERY)).await?;
                Ok(Ticked::default())
            }
        }
    }

    /// Settles a chunk whose worker did not record it in its time, or whose events were waited for.
    async fn chunk(&self, id: &CampaignId, number: u32, known: Known) -> Result<Ticked, PortError> {
        let (campaigns, chunks) = (&self.dispatcher.campaigns, &self.dispatcher.chunks);
        let Some(chunk) = chunks.get(id, number).await? else { return Ok(Ticked::default()) };
        if !matches!(chunk.status, ChunkStatus::Sending | ChunkStatus::Settling) {
            return Ok(Ticked::default());
        }
        let Some(campaign) = campaigns.meta(id).await? else { return Ok(Ticked::default()) };
        let uncertain =
            if campaign.state == CampaignState::Cancelled { Uncertain::Hold } else { campaign.rules.uncertain };
        let (sent_until, heard_until) = (known.line.taken_until.map(|end| end.min(known.now)), known.line.heard_at);
        let by = Settlement { wait: self.settle, uncertain, sent_until, heard_until };
        let Ok(settled) = chunk.settle(by, known.now) else { return Ok(Ticked::default()) };
        // Stale: somebody else settled it, or its worker recorded it at the last moment, or an event came.
        if chunks.update(&chunk, &settled).await? == Written::Stale {
            return Ok(Ticked::default());
        }
        tracing::warn!(
            campaign = %id,
            chunk = number,
            status = settled.status.as_str(),
            unknown = settled.counts().unknown,
            pending = settled.counts().pending,
            "a chunk was settled"
        );
        if settled.status == ChunkStatus::Done {
            telemetry::count(Metric::RecipientsUnknown, settled.counts().unknown.unsigned_abs());
        }
        let finished = settled.status == ChunkStatus::Done && finish(&**campaigns, id, known.now).await?;
        Ok(Ticked { settled: 1, finished: usize::from(finished), ..Ticked::default() })
    }
}
