//! Sending once more to those of a finished campaign who did not get it for certain.

use super::{ATTENTION_EVERY, Campaign, CampaignState, HINT_EVERY, WrongState};
use crate::domain::chunk::RecipientState;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// Chunks that a resend goes through between two notes of how far it is.
pub const RESEND_PAGE: u32 = 50;

/// The states that a resend may be for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Resendable {
    /// Perhaps accepted: some of them may get it twice.
    Unknown,
    /// Refused by SES, or not rendered.
    Failed,
}

impl From<Resendable> for RecipientState {
    fn from(which: Resendable) -> Self {
        match which {
            Resendable::Unknown => Self::Unknown,
            Resendable::Failed => Self::Failed,
        }
    }
}

/// A resend under way.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Resend {
    /// Whom it is for.
    pub states: Vec<Resendable>,
    /// The first chunk that was not gone through yet.
    pub next: u32,
}

/// Why there can be no resend.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ResendRefused {
    /// Only a finished campaign can be.
    #[error(transparent)]
    State(#[from] WrongState),
    /// As often as it can be counted.
    #[error("the campaign was sent again {} times, more than that is not possible", u8::MAX)]
    TooOften,
}

impl Campaign {
    /// Sends it once more to the recipients in these states. It goes through its chunks as it did when it froze them.
    ///
    /// # Errors
    /// When it is not finished, or was sent again too often.
    pub fn send_rest(&self, states: &[Resendable], now: Timestamp) -> Result<Self, ResendRefused> {
        if self.state != CampaignState::Finished {
            return Err(WrongState(self.state).into());
        }
        let pass = self.pass.checked_add(1).ok_or(ResendRefused::TooOften)?;
        let mut states = states.to_vec();
        states.sort();
        states.dedup();
        Ok(Self {
            state: CampaignState::Freezing,
            resend: Some(Resend { states, next: 0 }),
            pass,
            finished_at: None,
            attention_at: Some(now),
            ..self.changed()
        })
    }

    /// Notes that the chunks before `next` were gone through; after the last one, only sending is left.
    ///
    /// # Errors
    /// When there is no resend under way.
    pub fn gone_through(&self, next: u32, now: Timestamp) -> Result<Self, WrongState> {
        let (CampaignState::Freezing, Some(resend)) = (self.state, &self.resend) else {
            return Err(WrongState(self.state));
        };
        let changed = self.changed();
        Ok(if next >= self.next_chunk {
            let attention_at = Some(now + ATTENTION_EVERY);
            Self { state: CampaignState::Sending, resend: None, attention_at, ..changed }
        } else {
            let resend = Some(Resend { next, ..resend.clone() });
            Self { resend, attention_at: Some(now + HINT_EVERY), ..changed }
        })
    }
}
