//! Putting down an audience in chunks, page by page.

use super::{ATTENTION_EVERY, Campaign, CampaignState, HINT_EVERY, WrongState};
use crate::domain::chunk::{Chunk, MAX_RECIPIENTS};
use crate::domain::people::Subscriber;
use jiff::Timestamp;
use std::collections::BTreeMap;

/// Most chunks that one page of the audience is cut into. A page is one transaction of at most
/// [100 actions](https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/API_TransactWriteItems.html), two of
/// which are the campaign and its counter.
pub const MAX_CHUNKS_PER_PAGE: usize = 96;
/// Most subscribers read for one page. So many of forty time zones are cut into about as many chunks as one write holds.
pub const PAGE: usize = 4_000;

/// The reason of those who are skipped because their hour was past.
const PAST: &str = "past";

/// One page of the audience, put down: the campaign after it, and its chunks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frozen {
    /// The campaign with the cursor moved on.
    pub campaign: Campaign,
    /// The new chunks, at most [`MAX_CHUNKS_PER_PAGE`].
    pub chunks: Vec<Chunk>,
}

impl Campaign {
    /// Puts down the next page of the audience. `page` are the subscribers after [`Campaign::cursor`] in key order,
    /// `last` says that there are none after them. Takes as many of them as [`MAX_CHUNKS_PER_PAGE`] chunks hold. Those
    /// whose hour is past and who are to be skipped for it are put down too, as skipped.
    ///
    /// # Errors
    /// When it is not freezing.
    pub fn freeze(&self, page: &[Subscriber], last: bool, now: Timestamp) -> Result<Frozen, WrongState> {
        let (CampaignState::Freezing, false, Some(started), Some(opened)) =
            (self.state, self.frozen, self.started_at, self.opened_at)
        else {
            return Err(WrongState(self.state));
        };
        // By the time they are due; without one, they are skipped.
        let mut full: Vec<(Option<Timestamp>, Vec<String>)> = Vec::new();
        let mut open: BTreeMap<Option<Timestamp>, Vec<String>> = BTreeMap::new();
        let mut looked_at = 0;
        for subscriber in page {
            if self.segment.takes(subscriber) {
                let due = self.timing.due(subscriber.time_zone.as_ref(), started, opened);
                if !open.contains_key(&due) && full.len() + open.len() == MAX_CHUNKS_PER_PAGE {
                    break;
                }
                let chunk = open.entry(due).or_default();
                chunk.push(subscriber.key.digest().to_owned());
                if chunk.len() == MAX_RECIPIENTS {
                    full.extend(open.remove_entry(&due));
                }
            }
            looked_at += 1;
        }
        let mut cut: Vec<_> = full.into_iter().chain(open).collect();
        cut.sort_by_key(|(due, _)| *due);
        let chunk = |(number, (due, digests)): (u32, (Option<Timestamp>, Vec<String>))| match due {
            Some(due) => Chunk::new(self.id.clone(), number, due, digests),
            None => Chunk::new(self.id.clone(), number, opened, digests).skipped(PAST),
        };
        let chunks: Vec<Chunk> = (self.next_chunk..).zip(cut).map(chunk).collect();

        let taken: usize = chunks.iter().map(|chunk| chunk.recipients.len()).sum();
        let mut campaign = Self {
            cursor: page[..looked_at].last().map(|one| one.key.digest().to_owned()).or_else(|| self.cursor.clone()),
            next_chunk: self.next_chunk + u32::try_from(chunks.len()).unwrap_or(u32::MAX),
            total: self.total + taken as u64,
            attention_at: Some(now + HINT_EVERY),
            ..self.changed()
        };
        if last && looked_at == page.len() {
            campaign.frozen = true;
            campaign.state = CampaignState::Sending;
            campaign.attention_at = Some(now + ATTENTION_EVERY);
            if campaign.total == 0 {
                campaign = campaign.finished(now);
            }
        }
        Ok(Frozen { campaign, chunks })
    }
}
