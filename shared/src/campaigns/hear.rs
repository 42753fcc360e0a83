use super::{LINE, finish, trip};
use crate::domain::address::EmailAddress;
use crate::domain::chunk::{ChunkStatus, EventKind, MailEvent};
use crate::domain::id::{CampaignId, Tenant};
use crate::domain::suppression::Reason;
use crate::ports::{Campaigns, Chunks, PortError, SendLine, Suppressions, Written};
use anyhow::anyhow;
use futures::stream::{self, StreamExt as _};
use jiff::{SignedDuration, Timestamp};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

/// Chunks written to at the same time.
const TOGETHER: usize = 8;
/// How often a chunk is tried to be written while others write it too.
const TRIES: u32 = 10;
/// How often one process notes how far SES's events are.
const NOTE_EVERY: SignedDuration = SignedDuration::from_secs(10);

/// One of SES's events about a campaign's mail.
#[derive(Debug, Clone)]
pub struct Heard {
    /// Whose mail.
    pub campaign: CampaignId,
    /// In which of its chunks.
    pub chunk: u32,
    /// What happened to whom.
    pub event: MailEvent,
    /// When SES accepted the mail.
    pub sent_at: Timestamp,
    /// The address that the event speaks against: it gave the mail back or called it spam.
    pub against: Option<EmailAddress>,
}

/// Takes in what SES tells of campaigns' mails.
pub struct Listener {
    campaigns: Arc<dyn Campaigns>,
    chunks: Arc<dyn Chunks>,
    suppressions: Arc<dyn Suppressions>,
    line: Arc<dyn SendLine>,
    /// Draws a number from 0 to 1.
    dice: fn() -> f64,
    /// The latest mail whose Send event this process has noted, in seconds.
    noted: AtomicI64,
}

impl Listener {
    /// A listener.
    #[must_use]
    pub fn new(
        campaigns: Arc<dyn Campaigns>,
        chunks: Arc<dyn Chunks>,
        suppressions: Arc<dyn Suppressions>,
        line: Arc<dyn SendLine>,
        dice: fn() -> f64,
    ) -> Self {
        Self { campaigns, chunks, suppressions, line, dice, noted: AtomicI64::new(i64::MIN) }
    }

    /// Takes in events, in any order and however often: those of one chunk in one write. Says of each whether it is noted;
    /// the others are to be brought again.
    pub async fn hear(&self, heard: &[Heard], now: Timestamp) -> Vec<bool> {
        let mut chunks: BTreeMap<(&CampaignId, u32), Vec<usize>> = BTreeMap::new();
        for (at, one) in heard.iter().enumerate() {
            chunks.entry((&one.campaign, one.chunk)).or_default().push(at);
        }
        let mut noted = vec![true; heard.len()];
        let mut works = Vec::new();
        for ((campaign, number), places) in chunks {
            works.push(async move {
                let events: Vec<&Heard> = places.iter().map(|at| &heard[*at]).collect();
                let done = self.chunk(campaign, number, &events, now).await;
                if let Err(error) = &done {
                    tracing::warn!(%campaign, chunk = number, "events could not be noted: {error}");
                }
                (done.is_ok(), places)
            });
        }
        let works: Vec<_> = stream::iter(works).buffer_unordered(TOGETHER).collect().await;
        for (_, places) in works.into_iter().filter(|(done, _)| !done) {
            for at in places {
                noted[at] = false;
            }
        }
        self.note(heard).await;
        noted
    }

    async fn chunk(
        &self,
        campaign: &CampaignId,
        number: u32,
        heard: &[&Heard],
        now: Timestamp,
    ) -> Result<(), PortError> {
        if heard.iter().any(|one| one.against.is_some()) {
            let Some(meta) = self.campaigns.meta(campaign).await? else { return Ok(()) };
            for one in heard {
                self.suppress(&meta.tenant, one, now).await?;
            }
        }
        let events: Vec<MailEvent> = heard.iter().map(|one| one.event.clone()).collect();
        for attempt in 1..=TRIES {
            let Some(before) = self.chunks.get(campaign, number).await? else {
                tracing::info!(%campaign, chunk = number, "events of a chunk that is not there");
                return Ok(());
            };
            let Some(after) = before.hear(&events) else { return Ok(()) };
            if self.chunks.update(&before, &after).await? == Written::Done {
                let more = after.counts() - before.counts();
                if more.hard_bounced + more.complained > 0 {
                    trip(&*self.campaigns, campaign, now).await?;
                }
                if after.status == ChunkStatus::Done && before.status != ChunkStatus::Done {
                    // If this fails, the clock looks.
                    finish(&*self.campaigns, campaign, now).await?;
                }
                return Ok(());
            }
            let most = Duration::from_millis(10 << attempt.min(6));
            tokio::time::sleep(most.mul_f64((self.dice)().clamp(0.0, 1.0))).await;
        }
        Err(PortError::Unavailable(anyhow!("the chunk kept changing")))
    }

    async fn suppress(&self, tenant: &Tenant, heard: &Heard, now: Timestamp) -> Result<(), PortError> {
        let Some(address) = &heard.against else { return Ok(()) };
        match heard.event.kind {
            EventKind::HardBounce => self.suppressions.suppress(tenant, address, Reason::HardBounce, now).await,
            EventKind::Complaint => self.suppressions.suppress(tenant, address, Reason::Complaint, now).await,
            EventKind::SoftBounce => {
                // Two bounces of one mail are one.
                let mail = format!("{}-{}-{}", heard.campaign, heard.chunk, heard.event.place);
                self.suppressions.soft_bounce(tenant, address, &mail, now).await.map(drop)
            }
            _ => Ok(()),
        }
    }

    /// Notes how far the Send events are. A note that fails is made up for by the next one.
    async fn note(&self, heard: &[Heard]) {
        let sends = heard.iter().filter(|one| one.event.kind == EventKind::Send);
        let Some(latest) = sends.map(|one| one.sent_at).max() else { return };
        let last = self.noted.load(Ordering::Relaxed);
        if latest.as_second() < last.saturating_add(NOTE_EVERY.as_secs()) {
            return;
        }
        match self.line.heard(LINE, latest).await {
            Ok(()) => self.noted.store(latest.as_second(), Ordering::Relaxed),
            Err(error) => tracing::warn!("how far SES's events are was not noted: {error}"),
        }
    }
}
