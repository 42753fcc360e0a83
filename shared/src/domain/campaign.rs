//! A campaign: one letter on its way to a newsletter's subscribers. `draft -> scheduled -> freezing -> sending ->
//! finished`; on its way it may be `paused`, `halted` and resumed, or `cancelled`. Every change is a function from the
//! campaign before to the one after; a store writes the latter only over the former, which [`Campaign::version`] tells.

mod counts;
mod freeze;
mod resend;
mod stop;

pub use counts::Counts;
pub use freeze::{Frozen, MAX_CHUNKS_PER_PAGE, PAGE};
pub use resend::{RESEND_PAGE, Resend, ResendRefused, Resendable};
pub use stop::{
    Forgiven, MAX_BOUNCE_SHARE, MAX_COMPLAINT_SHARE, MAX_FAILURE_SHARE, MIN_BOUNCES, MIN_COMPLAINTS, MIN_FAILURES,
    QUOTA_EVERY, Stop, StopReason,
};

use super::chunk::Uncertain;
use super::id::{CampaignId, NewsletterId, Tenant};
use super::local_time::{DateRefused, Timing, When};
use super::pace::SendRate;
use super::people::Segment;
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

/// How long a campaign at work may go without a look at it.
pub const ATTENTION_EVERY: SignedDuration = SignedDuration::from_mins(2);
/// How long a hint to open or freeze a campaign is waited for before another is sent.
pub const HINT_EVERY: SignedDuration = SignedDuration::from_mins(5);
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
    /// Stopped for a while: by a person, or until something that passes is over.
    Paused,
    /// Every recipient has come to a final state.
    Finished,
    /// Ended by a person before it was finished.
    Cancelled,
    /// Stopped because something is wrong that a person has to see to.
    Halted,
}

impl CampaignState {
    /// Every state.
    pub const ALL: [Self; 8] = [
        Self::Draft,
        Self::Scheduled,
        Self::Freezing,
        Self::Sending,
        Self::Paused,
        Self::Finished,
        Self::Cancelled,
        Self::Halted,
    ];

    /// The stable name.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Draft => "draft",
            Self::Scheduled => "scheduled",
            Self::Freezing => "freezing",
            Self::Sending => "sending",
            Self::Paused => "paused",
            Self::Finished => "finished",
            Self::Cancelled => "cancelled",
            Self::Halted => "halted",
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

    /// Whether it is over.
    #[must_use]
    pub fn is_final(self) -> bool {
        matches!(self, Self::Finished | Self::Cancelled)
    }
}

/// What a campaign does where there is a choice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Rules {
    /// A start that is late by more hours than this waits for a person: 1 to 168.
    pub late_hours: u8,
    /// What becomes of mails of unknown outcome.
    pub uncertain: Uncertain,
}

impl Rules {
    /// The longest lateness that may be allowed: a week.
    pub const MAX_LATE_HOURS: u8 = 168;
}

impl Default for Rules {
    fn default() -> Self {
        Self { late_hours: 6, uncertain: Uncertain::default() }
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
    /// Which version of its letter it sends: see [`letters`](crate::letters).
    pub letter: String,
    /// When whom is due.
    pub timing: Timing,
    /// Whom it is for.
    pub segment: Segment,
    /// What it does where there is a choice.
    pub rules: Rules,
    /// The most it sends at; `None` is as fast as all campaigns together may.
    pub rate: Option<SendRate>,
    /// Whether opens and clicks are counted: as its newsletter says when it is started.
    pub tracked: bool,
    /// How far it is.
    pub state: CampaignState,
    /// Why it is paused or halted, while it is.
    pub stopped: Option<Stop>,
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
    /// The resend under way.
    pub resend: Option<Resend>,
    /// How many resends there were.
    pub pass: u8,
    /// Bounces and complaints that a person has seen.
    pub forgiven: Forgiven,
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
    /// The version of its letter.
    pub letter: String,
    /// When whom is due.
    pub timing: Timing,
    /// Whom it is for.
    pub segment: Segment,
    /// What it does where there is a choice.
    pub rules: Rules,
    /// The most it sends at.
    pub rate: Option<SendRate>,
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

impl Campaign {
    /// A new campaign, not started.
    #[must_use]
    pub fn draft(draft: Draft, now: Timestamp) -> Self {
        let Draft { id, tenant, newsletter, subject, letter, timing, segment, rules, rate } = draft;
        Self {
            id,
            tenant,
            newsletter,
            subject,
            letter,
            timing,
            segment,
            rules,
            rate,
            tracked: false,
            state: CampaignState::Draft,
            stopped: None,
            version: 0,
            created_at: now,
            started_at: None,
            opens_at: None,
            opened_at: None,
            frozen: false,
            cursor: None,
            next_chunk: 0,
            total: 0,
            resend: None,
            pass: 0,
            forgiven: Forgiven::default(),
            finished_at: None,
            attention_at: None,
        }
    }

    /// Whether its letter may be shown to everybody: it is on its way, or was. One that was withdrawn is not shown.
    #[must_use]
    pub fn is_public(&self) -> bool {
        let state = match (&self.stopped, self.state) {
            (Some(stop), CampaignState::Paused) => stop.from,
            (_, state) => state,
        };
        matches!(state, CampaignState::Freezing | CampaignState::Sending | CampaignState::Finished)
    }

    /// The draft with another letter, time, segment or rules.
    ///
    /// # Errors
    /// When it is no draft any more.
    pub fn revised(
        &self,
        subject: String,
        letter: String,
        timing: Timing,
        segment: Segment,
        rules: Rules,
    ) -> Result<Self, WrongState> {
        if self.state == CampaignState::Draft {
            Ok(Self { subject, letter, timing, segment, rules, ..self.changed() })
        } else {
            Err(WrongState(self.state))
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

    /// Opens it when its hour has come; `None` while it has not. When its hour came more than
    /// [`Rules::late_hours`] ago it is paused instead: whatever kept it that long, a person should know before it goes out.
    ///
    /// # Errors
    /// When it is not scheduled.
    pub fn open(&self, now: Timestamp) -> Result<Option<Self>, WrongState> {
        let late = SignedDuration::from_hours(self.rules.late_hours.into());
        match (self.state, self.opens_at) {
            // One that was started after its hour is as late as that person wanted it.
            (CampaignState::Scheduled, Some(opens_at))
                if now > self.started_at.map_or(opens_at, |started| opens_at.max(started)) + late =>
            {
                self.pause(StopReason::Late, now).map(Some)
            }
            (CampaignState::Scheduled, Some(opens_at)) if opens_at <= now => Ok(Some(self.changed().opened(now))),
            (CampaignState::Scheduled, Some(_)) => Ok(None),
            (state, _) => Err(WrongState(state)),
        }
    }

    /// Has it sent at another rate from now on.
    ///
    /// # Errors
    /// When it is over.
    pub fn at_rate(&self, rate: Option<SendRate>) -> Result<Self, WrongState> {
        if self.state.is_final() {
            return Err(WrongState(self.state));
        }
        Ok(Self { rate, ..self.changed() })
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

#[cfg(test)]
#[path = "campaign_tests.rs"]
mod tests;
