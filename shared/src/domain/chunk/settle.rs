//! What becomes of recipients of whom nobody knows whether their mail was accepted.

use super::{Again, Chunk, ChunkRefused, ChunkStatus, RecipientState};
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

/// How often a recipient is tried, at most, when nobody knows what became of the attempts.
pub const MAX_ATTEMPTS: u8 = 5;
/// The same, when no event of the whole chunk has come: then it may be the events that get lost and not the mails.
pub const MAX_ATTEMPTS_UNHEARD: u8 = 2;
/// While SES's events are known to be late, a chunk is looked at again after this long, or after the time that events are waited
/// for when that is shorter.
pub const LOOK_AGAIN: SignedDuration = SignedDuration::from_mins(5);
/// When they are late for as long as this beyond the waiting time, its recipients stay unknown.
pub const GIVE_UP_AFTER: SignedDuration = SignedDuration::from_hours(24);
/// While nothing proves that events come, they are waited for this many times as long.
pub const UNPROVEN_WAITS: i32 = 4;
/// How exact the times are by which events and mails are compared: those who note them do so every ten seconds.
const SLACK: SignedDuration = SignedDuration::from_secs(15);

/// What becomes of a mail that was perhaps accepted and that no event has told of in time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Uncertain {
    /// It is sent once more: who got the first one and whose event was lost gets it twice.
    #[default]
    Retry,
    /// It stays unknown, for a person to decide: who did not get it does not.
    Hold,
}

/// By what uncertain mails are settled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settlement {
    /// How long their events are waited for.
    pub wait: SignedDuration,
    /// What becomes of them then.
    pub uncertain: Uncertain,
    /// When the last mail of all campaigns was sent.
    pub sent_until: Option<Timestamp>,
    /// When the latest mail was sent whose Send event has come.
    pub heard_until: Option<Timestamp>,
}

/// What the absence of an event says of mails sent up to some time.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Silence {
    /// They were not accepted: events of mails that were sent as late or later have come.
    Telling,
    /// It cannot be told: none were sent later, and the events of all that were sent before have come.
    Unproven,
    /// Nothing: the events of others are missing as well.
    Meaningless,
}

impl Settlement {
    fn silence(&self, sent: Timestamp, sent_after: Option<Timestamp>) -> Silence {
        // Where no event ever came, nothing says that they would: that is decided by the number of attempts.
        let Some(heard) = self.heard_until else { return Silence::Telling };
        if heard >= sent {
            return Silence::Telling; // what is noted is never later than what was heard
        }
        let heard = heard + SLACK;
        if self.sent_until.is_some_and(|last| last > sent + SLACK) || sent_after.is_some_and(|last| last > heard) {
            Silence::Meaningless
        } else {
            Silence::Unproven
        }
    }
}

impl Chunk {
    /// Decides about the recipients of which nobody knows whether they were sent: after the end of a lease that was not
    /// recorded, and when their events were waited for long enough. Those are then tried once more, up to
    /// [`MAX_ATTEMPTS`], or held, as `by` says; what is neither sent nor tried stays unknown. While SES's events are late
    /// for others too, nothing is decided for up to [`GIVE_UP_AFTER`].
    ///
    /// # Errors
    /// When it is neither sending nor settling, or its time has not come.
    pub fn settle(&self, by: Settlement, now: Timestamp) -> Result<Self, ChunkRefused> {
        let mut chunk = self.changed();
        match (self.status, self.lease_until, self.attention_at) {
            (ChunkStatus::Sending, Some(lease_until), _) if lease_until <= now => {
                for place in chunk.places(RecipientState::Sending) {
                    chunk.recipients[place].set(RecipientState::Unknown, None);
                }
                if chunk.has(RecipientState::Unknown) {
                    chunk.settle_at = chunk.settle_at.max(Some(lease_until + by.wait));
                }
            }
            (ChunkStatus::Settling, _, Some(look_at)) if look_at <= now => {}
            _ => return Err(ChunkRefused(self.status)),
        }
        let look_at = match chunk.settle_at {
            Some(settle_at) if settle_at <= now => chunk.decide(by, settle_at, now),
            _ => None,
        };
        chunk.rest(Again::At(now));
        if chunk.status == ChunkStatus::Settling && look_at.is_some() {
            chunk.attention_at = look_at;
        }
        Ok(chunk)
    }

    /// Decides about the unknown ones; or says when to look again, while that is too early.
    fn decide(&mut self, by: Settlement, settle_at: Timestamp, now: Timestamp) -> Option<Timestamp> {
        let silence = by.silence(settle_at - by.wait, self.sent_after);
        let unproven = settle_at + by.wait * (UNPROVEN_WAITS - 1);
        match (by.uncertain, silence) {
            (Uncertain::Hold, _) => {}
            (Uncertain::Retry, Silence::Telling) => self.try_again(),
            (Uncertain::Retry, Silence::Unproven) if now < unproven => return Some(unproven),
            (Uncertain::Retry, Silence::Unproven) => self.try_again(),
            (Uncertain::Retry, Silence::Meaningless) if now < settle_at + GIVE_UP_AFTER => {
                return Some(now + LOOK_AGAIN.min(by.wait));
            }
            (Uncertain::Retry, Silence::Meaningless) => {}
        }
        self.settle_at = None;
        None
    }

    fn try_again(&mut self) {
        let most = if self.heard { MAX_ATTEMPTS } else { MAX_ATTEMPTS_UNHEARD };
        for one in self.recipients.iter_mut().filter(|one| one.state == RecipientState::Unknown && one.attempt < most) {
            one.attempt += 1;
            one.set(RecipientState::Pending, None);
        }
    }
}
