//! What stops a campaign before its end, and what lets it go on.

use super::{Campaign, CampaignState, Counts, WrongState};
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

/// How often a campaign that waits for SES's daily quota is looked at.
pub const QUOTA_EVERY: SignedDuration = SignedDuration::from_mins(1);
/// Hard bounces, at least, before their share can halt a campaign: the first few say nothing.
pub const MIN_BOUNCES: i64 = 10;
/// The share of hard bounces that halts a campaign. SES reviews an account at 5 %
/// ([AWS](https://docs.aws.amazon.com/ses/latest/dg/reputationdashboardmessages.html)).
pub const MAX_BOUNCE_SHARE: f64 = 0.04;
/// Complaints, at least, before their share can halt a campaign.
pub const MIN_COMPLAINTS: i64 = 3;
/// The share of complaints that halts a campaign. SES reviews an account at 0.1 %.
pub const MAX_COMPLAINT_SHARE: f64 = 0.0008;

/// Failures, at least, before their share can halt a campaign.
pub const MIN_FAILURES: i64 = 20;
/// The share of refused or unrendered mails that halts a campaign: then it is the letter that is at fault.
pub const MAX_FAILURE_SHARE: f64 = 0.2;

/// Why a campaign was stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StopReason {
    /// A person did.
    Person,
    /// It was to open so long ago that a person has to decide.
    Late,
    /// SES's daily quota is used up. It goes on by itself.
    Quota,
    /// Too many hard bounces.
    Bounces,
    /// Too many complaints.
    Complaints,
    /// SES refuses too many of the mails, or they cannot be rendered.
    Failures,
    /// SES takes no mail from this sender or with this configuration.
    Sender,
    /// SES takes no mail from this account.
    Account,
}

impl StopReason {
    /// The stable name.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Person => "person",
            Self::Late => "late",
            Self::Quota => "quota",
            Self::Bounces => "bounces",
            Self::Complaints => "complaints",
            Self::Failures => "failures",
            Self::Sender => "sender",
            Self::Account => "account",
        }
    }

    /// What it means and what to do, in words.
    #[must_use]
    pub fn explain(self) -> &'static str {
        match self {
            Self::Person => "Paused on request. Resume it to go on.",
            Self::Late => "It should have begun long ago. Resume it to send it all the same, or cancel it.",
            Self::Quota => "The daily quota of SES is used up. It goes on by itself when there is room again.",
            Self::Bounces => {
                "Too many addresses do not exist. Clean the audience before resuming it: SES pauses accounts for this."
            }
            Self::Complaints => {
                "Too many recipients called it spam. Look at who gets it before resuming it: SES pauses accounts for this."
            }
            Self::Failures => {
                "Many mails were refused or could not be rendered. Look at the reasons of those that failed, then resume it."
            }
            Self::Sender => {
                "SES refuses this sender or configuration set. Verify the newsletter's From address, then resume it."
            }
            Self::Account => "SES takes no mail from this account. See to the account, then resume it.",
        }
    }
}

/// That a campaign is stopped.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stop {
    /// Why.
    pub reason: StopReason,
    /// When.
    pub at: Timestamp,
    /// The state it goes back to when it is resumed.
    pub from: CampaignState,
    /// SES's code, when that is the cause.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
}

/// What the breaker does not count again: a person has seen it and resumed the campaign.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Forgiven {
    accepted: i64,
    hard_bounced: i64,
    complained: i64,
    failed: i64,
}

impl Campaign {
    /// Pauses it, or has a person's pause take the place of one that would end by itself.
    ///
    /// # Errors
    /// When it is not under way, or paused for this reason already.
    pub fn pause(&self, reason: StopReason, now: Timestamp) -> Result<Self, WrongState> {
        let from = match (self.state, &self.stopped) {
            (CampaignState::Scheduled | CampaignState::Freezing | CampaignState::Sending, _) => self.state,
            (CampaignState::Paused, Some(stop)) if reason == StopReason::Person && stop.reason != reason => stop.from,
            (state, _) => return Err(WrongState(state)),
        };
        let attention_at = (reason == StopReason::Quota).then_some(now + QUOTA_EVERY);
        let stopped = Some(Stop { reason, at: now, from, code: None });
        Ok(Self { state: CampaignState::Paused, stopped, attention_at, ..self.changed() })
    }

    /// Halts it: it needs a person.
    ///
    /// # Errors
    /// When it is not sending.
    pub fn halt(&self, reason: StopReason, code: Option<String>, now: Timestamp) -> Result<Self, WrongState> {
        if !self.state.sends() {
            return Err(WrongState(self.state));
        }
        let stopped = Some(Stop { reason, at: now, from: self.state, code });
        Ok(Self { state: CampaignState::Halted, stopped, attention_at: None, ..self.changed() })
    }

    /// Lets it go on where it was. One that was to open meanwhile opens now. `counts` are its own at this moment: what
    /// halted it does not halt it again.
    ///
    /// # Errors
    /// When it is neither paused nor halted.
    pub fn resume(&self, counts: &Counts, now: Timestamp) -> Result<Self, WrongState> {
        let (CampaignState::Paused | CampaignState::Halted, Some(stop)) = (self.state, &self.stopped) else {
            return Err(WrongState(self.state));
        };
        let mut campaign = Self { state: stop.from, stopped: None, attention_at: Some(now), ..self.changed() };
        if matches!(stop.reason, StopReason::Bounces | StopReason::Complaints | StopReason::Failures) {
            campaign.forgiven = Forgiven {
                accepted: counts.accepted(),
                hard_bounced: counts.hard_bounced,
                complained: counts.complained,
                failed: counts.failed,
            };
        }
        match campaign.opens_at {
            Some(opens_at) if stop.from == CampaignState::Scheduled && opens_at > now => {
                campaign.attention_at = Some(opens_at);
            }
            _ if stop.from == CampaignState::Scheduled => return Ok(campaign.opened(now)),
            _ => {}
        }
        Ok(campaign)
    }

    /// Ends it for good. What is on its way is still written down; what was not begun is skipped.
    ///
    /// # Errors
    /// When it is over already.
    pub fn cancel(&self, now: Timestamp) -> Result<Self, WrongState> {
        if self.state.is_final() {
            return Err(WrongState(self.state));
        }
        let finished_at = Some(now);
        Ok(Self { state: CampaignState::Cancelled, stopped: None, finished_at, attention_at: None, ..self.changed() })
    }

    /// Why it has to be halted, judged by what SES told of its mails.
    #[must_use]
    pub fn tripped(&self, counts: &Counts) -> Option<StopReason> {
        if !self.state.sends() {
            return None;
        }
        let accepted = counts.accepted() - self.forgiven.accepted;
        let failed = counts.failed - self.forgiven.failed;
        let over = |number: i64, least: i64, share: f64, of: i64| number >= least && number as f64 >= share * of as f64;
        if over(counts.hard_bounced - self.forgiven.hard_bounced, MIN_BOUNCES, MAX_BOUNCE_SHARE, accepted) {
            Some(StopReason::Bounces)
        } else if over(counts.complained - self.forgiven.complained, MIN_COMPLAINTS, MAX_COMPLAINT_SHARE, accepted) {
            Some(StopReason::Complaints)
        } else if over(failed, MIN_FAILURES, MAX_FAILURE_SHARE, accepted + failed) {
            Some(StopReason::Failures)
        } else {
            None
        }
    }
}
