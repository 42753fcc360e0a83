//! A campaign: one letter on its way to a newsletter's subscribers. `draft -> scheduled -> freezing -> sending ->
//! finished`. Every change is a function from the campaign before to the one after; a store writes the latter only over
//! the former, which [`Campaign::version`] tells.

use super::chunk::{Chunk, MAX_RECIPIENTS};
use super::id::{CampaignId, NewsletterId, Tenant};
use super::local_time::{DateRefused, Timing, When};
use super::people::{Segment, Subscriber};
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::ops::{Add, Sub};

/// How long a campaign at work may go without a look at it.
pub const ATTENTION_EVERY: SignedDuration = SignedDuration::from_mins(2);
/// How long a hint to open or freeze a campaign is waited for before another is sent.
pub const HINT_EVERY: SignedDuration = SignedDuration::from_mins(5);
/// Most chunks that one page of the audience is cut into. A page is one transaction of at most
/// [100 actions](https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/API_TransactWriteItems.html), two of
/// which are the campaign and its counter.
pub const MAX_CHUNKS_PER_PAGE: usize = 96;
/// Most subscribers read for one page.
pub const PAGE: usize = 2_000;

/// How far a campaign is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CampaignState {
    /// Written, not started.
    Draft,
    /// Started; its hour has not come.
    Scheduled,
    /// Its audience is being put down in chunks. What is put down may be sent already.
    Freezing,
    /// The audience is complete; letters go out.
    Sending,
    /// Every recipient has come to a final state.
    Finished,
}

impl CampaignState {
    const ALL: [Self; 5] = [Self::Draft, Self::Scheduled, Self::Freezing, Self::Sending, Self::Finished];

    /// The stable name.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Draft => "draft",
            Self::Scheduled => "scheduled",
            Self::Freezing => "freezing",
            Self::Sending => "sending",
            Self::Finished => "finished",
        }
    }

    /// Reads a stable name.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.as_str() == text)
    }

    /// Whether chunks of a campaign in this state are sent.
    #[must_use]
    pub fn sends(self) -> bool {
        matches!(self, Self::Freezing | Self::Sending)
    }
}

/// One letter on its way to a newsletter's subscribers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Campaign {
    /// The identifier.
    pub id: CampaignId,
    /// Whose campaign.
    pub tenant: Tenant,
    /// Whose subscribers get it.
    pub newsletter: NewsletterId,
    /// The subject as written: a template.
    pub subject: String,
    /// When whom is due.
    pub timing: Timing,
    /// Whom it is for.
    pub segment: Segment,
    /// How far it is.
    pub state: CampaignState,
    /// Counts the changes: a change is written only over the version it was made from.
    pub version: u64,
    /// When it was created.
    pub created_at: Timestamp,
    /// When it was started: the moment that "next" is read from.
    pub started_at: Option<Timestamp>,
    /// When it opens, that is, begins to freeze its audience.
    pub opens_at: Option<Timestamp>,
    /// When it opened.
    pub opened_at: Option<Timestamp>,
    /// Whether the whole audience is put down in chunks.
    pub frozen: bool,
    /// The digest of the last subscriber looked at while freezing.
    pub cursor: Option<String>,
    /// The number of the next chunk, which is the number of chunks there are.
    pub next_chunk: u32,
    /// The recipients put down so far; once frozen, all of them.
    pub total: u64,
    /// When it finished.
    pub finished_at: Option<Timestamp>,
    /// When somebody must look at it next. `None` when nothing is left to do.
    pub attention_at: Option<Timestamp>,
}

/// What a new campaign is made of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Draft {
    /// The identifier.
    pub id: CampaignId,
    /// Whose campaign.
    pub tenant: Tenant,
    /// Whose subscribers get it.
    pub newsletter: NewsletterId,
    /// The subject: a template.
    pub subject: String,
    /// When whom is due.
    pub timing: Timing,
    /// Whom it is for.
    pub segment: Segment,
}

/// Why a campaign cannot be started.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum StartRefused {
    /// Only a draft can.
    #[error("the campaign is {} already", .0.as_str())]
    NotDraft(CampaignState),
    /// Its date cannot be kept.
    #[error(transparent)]
    Date(#[from] DateRefused),
}

/// The change is not possible in the campaign's state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not possible while the campaign is {}", .0.as_str())]
pub struct WrongState(pub CampaignState);

/// One page of the audience, put down: the campaign after it, and its chunks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frozen {
    /// The campaign with the cursor moved on.
    pub campaign: Campaign,
    /// The new chunks, at most [`MAX_CHUNKS_PER_PAGE`].
    pub chunks: Vec<Chunk>,
}

impl Campaign {
    /// A new campaign, not started.
    #[must_use]
    pub fn draft(draft: Draft, now: Timestamp) -> Self {
        let Draft { id, tenant, newsletter, subject, timing, segment } = draft;
        Self {
            id,
            tenant,
            newsletter,
            subject,
            timing,
            segment,
            state: CampaignState::Draft,
            version: 0,
            created_at: now,
            started_at: None,
            opens_at: None,
            opened_at: None,
            frozen: false,
            cursor: None,
            next_chunk: 0,
            total: 0,
            finished_at: None,
            attention_at: None,
        }
    }

    fn changed(&self) -> Self {
        Self { version: self.version + 1, ..self.clone() }
    }

