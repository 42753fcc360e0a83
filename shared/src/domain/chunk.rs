//! A chunk: up to 50 recipients of a campaign that are sent and recorded together. Who is in it never changes; how far
//! each of them is, does. `pending -> sending -> pending | settling | done`. Every change is a function from the chunk
//! before to the one after and raises [`Chunk::fence`]; a store writes the latter only over the former, so a worker that
//! lost the chunk can write nothing more.

use super::campaign::Counts;
use super::id::CampaignId;
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

/// Most recipients in one chunk.
pub const MAX_RECIPIENTS: usize = 50;
/// How often a recipient is tried, at most, when nobody knows what became of the attempts.
pub const MAX_ATTEMPTS: u8 = 5;
/// The same, when no Send event of the whole chunk has come: then it may be the events that get lost and not the mails.
pub const MAX_ATTEMPTS_UNHEARD: u8 = 2;
/// How long a dispatched chunk is waited for before its message is sent again.
pub const REDISPATCH_EVERY: SignedDuration = SignedDuration::from_mins(5);

/// How far a chunk is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChunkStatus {
    /// Some recipients are to be sent; nobody works on it.
    Pending,
    /// A worker has it until its lease ends.
    Sending,
    /// Nothing is to be sent; for some nobody knows whether they were, and their events are waited for.
    Settling,
    /// Nothing is left to do.
    Done,
}

impl ChunkStatus {
    /// The stable name.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Sending => "sending",
            Self::Settling => "settling",
            Self::Done => "done",
        }
    }

    /// Reads a stable name.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Pending, Self::Sending, Self::Settling, Self::Done].into_iter().find(|status| status.as_str() == text)
    }
}

/// How far one recipient is. In a chunk that is done, all states are final.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum RecipientState {
    /// To be sent.
    #[serde(rename = "p")]
    Pending,
    /// A worker may be sending it.
    #[serde(rename = "s")]
    Sending,
    /// Accepted by SES.
    #[serde(rename = "a")]
    Sent,
    /// Perhaps accepted.
    #[serde(rename = "u")]
    Unknown,
    /// Refused by SES, or not to be rendered.
    #[serde(rename = "f")]
    Failed,
    /// Unsubscribed since: not sent.
    #[serde(rename = "x")]
    Suppressed,
    /// Erased since: not sent.
    #[serde(rename = "e")]
    Skipped,
}

/// One recipient in a chunk. Written as a JSON array, because fifty of them are one attribute.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "(String, RecipientState, u8, Option<String>)", into = "(String, RecipientState, u8, Option<String>)")]
pub struct Recipient {
    /// The digest of the subscriber's key.
    pub digest: String,
    /// How far.
    pub state: RecipientState,
    /// The number of its attempt: the one to come while pending, else the last. From 1.
    pub attempt: u8,
    /// SES's message id, once sent.
    pub message_id: Option<String>,
}

impl From<(String, RecipientState, u8, Option<String>)> for Recipient {
    fn from((digest, state, attempt, message_id): (String, RecipientState, u8, Option<String>)) -> Self {
        Self { digest, state, attempt, message_id }
    }
}

impl From<Recipient> for (String, RecipientState, u8, Option<String>) {
    fn from(one: Recipient) -> Self {
        (one.digest, one.state, one.attempt, one.message_id)
    }
}

/// Up to [`MAX_RECIPIENTS`] recipients of a campaign.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chunk {
    /// Whose chunk.
    pub campaign: CampaignId,
    /// Which of the campaign's chunks, from 0.
    pub number: u32,
    /// When its recipients are due.
    pub due: Timestamp,
    /// How far it is.
    pub status: ChunkStatus,
    /// Who is in it, in an order that never changes.
    pub recipients: Vec<Recipient>,
    /// Counts the changes.
    pub fence: u64,
    /// Who claimed it last: a text drawn for that claim alone.
    pub owner: Option<String>,
    /// While sending: until when the worker has it. By then its process is dead.
    pub lease_until: Option<Timestamp>,
    /// When somebody must look at it next. `None` when it is done.
    pub attention_at: Option<Timestamp>,
}

