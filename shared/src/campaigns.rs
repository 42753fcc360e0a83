//! What moves campaigns on, from whichever side: the planner opens and freezes them, the clock looks after what is due,
//! both dispatch chunks. All of it may run twice, at the same time and in any order: each step reads, decides by a
//! function of [`crate::domain`] and writes over what it read, or not at all.

mod advance;
mod dispatch;
mod tick;

pub use advance::{Advanced, Planner};
pub use dispatch::{Dispatched, Dispatcher};
pub use tick::{Keeper, Ticked};

use crate::domain::id::CampaignId;
use crate::ports::{Campaigns, PortError, Written};
use jiff::Timestamp;

/// Finishes the campaign if every recipient has come to a final state. Whether it is finished now.
///
/// # Errors
/// When the store cannot be reached.
pub async fn finish(campaigns: &dyn Campaigns, id: &CampaignId, now: Timestamp) -> Result<bool, PortError> {
    let Some(view) = campaigns.get(id).await? else { return Ok(false) };
    let Some(finished) = view.campaign.finish(&view.counts, now) else { return Ok(false) };
    let written = campaigns.update(&view.campaign, &finished).await? == Written::Done;
    if written {
        tracing::info!(campaign = %id, total = finished.total, sent = view.counts.sent, "the campaign is finished");
    }
    Ok(written)
}

#[cfg(test)]
mod tests;
