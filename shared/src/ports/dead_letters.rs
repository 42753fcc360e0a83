use super::{Group, PortError};
use async_trait::async_trait;
use jiff::Timestamp;
use std::time::Duration;

/// A message as it lies among the dead letters. Millrace's messages have no attributes of their own, so none are kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeadLetter {
    /// SQS's id of it.
    pub id: String,
    /// What it is deleted or shown again by.
    pub receipt: String,
    /// Its body, as it came.
    pub body: String,
    /// What it has in common with other messages.
    pub group: Option<Group>,
    /// When it was first sent.
    pub sent_at: Timestamp,
    /// The name of the queue that SQS moved it from; absent when a worker put it aside itself.
    pub source: Option<String>,
}

/// A dead-letter queue.
#[async_trait]
pub trait DeadLetters: Send + Sync {
    /// Receives at most ten letters and hides them from other receivers for `hide` (at most 12 h). None: there are none that are
    /// not hidden. Of a FIFO queue's group, those behind a hidden one are hidden too.
    async fn receive(&self, hide: Duration) -> Result<Vec<DeadLetter>, PortError>;

    /// Shows received letters again. One that is shown already is no error.
    async fn show(&self, letters: &[DeadLetter]) -> Result<(), PortError>;

    /// Deletes a received letter. One that is deleted already is no error.
    async fn delete(&self, letter: &DeadLetter) -> Result<(), PortError>;
}