/// The change is not possible: the chunk's status or owner is another by now, or it is too early.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not possible while the chunk is {}", .0.as_str())]
pub struct ChunkRefused(pub ChunkStatus);

/// What was decided for one pending recipient before a claim.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// Send it.
    Send,
    /// An event says that an earlier attempt was accepted.
    AlreadySent(String),
    /// It unsubscribed.
    Suppress,
    /// It is gone.
    Skip,
    /// Its letter cannot be rendered.
    Fail,
}

/// What sending to one recipient came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Sent {
    /// Accepted, with SES's message id.
    Accepted(String),
    /// Certainly not accepted; to be tried again.
    NotYet,
    /// Certainly not accepted, and never will be.
    Refused,
    /// Nobody knows.
    Unknown,
}

/// A Send event: SES accepted this attempt for this recipient.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SendEvent {
    /// The recipient's place in its chunk.
    pub recipient: usize,
    /// The attempt, from 1.
    pub attempt: u8,
    /// SES's message id.
    pub message_id: String,
}

impl Chunk {
    /// A new chunk: all are to be sent when due.
    #[must_use]
    pub fn new(campaign: CampaignId, number: u32, due: Timestamp, digests: Vec<String>) -> Self {
        let recipient = |digest| Recipient { digest, state: RecipientState::Pending, attempt: 1, message_id: None };
        Self {
            campaign,
            number,
            due,
            status: ChunkStatus::Pending,
            recipients: digests.into_iter().map(recipient).collect(),
            fence: 0,
            owner: None,
            lease_until: None,
            attention_at: Some(due),
        }
    }

    /// Its part of the campaign's counts.
    #[must_use]
    pub fn counts(&self) -> Counts {
        let mut counts = Counts { open_chunks: i64::from(self.status != ChunkStatus::Done), ..Counts::default() };
        for recipient in &self.recipients {
            *match recipient.state {
                RecipientState::Pending => &mut counts.pending,
                RecipientState::Sending => &mut counts.sending,
                RecipientState::Sent => &mut counts.sent,
                RecipientState::Unknown => &mut counts.unknown,
                RecipientState::Failed => &mut counts.failed,
                RecipientState::Suppressed => &mut counts.suppressed,
                RecipientState::Skipped => &mut counts.skipped,
            } += 1;
        }
        counts
    }

    /// The places of the recipients to be sent.
    #[must_use]
    pub fn pending(&self) -> Vec<usize> {
        self.places(RecipientState::Pending)
    }

    fn places(&self, state: RecipientState) -> Vec<usize> {
        (0..self.recipients.len()).filter(|&place| self.recipients[place].state == state).collect()
    }

    /// Whether an attempt of unknown outcome went before one that is pending: then an event may still tell of it.
    #[must_use]
    pub fn repeats(&self) -> bool {
        self.recipients.iter().any(|one| one.state == RecipientState::Pending && one.attempt > 1)
    }

    fn changed(&self) -> Self {
        Self { fence: self.fence + 1, ..self.clone() }
    }

    /// Takes it for a worker. `verdicts` are what was decided for each pending recipient, by place; those without a
    /// verdict stay pending. When none is to be sent it is not `sending` but where that leaves it.
    ///
    /// # Errors
    /// When it is not pending.
    pub fn claim(
        &self,
        owner: &str,
        verdicts: &[(usize, Verdict)],
        now: Timestamp,
        lease_until: Timestamp,
    ) -> Result<Self, ChunkRefused> {
        if self.status != ChunkStatus::Pending {
            return Err(ChunkRefused(self.status));
        }
        let mut chunk = self.changed();
        chunk.owner = Some(owner.to_owned());
        for (place, verdict) in verdicts {
            let Some(one) = chunk.recipients.get_mut(*place).filter(|one| one.state == RecipientState::Pending) else {
                continue;
            };
            one.state = match verdict {
                Verdict::Send => RecipientState::Sending,
                Verdict::AlreadySent(message_id) => {
                    one.message_id = Some(message_id.clone());
                    RecipientState::Sent
                }
                Verdict::Suppress => RecipientState::Suppressed,
                Verdict::Skip => RecipientState::Skipped,
                Verdict::Fail => RecipientState::Failed,
            };
        }
        if chunk.places(RecipientState::Sending).is_empty() {
            chunk.rest(now, now);
        } else {
            chunk.status = ChunkStatus::Sending;
            chunk.lease_until = Some(lease_until);
            chunk.attention_at = Some(lease_until);
        }
        Ok(chunk)
    }

