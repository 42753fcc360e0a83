use crate::domain::campaign::{Campaign, CampaignState, RESEND_PAGE, Resend};
use crate::domain::chunk::RecipientState;
use crate::domain::id::CampaignId;
use crate::ports::{Campaigns, Chunks, Clock, PortError, Subscribers, Written};
use jiff::{SignedDuration, Timestamp};
use std::sync::Arc;

/// Kept of the planner's time for one page of the audience: so much, or half of it when it is short.
const PAGE_TIME: SignedDuration = SignedDuration::from_secs(6);

/// Opens campaigns and freezes their audience.
#[derive(Clone)]
pub struct Planner {
    /// The campaigns.
    pub campaigns: Arc<dyn Campaigns>,
    /// Their chunks.
    pub chunks: Arc<dyn Chunks>,
    /// Their audience.
    pub subscribers: Arc<dyn Subscribers>,
    /// What time it is.
    pub clock: Arc<dyn Clock>,
    /// Subscribers put down in one write: up to [`PAGE`](crate::domain::campaign::PAGE).
    pub page: usize,
}

/// How far a campaign could be taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Advanced {
    /// Its audience is frozen.
    Frozen,
    /// Its hour has not come, or it is not started, or stopped.
    Waiting,
    /// There was no time for the rest. Call again.
    OutOfTime,
    /// There is no such campaign.
    Missing,
}

impl Planner {
    /// Takes a campaign as far as it goes: opens it if it is due, and freezes its audience page by page until `deadline`
    /// is near.
    ///
    /// # Errors
    /// When a port fails. What was done until then is kept; call again.
    pub async fn advance(&self, id: &CampaignId, deadline: Timestamp) -> Result<Advanced, PortError> {
        let page_time = PAGE_TIME.min(deadline.duration_since(self.clock.now()) / 2);
        loop {
            let Some(campaign) = self.campaigns.meta(id).await? else { return Ok(Advanced::Missing) };
            let now = self.clock.now();
            match campaign.state {
                CampaignState::Draft | CampaignState::Paused | CampaignState::Halted | CampaignState::Cancelled => {
                    return Ok(Advanced::Waiting);
                }
                CampaignState::Sending | CampaignState::Finished => return Ok(Advanced::Frozen),
                _ if now + page_time >= deadline => return Ok(Advanced::OutOfTime),
                CampaignState::Scheduled => match campaign.open(now) {
                    Ok(Some(opened)) => {
                        // When somebody else wrote, the next round sees what.
                        self.campaigns.update(&campaign, &opened).await?;
                    }
                    Ok(None) | Err(_) => return Ok(Advanced::Waiting),
                },
                CampaignState::Freezing => match &campaign.resend {
                    None => self.freeze_page(&campaign, now).await?,
                    Some(resend) => self.resend_page(&campaign, resend, now).await?,
                },
            }
        }
    }

    async fn freeze_page(&self, campaign: &Campaign, now: Timestamp) -> Result<(), PortError> {
        let page = self.subscribers.page(&campaign.newsletter, campaign.cursor.as_deref(), self.page).await?;
        let Ok(frozen) = campaign.freeze(&page.subscribers, page.last, now) else { return Ok(()) };
        if self.campaigns.freeze(campaign, &frozen).await? == Written::Done && frozen.campaign.frozen {
            let (total, chunks) = (frozen.campaign.total, frozen.campaign.next_chunk);
            tracing::info!(campaign = %campaign.id, total, chunks, "the audience is frozen");
        }
        Ok(())
    }

    /// Has the wanted recipients of the next chunks sent once more. A chunk that was taken by this resend is passed by, so
    /// a page that is begun again does no harm.
    async fn resend_page(&self, campaign: &Campaign, resend: &Resend, now: Timestamp) -> Result<(), PortError> {
        let states: Vec<RecipientState> = resend.states.iter().map(|which| (*which).into()).collect();
        let next = resend.next.saturating_add(RESEND_PAGE).min(campaign.next_chunk);
        for chunk in self.chunks.range(&campaign.id, resend.next..next).await? {
            let mut chunk = Some(chunk);
            while let Some(before) = chunk {
                chunk = match before.reopen(&states, campaign.pass, now) {
                    Some(after) if self.chunks.update(&before, &after).await? == Written::Stale => {
                        self.chunks.get(&campaign.id, before.number).await?
                    }
                    _ => None,
                };
            }
        }
        if let Ok(after) = campaign.gone_through(next, now) {
            self.campaigns.update(campaign, &after).await?;
        }
        Ok(())
    }
}
