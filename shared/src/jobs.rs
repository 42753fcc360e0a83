//! Every message that crosses a queue, one struct each: the contract between who sends and who works.

mod campaign;
mod echo;
mod kinds;
mod operations;
mod webhook;
mod wire;

pub use campaign::{CampaignHint, ChunkMessage};
pub use echo::{Echo, Fail};
pub use kinds::{KINDS, Kind, Worker, current_name, kind, public_kinds};
pub use operations::RetryJobs;
pub use webhook::Webhook;
pub use wire::{JobMessage, Line, UnreadableMessage, Waited};

use crate::domain::id::UserId;
use crate::job::Job;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Send the welcome mail to a registered user, once.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Welcome {
    /// Who. The address is looked up when the mail is sent, so no queue holds it.
    #[schemars(with = "String", regex(pattern = "^usr_[A-Za-z0-9_-]+$"))]
    pub user: UserId,
}

impl Job for Welcome {
    const KIND: &'static str = "welcome";
    const MAX_ATTEMPTS: u32 = 10;
}
