//! What the outside world offers, one small trait per capability. Adapters are in [`crate::aws`], in-memory ones in
//! `crate::testing`; one conformance suite runs on both.

mod account;
mod blobs;
mod bus;
mod campaign_list;
mod campaigns;
mod checkpoints;
mod clock;
mod counters;
mod dead_jobs;
mod dead_letters;
mod depths;
mod files;
mod groups;
mod hits;
mod identities;
mod job_scan;
mod jobs;
mod keys;
mod limits;
mod mail;
mod pace;
mod people;
mod queue;
mod schedules;
mod sign_ups;
mod suppressions;

pub use account::SendingAccount;
pub use blobs::{Blobs, PutBlob};
pub use bus::Bus;
pub use campaign_list::{CampaignList, Whose};
pub use campaigns::{CampaignView, Campaigns, Chunks, DueItem, Written};
pub use checkpoints::Checkpoints;
pub use clock::{Clock, SystemClock};
pub use counters::Counters;
pub use dead_jobs::{DeadJob, DeadJobs, Death};
pub use dead_letters::{DeadLetter, DeadLetters};
pub use depths::{Depth, QueueDepths};
pub use files::{Files, Found};
pub use groups::Groups;
pub use hits::{HitChange, HitLedger};
pub use identities::Identities;
pub use job_scan::{JobScan, ScanPage, ScannedJob};
pub use jobs::{Applied, Created, DueJob, Jobs, RecentJob};
pub use keys::{HashKeys, Keys, TokenKeys, WebhookSecrets};
pub use limits::Limits;
pub use mail::{Mail, MailError, MailLedger, Mailer, Opened};
pub use pace::{Pace, SendLine};
pub use people::{Added, Newsletters, SubscriberPage, Subscribers, Users};
pub use queue::{Group, Message, Queue};
pub use schedules::{SchedulePlace, Schedules};
pub use sign_ups::{SignUps, Throttle};
pub use suppressions::Suppressions;

/// Why a port could not do as asked. The source may name tables and keys: it goes to the log, never into an answer.
#[derive(Debug, thiserror::Error)]
pub enum PortError {
    /// The service asks to slow down. The same call may succeed later.
    #[error("throttled: {0:#}")]
    Throttled(anyhow::Error),
    /// A time-out, a broken connection, a fault at the service. The same call may succeed later; it may also have been
    /// carried out.
    #[error("unavailable: {0:#}")]
    Unavailable(anyhow::Error),
    /// The service understood and refuses. The same call will fail again.
    #[error("refused: {0:#}")]
    Refused(anyhow::Error),
    /// Something stored cannot be read as what it should be.
    #[error("unreadable: {0:#}")]
    Corrupt(anyhow::Error),
}

impl PortError {
    /// Whether the same call may succeed later.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        matches!(self, Self::Throttled(_) | Self::Unavailable(_))
    }
}