    /// Starts it: scheduled for when it opens, or freezing at once when it is for now.
    ///
    /// # Errors
    /// When it is no draft, or its date is past everywhere or too far ahead.
    pub fn start(&self, now: Timestamp) -> Result<Self, StartRefused> {
        if self.state != CampaignState::Draft {
            return Err(StartRefused::NotDraft(self.state));
        }
        let opens_at = self.timing.opens(now)?;
        let scheduled = Self {
            state: CampaignState::Scheduled,
            started_at: Some(now),
            opens_at: Some(opens_at),
            attention_at: Some(opens_at.max(now)),
            ..self.changed()
        };
        if self.timing.when == When::Now { Ok(scheduled.opened(now)) } else { Ok(scheduled) }
    }

    fn opened(self, now: Timestamp) -> Self {
        Self { state: CampaignState::Freezing, opened_at: Some(now), attention_at: Some(now), ..self }
    }

    /// Opens it when its hour has come; `None` while it has not.
    ///
    /// # Errors
    /// When it is not scheduled.
    pub fn open(&self, now: Timestamp) -> Result<Option<Self>, WrongState> {
        match (self.state, self.opens_at) {
            (CampaignState::Scheduled, Some(opens_at)) if opens_at <= now => Ok(Some(self.changed().opened(now))),
            (CampaignState::Scheduled, Some(_)) => Ok(None),
            (state, _) => Err(WrongState(state)),
        }
    }

    /// Puts down the next page of the audience. `page` are the subscribers after [`Campaign::cursor`] in key order,
    /// `last` says that there are none after them. Takes as many of them as [`MAX_CHUNKS_PER_PAGE`] chunks hold.
    ///
    /// # Errors
    /// When it is not freezing.
    pub fn freeze(&self, page: &[Subscriber], last: bool, now: Timestamp) -> Result<Frozen, WrongState> {
        let (CampaignState::Freezing, Some(started), Some(opened)) = (self.state, self.started_at, self.opened_at)
        else {
            return Err(WrongState(self.state));
        };
        let mut full: Vec<(Timestamp, Vec<String>)> = Vec::new();
        let mut open: BTreeMap<Timestamp, Vec<String>> = BTreeMap::new();
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
        let mut cut: Vec<(Timestamp, Vec<String>)> = full.into_iter().chain(open).collect();
        cut.sort_by_key(|(due, _)| *due);
        let chunks: Vec<Chunk> = (self.next_chunk..)
            .zip(cut)
            .map(|(number, (due, digests))| Chunk::new(self.id.clone(), number, due, digests))
            .collect();

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

    /// Finishes it when every recipient has come to a final state and they add up to the total; `None` when not.
    #[must_use]
    pub fn finish(&self, counts: &Counts, now: Timestamp) -> Option<Self> {
        let complete = self.state == CampaignState::Sending
            && self.frozen
            && counts.open_chunks == 0
            && counts.pending == 0
            && counts.sending == 0
            && i64::try_from(self.total) == Ok(counts.sum());
        complete.then(|| self.changed().finished(now))
    }

    fn finished(self, now: Timestamp) -> Self {
        Self { state: CampaignState::Finished, finished_at: Some(now), attention_at: None, ..self }
    }

    /// Puts off when somebody must look at it next.
    #[must_use]
    pub fn look_again(&self, at: Timestamp) -> Self {
        Self { attention_at: Some(at), ..self.changed() }
    }
}

/// How many recipients are in which state. One store keeps them in several parts, of which each may be below zero;
/// their sum is not.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// To be sent.
    pub pending: i64,
    /// In the hands of a worker.
    pub sending: i64,
    /// Accepted by SES.
    pub sent: i64,
    /// Perhaps accepted: no clear answer, and no Send event yet.
    pub unknown: i64,
    /// Refused by SES, or not to be rendered.
    pub failed: i64,
    /// Unsubscribed since the audience was frozen: not sent.
    pub suppressed: i64,
    /// Erased since the audience was frozen: not sent.
    pub skipped: i64,
    /// Chunks that still have something to do.
    pub open_chunks: i64,
}

impl Counts {
    /// The recipients in all states.
    #[must_use]
    pub fn sum(&self) -> i64 {
        self.pending + self.sending + self.sent + self.unknown + self.failed + self.suppressed + self.skipped
    }

    /// The stable names and values, in one order.
    #[must_use]
    pub fn fields(&self) -> [(&'static str, i64); 8] {
        [
            ("pending", self.pending),
            ("sending", self.sending),
            ("sent", self.sent),
            ("unknown", self.unknown),
            ("failed", self.failed),
            ("suppressed", self.suppressed),
            ("skipped", self.skipped),
            ("open_chunks", self.open_chunks),
        ]
    }

    /// The counts from values by stable name.
    #[must_use]
    pub fn from_fields(value: impl Fn(&str) -> i64) -> Self {
        Self {
            pending: value("pending"),
            sending: value("sending"),
            sent: value("sent"),
            unknown: value("unknown"),
            failed: value("failed"),
            suppressed: value("suppressed"),
            skipped: value("skipped"),
            open_chunks: value("open_chunks"),
        }
    }
}

fn combine(a: Counts, b: Counts, with: impl Fn(i64, i64) -> i64) -> Counts {
    let (a, b) = (a.fields(), b.fields());
    Counts::from_fields(|name| {
        let value = |fields: &[(&'static str, i64); 8]| fields.iter().find(|(n, _)| *n == name).map_or(0, |(_, v)| *v);
        with(value(&a), value(&b))
    })
}

impl Add for Counts {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        combine(self, other, |a, b| a + b)
    }
}

impl Sub for Counts {
    type Output = Self;

    fn sub(self, other: Self) -> Self {
        combine(self, other, |a, b| a - b)
    }
}

impl std::iter::Sum for Counts {
    fn sum<I: Iterator<Item = Self>>(iter: I) -> Self {
        iter.fold(Self::default(), Add::add)
    }
}

#[cfg(test)]
#[path = "campaign_tests.rs"]
mod tests;
