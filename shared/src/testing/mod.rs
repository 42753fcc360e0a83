//! In-memory ports with injectable faults, and one conformance suite for each port that runs on them and on AWS. [`Kit`] is
//! for whoever adds a worker: it runs the worker's functions as they are deployed.

mod account;
mod blobs;
pub mod builders;
mod campaign_list;
mod campaigns;
mod checkpoints;
mod clock;
pub mod conformance;
mod faults;
pub mod history;
mod jobs;
mod keys;
mod kit;
mod limits;
mod mail;
mod outbox;
mod pace;
mod people;
pub mod prices;
mod queue;
mod schedules;
mod sign_ups;
mod suppressions;
mod virtual_clock;

pub use account::MemoryAccount;
pub use blobs::MemoryBlobs;
pub use campaign_list::MemoryCampaignList;
pub use campaigns::MemoryCampaigns;
pub use checkpoints::MemoryCheckpoints;
pub use clock::ManualClock;
pub use faults::Faults;
pub use jobs::MemoryJobs;
pub use keys::MemoryKeys;
pub use kit::Kit;
pub use limits::MemoryLimits;
pub use mail::{MemoryMailLedger, MemoryMailer};
pub use outbox::{MemoryBus, MemoryCounters, MemoryDepths, MemoryGroups};
pub use pace::MemoryPace;
pub use people::{MemoryNewsletters, MemorySubscribers, MemoryUsers};
pub use queue::{Delivered, MemoryQueue, MemoryQueues};
pub use schedules::MemorySchedules;
pub use sign_ups::MemorySignUps;
pub use suppressions::MemorySuppressions;
pub use virtual_clock::VirtualClock;