    /// Writes down what the owner's sending came to, by place. Those it says nothing of were not begun. `again_at` is
    /// when the pending ones may be tried again, `settle` how long the events of the unknown ones are waited for.
    ///
    /// # Errors
    /// When the owner does not have it any more.
    pub fn record(
        &self,
        owner: &str,
        outcomes: &[(usize, Sent)],
        again_at: Timestamp,
        settle_at: Timestamp,
    ) -> Result<Self, ChunkRefused> {
        if self.status != ChunkStatus::Sending || self.owner.as_deref() != Some(owner) {
            return Err(ChunkRefused(self.status));
        }
        let mut chunk = self.changed();
        for place in self.places(RecipientState::Sending) {
            let outcome = outcomes.iter().find(|(at, _)| *at == place).map(|(_, outcome)| outcome);
            let one = &mut chunk.recipients[place];
            one.state = match outcome {
                Some(Sent::Accepted(message_id)) => {
                    one.message_id = Some(message_id.clone());
                    RecipientState::Sent
                }
                Some(Sent::Refused) => RecipientState::Failed,
                Some(Sent::Unknown) => RecipientState::Unknown,
                Some(Sent::NotYet) | None => RecipientState::Pending,
            };
        }
        chunk.rest(again_at, settle_at);
        Ok(chunk)
    }

    /// Decides about the recipients of which nobody knows whether they were sent: after the end of a lease that was not
    /// recorded, and when their events were waited for long enough. Who has an event is sent. The others are waited for
    /// until `settle` after the lease and then tried once more, up to [`MAX_ATTEMPTS`]; after that they stay unknown.
    ///
    /// # Errors
    /// When it is neither sending nor settling, or its time has not come.
    pub fn settle(&self, events: &[SendEvent], now: Timestamp, settle: SignedDuration) -> Result<Self, ChunkRefused> {
        let waited_until = match (self.status, self.lease_until, self.attention_at) {
            (ChunkStatus::Sending, Some(lease_until), _) if lease_until <= now => lease_until + settle,
            (ChunkStatus::Settling, _, Some(settle_at)) if settle_at <= now => settle_at,
            _ => return Err(ChunkRefused(self.status)),
        };
        let most = if events.is_empty() { MAX_ATTEMPTS_UNHEARD } else { MAX_ATTEMPTS };
        let mut chunk = self.changed();
        for (place, one) in chunk.recipients.iter_mut().enumerate() {
            if !matches!(one.state, RecipientState::Sending | RecipientState::Unknown) {
                continue;
            }
            if let Some(event) = events.iter().find(|event| event.recipient == place) {
                one.state = RecipientState::Sent;
                one.message_id = Some(event.message_id.clone());
            } else if now >= waited_until && one.attempt < most {
                one.state = RecipientState::Pending;
                one.attempt += 1;
            } else {
                one.state = RecipientState::Unknown;
            }
        }
        if now >= waited_until && chunk.pending().is_empty() {
            chunk.close();
        } else {
            chunk.rest(now, waited_until);
        }
        Ok(chunk)
    }

    /// Sets the status that follows from the recipients when nobody works on it.
    fn rest(&mut self, again_at: Timestamp, settle_at: Timestamp) {
        self.lease_until = None;
        if !self.pending().is_empty() {
            self.status = ChunkStatus::Pending;
            self.attention_at = Some(again_at);
        } else if !self.places(RecipientState::Unknown).is_empty() {
            self.status = ChunkStatus::Settling;
            self.attention_at = Some(settle_at);
        } else {
            self.close();
        }
    }

    fn close(&mut self) {
        self.status = ChunkStatus::Done;
        self.lease_until = None;
        self.attention_at = None;
    }
}

#[cfg(test)]
#[path = "chunk_tests.rs"]
mod tests;
