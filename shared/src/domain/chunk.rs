//! A chunk: up to 50 recipients of a campaign that are sent and recorded together. Who is in it never changes; how far
//! each of them is, does. `pending -> sending -> pending | settling | done`. Every change is a function from the chunk
//! before to the one after and raises [`Chunk::fence`]; a store writes the latter only over the former. A worker has a
//! chunk while it is the chunk's [`owner`](Chunk::owner), so one that lost it can write nothing more.

mod recipient;
mod settle;

pub use recipient::{EventKind, MailEvent, Recipient, RecipientState};
pub use settle::{
    GIVE_UP_AFTER, LOOK_AGAIN, MAX_ATTEMPTS, MAX_ATTEMPTS_UNHEARD, Settlement, UNPROVEN_WAITS, Uncertain,
};

use super::campaign::Counts;
use super::id::CampaignId;
use jiff::{SignedDuration, Timestamp};

/// Most recipients in one chunk.
pub const MAX_RECIPIENTS: usize = 50;
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
    /// While pending: whether its message is on the queue.
    pub queued: bool,
    /// While some are unknown: until when their events are waited for. `None` when that is decided.
    pub settle_at: Option<Timestamp>,
    /// When the mails before its own were sent, at the latest, as of its claim. By this one tells whether SES's events
    /// have stopped or there was nothing to tell of.
    pub sent_after: Option<Timestamp>,
    /// Whether any event of SES has come for it.
    pub heard: bool,
    /// The last of the campaign's resends that took recipients of it.
    pub pass: u8,
    /// When somebody must look at it next: for a queued one, when its message is taken for lost. `None` when it is done.
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
    /// It unsubscribed, or its address is suppressed, for this reason.
    Suppress(String),
    /// It is gone.
    Skip(String),
    /// Its letter cannot be rendered.
    Fail(String),
}

/// What sending to one recipient came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Sent {
    /// Accepted, with SES's message id.
    Accepted(String),
    /// Certainly not accepted; to be tried again.
    NotYet,
    /// Certainly not accepted, and never will be, for this reason.
    Refused(String),
    /// Nobody knows.
    Unknown,
}

/// When those of a chunk who are still to be sent are tried again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Again {
    /// Dispatch it at this time.
    At(Timestamp),
    /// Its message is shown again; dispatch it if nobody took it by this time.
    Queued(Timestamp),
}

impl Chunk {
    /// A new chunk: all are to be sent when due.
    #[must_use]
    pub fn new(campaign: CampaignId, number: u32, due: Timestamp, digests: Vec<String>) -> Self {
        Self {
            campaign,
            number,
            due,
            status: ChunkStatus::Pending,
            recipients: digests.into_iter().map(Recipient::new).collect(),
            fence: 0,
            owner: None,
            lease_until: None,
            queued: false,
            settle_at: None,
            sent_after: None,
            heard: false,
            pass: 0,
            attention_at: Some(due),
        }
    }

    /// The chunk with all its recipients skipped: nothing is left to do.
    #[must_use]
    pub fn skipped(mut self, reason: &str) -> Self {
        for one in &mut self.recipients {
            one.set(RecipientState::Skipped, Some(reason.to_owned()));
        }
        self.close();
        self
    }

