use crate::domain::hits::{Hit, ReaderHits, ReaderPlace};
use crate::domain::id::CampaignId;
use crate::ports::{Campaigns, HitChange, HitLedger, PortError, Written};
use anyhow::anyhow;
use futures::stream::{self, StreamExt as _};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// Chunks written to at the same time.
const TOGETHER: usize = 8;
/// How often readers' hits are tried to be written while others write them too.
const TRIES: u32 = 8;

/// An open or a click of one of SES's events.
#[derive(Debug, Clone)]
pub struct HeardHit {
    /// Whose.
    pub reader: ReaderPlace,
    /// What it was.
    pub hit: Hit,
}

/// Takes in opens and clicks of campaigns' mails.
pub struct HitCounter {
    /// The campaigns.
    pub campaigns: Arc<dyn Campaigns>,
    /// What is known of their readers.
    pub ledger: Arc<dyn HitLedger>,
    /// Draws a number from 0 to 1.
    pub dice: fn() -> f64,
}

type OfChunk<'h> = BTreeMap<usize, Vec<&'h Hit>>;

impl HitCounter {
    /// Takes in hits, in any order and however often: those of one chunk's readers in one write. Says of each whether it is
    /// noted; the others are to be brought again. Those of campaigns that are not there, or not tracked, are let go.
    pub async fn take(&self, heard: &[HeardHit]) -> Vec<bool> {
        let mut chunks: BTreeMap<(&CampaignId, u32), (OfChunk<'_>, Vec<usize>)> = BTreeMap::new();
        for (at, one) in heard.iter().enumerate() {
            let (readers, places) = chunks.entry((&one.reader.campaign, one.reader.chunk)).or_default();
            readers.entry(one.reader.place).or_default().push(&one.hit);
            places.push(at);
        }
        let works = chunks.into_iter().map(async |((campaign, chunk), (readers, places))| {
            let done = self.chunk(campaign, chunk, &readers).await;
            if let Err(error) = &done {
                tracing::warn!(%campaign, chunk, "opens and clicks could not be noted: {error}");
            }
            (done.is_ok(), places)
        });
        let works: Vec<_> = stream::iter(works).buffer_unordered(TOGETHER).collect().await;
        let mut noted = vec![true; heard.len()];
        for (_, places) in works.into_iter().filter(|(done, _)| !done) {
            for at in places {
                noted[at] = false;
            }
        }
        noted
    }

    async fn chunk(&self, campaign: &CampaignId, chunk: u32, readers: &OfChunk<'_>) -> Result<(), PortError> {
        if !self.campaigns.meta(campaign).await?.is_some_and(|campaign| campaign.tracked) {
            tracing::info!(%campaign, chunk, "opens or clicks of a campaign that is not there or not tracked");
            return Ok(());
        }
        let at = |place: &usize| ReaderPlace { campaign: campaign.clone(), chunk, place: *place };
        let places: Vec<ReaderPlace> = readers.keys().map(at).collect();
        for attempt in 1..=TRIES {
            let known = self.ledger.reader_hits(&places).await?;
            let changes: Vec<HitChange> = readers.iter().zip(known).filter_map(change).collect();
            if changes.is_empty() || self.ledger.note_hits(campaign, chunk, &changes).await? == Written::Done {
                return Ok(());
            }
            let most = Duration::from_millis(10 << attempt.min(6));
            tokio::time::sleep(most.mul_f64((self.dice)().clamp(0.0, 1.0))).await;
        }
        Err(PortError::Unavailable(anyhow!("the readers' hits kept changing")))
    }
}

/// What is new of a reader; `None` when nothing is.
fn change(((place, hits), before): ((&usize, &Vec<&Hit>), Option<ReaderHits>)) -> Option<HitChange> {
    let known = before.clone().unwrap_or_default();
    let after = known.with(hits.iter().copied());
    (after != known).then_some(HitChange { place: *place, before, after })
}
