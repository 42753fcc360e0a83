//! What moves campaigns on, from whichever side: the planner opens and freezes them, the clock looks after what is due,
//! both dispatch chunks; a listener takes in what SES tells. All of it may run twice, at the same time and in any order:
//! each step reads, decides by a function of [`crate::domain`] and writes over what it read, or not at all.

mod advance;
mod dispatch;
mod hear;
mod hits;
mod tick;

pub use advance::{Advanced, Planner};
pub use dispatch::{Dispatched, Dispatcher};
pub use hear::{Heard, Listener};
pub use hits::{HeardHit, HitCounter};
pub use tick::{Keeper, Ticked};

use crate::domain::account::Account;
use crate::domain::campaign::{Campaign, StopReason, WrongState};
use crate::domain::id::CampaignId;
use crate::ports::{Campaigns, PortError, SendLine, SendingAccount, Written};
use anyhow::anyhow;
use jiff::Timestamp;

/// The line of [`Pace`](crate::ports::Pace) that all newsletter mails take their slots from.
pub const LINE: &str = "newsletter";

/// Most chunks that a tick of the clock dispatches or looks at: more than any of SES's quotas lets out in a minute, so that
/// it is the rate that holds a campaign back, also one whose chunks are not full.
pub const CHUNKS_PER_TICK: usize = 4_000;
/// How often a change is tried while others change the campaign.
const TRIES: usize = 8;

/// Finishes the campaign if every recipient has come to a final state. Whether it is finished now.
///
/// # Errors
/// When the store cannot be reached.
pub async fn finish(campaigns: &dyn Campaigns, id: &CampaignId, now: Timestamp) -> Result<bool, PortError> {
    let Some(view) = campaigns.get(id).await? else { return Ok(false) };
    let Some(finished) = view.campaign.finish(&view.counts, now) else { return Ok(false) };
    let written = campaigns.update(&view.campaign, &finished).await? == Written::Done;
    if written {
        tracing::info!(campaign = %id, total = finished.total, sent = view.counts.accepted(), "the campaign is finished");
    }
    Ok(written)
}

/// Changes a campaign as it is at the moment of the write. Gives it after the change; `None` when there is no such
/// campaign, or its state does not allow the change.
///
/// # Errors
/// When the store cannot be reached, or others keep changing it.
pub async fn change(
    campaigns: &dyn Campaigns,
    id: &CampaignId,
    to: impl Fn(&Campaign) -> Result<Campaign, WrongState>,
) -> Result<Option<Campaign>, PortError> {
    for _ in 0..TRIES {
        let Some(campaign) = campaigns.meta(id).await? else { return Ok(None) };
        let Ok(changed) = to(&campaign) else { return Ok(None) };
        if campaigns.update(&campaign, &changed).await? == Written::Done {
            return Ok(Some(changed));
        }
    }
    Err(PortError::Unavailable(anyhow!("the campaign kept changing")))
}

/// Halts a campaign, or pauses it when what stops it passes by itself. One that does not send is left as it is.
///
/// # Errors
/// When the store cannot be reached.
pub async fn stop(
    campaigns: &dyn Campaigns,
    id: &CampaignId,
    reason: StopReason,
    code: Option<&str>,
    now: Timestamp,
) -> Result<(), PortError> {
    let stopped = change(campaigns, id, |campaign| match reason {
        StopReason::Quota | StopReason::Late | StopReason::Person => campaign.pause(reason, now),
        _ => campaign.halt(reason, code.map(str::to_owned), now),
    });
    if let Some(stopped) = stopped.await? {
        let (state, reason) = (stopped.state.as_str(), reason.as_str());
        // The alarm on halted campaigns looks for this line.
        tracing::error!(campaign = %id, state, reason, code, "a campaign was stopped");
    }
    Ok(())
}

/// Halts a campaign when too much came back, or too much was refused. Whether it was halted.
///
/// # Errors
/// When the store cannot be reached.
pub async fn trip(campaigns: &dyn Campaigns, id: &CampaignId, now: Timestamp) -> Result<bool, PortError> {
    let Some(view) = campaigns.get(id).await? else { return Ok(false) };
    let Some(reason) = view.campaign.tripped(&view.counts) else { return Ok(false) };
    stop(campaigns, id, reason, None, now).await?;
    Ok(true)
}

/// Asks SES what it allows, and notes it for all who send.
///
/// # Errors
/// When SES or the store cannot be reached.
pub async fn learn(account: &dyn SendingAccount, line: &dyn SendLine) -> Result<Account, PortError> {
    let account = account.account().await?;
    line.allow(LINE, account.ceiling()).await?;
    Ok(account)
}

#[cfg(test)]
mod tests;