    /// Its part of the campaign's counts.
    #[must_use]
    pub fn counts(&self) -> Counts {
        let mut counts = Counts { open_chunks: i64::from(self.status != ChunkStatus::Done), ..Counts::default() };
        for one in &self.recipients {
            *counts.of_mut(one.state) += 1;
            counts.repeated += i64::from(one.repeats());
            counts.doubtful += i64::from(one.state == RecipientState::Pending && one.doubtful);
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

    fn has(&self, state: RecipientState) -> bool {
        self.recipients.iter().any(|one| one.state == state)
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
        chunk.queued = false;
        for (place, verdict) in verdicts {
            let Some(one) = chunk.recipients.get_mut(*place).filter(|one| one.state == RecipientState::Pending) else {
                continue;
            };
            match verdict {
                Verdict::Send => one.set(RecipientState::Sending, None),
                Verdict::Suppress(why) => one.set(RecipientState::Suppressed, Some(why.clone())),
                Verdict::Skip(why) => one.set(RecipientState::Skipped, Some(why.clone())),
                Verdict::Fail(why) => one.set(RecipientState::Failed, Some(why.clone())),
            }
        }
        if chunk.has(RecipientState::Sending) {
            chunk.status = ChunkStatus::Sending;
            chunk.lease_until = Some(lease_until);
            chunk.attention_at = Some(lease_until);
        } else {
            chunk.rest(Again::At(now));
        }
        Ok(chunk)
    }

    /// The claimed chunk with when the mails before its own were sent.
    #[must_use]
    pub fn following(self, sent_after: Option<Timestamp>) -> Self {
        Self { sent_after, ..self }
    }

    /// Whether the worker that claimed it as `owner` still has it.
    #[must_use]
    pub fn is_of(&self, owner: &str) -> bool {
        self.status == ChunkStatus::Sending && self.owner.as_deref() == Some(owner)
    }

    /// Whether the recipient at a place is in the hands of a worker.
    #[must_use]
    pub fn is_sending(&self, place: usize) -> bool {
        self.recipients.get(place).is_some_and(|one| one.state == RecipientState::Sending)
    }

    /// Writes down what the owner's sending came to, by place. Those it says nothing of were not begun. `again` is when
    /// the pending ones may be tried again, `settle_at` until when the events of the unknown ones are waited for. What
    /// SES's events told meanwhile stays.
    ///
    /// # Errors
    /// When the owner does not have it any more.
    pub fn record(
        &self,
        owner: &str,
        outcomes: &[(usize, Sent)],
        again: Again,
        settle_at: Timestamp,
    ) -> Result<Self, ChunkRefused> {
        if !self.is_of(owner) {
            return Err(ChunkRefused(self.status));
        }
        let mut chunk = self.changed();
        for (place, outcome) in outcomes {
            // An acceptance counts though an event said so before: it may be of another attempt.
            if let (Sent::Accepted(message_id), Some(one)) = (outcome, chunk.recipients.get_mut(*place)) {
                one.join(one.attempt, message_id, RecipientState::Sent, None);
            }
        }
        let mut unknown = false;
        for place in chunk.places(RecipientState::Sending) {
            let one = &mut chunk.recipients[place];
            match outcomes.iter().find(|(at, _)| *at == place).map(|(_, outcome)| outcome) {
                Some(Sent::Refused(why)) => one.set(RecipientState::Failed, Some(why.clone())),
                Some(Sent::Unknown) => {
                    one.set(RecipientState::Unknown, None);
                    unknown = true;
                }
                Some(Sent::NotYet | Sent::Accepted(_)) | None => one.set(RecipientState::Pending, None),
            }
        }
        if unknown || chunk.settle_at.is_some() {
            chunk.settle_at = chunk.settle_at.max(Some(settle_at));
        }
        chunk.rest(again);
        Ok(chunk)
    }

    /// Joins what SES told of its mails; `None` when nothing of it is new. What SES accepted is not sent any more.
    #[must_use]
    pub fn hear(&self, events: &[MailEvent]) -> Option<Self> {
        let mut chunk = self.changed();
        for event in events {
            if let Some(one) = chunk.recipients.get_mut(event.place) {
                one.join(event.attempt, &event.message_id, event.kind.into(), event.reason.as_deref());
                chunk.heard = true;
            }
        }
        if chunk.recipients == self.recipients && chunk.heard == self.heard {
            return None;
        }
        match chunk.status {
            ChunkStatus::Pending if !chunk.has(RecipientState::Pending) => chunk.rest(Again::At(self.due)),
            ChunkStatus::Settling if !chunk.has(RecipientState::Unknown) => chunk.close(),
            _ => {}
        }
        Some(chunk)
    }

    /// Has recipients in these states sent once more, for the campaign's resend number `pass`; `None` when there are none,
    /// or when that resend took them already.
    #[must_use]
    pub fn reopen(&self, states: &[RecipientState], pass: u8, now: Timestamp) -> Option<Self> {
        let again = |one: &Recipient| states.contains(&one.state) && !one.state.is_accepted();
        if self.pass >= pass || self.status != ChunkStatus::Done || !self.recipients.iter().any(again) {
            return None;
        }
        let mut chunk = self.changed();
        chunk.pass = pass;
        for one in chunk.recipients.iter_mut().filter(|one| again(one)) {
            one.attempt = one.attempt.saturating_add(1);
            one.set(RecipientState::Pending, None);
        }
        chunk.rest(Again::At(now));
        Some(chunk)
    }

    /// Sets the status that follows from the recipients when nobody works on it.
    fn rest(&mut self, again: Again) {
        self.lease_until = None;
        match self.settle_at {
            _ if self.has(RecipientState::Pending) => {
                self.status = ChunkStatus::Pending;
                (self.attention_at, self.queued) = match again {
                    Again::At(at) => (Some(at), false),
                    Again::Queued(until) => (Some(until), true),
                };
            }
            Some(settle_at) if self.has(RecipientState::Unknown) => {
                self.status = ChunkStatus::Settling;
                self.queued = false;
                self.attention_at = Some(settle_at);
            }
            _ => self.close(),
        }
    }

    fn close(&mut self) {
        self.status = ChunkStatus::Done;
        self.lease_until = None;
        self.queued = false;
        self.settle_at = None;
        self.sent_after = None;
        self.attention_at = None;
    }
}

#[cfg(test)]
#[path = "chunk_tests.rs"]
mod tests;
