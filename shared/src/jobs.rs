//! Every message that crosses a queue, one struct each: the contract between who sends and who works.

mod campaign;
mod echo;
mod kinds;
mod letter;
mod operations;
mod people;
mod webhook;
mod wire;

pub use campaign::{CampaignHint, ChunkMessage};
pub use echo::{Echo, Fail};
pub use kinds::{KINDS, Kind, Worker, current_name, kind, public_kinds};
pub use letter::TestLetter;
pub use operations::RetryJobs;
pub use people::{ConfirmSubscription, Existing, ExportSubscribers, ImportSubscribers, SequenceStep, Welcome};
pub use webhook::Webhook;
pub use wire::{JobMessage, Line, UnreadableMessage, Waited};
