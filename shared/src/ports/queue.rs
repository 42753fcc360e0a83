use super::PortError;
use crate::domain::id::Tenant;
use async_trait::async_trait;
use std::time::Duration;

/// One message to send.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// The body: up to 1 MiB of text ([quota](https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/quotas-messages.html)).
    pub body: String,
    /// Not delivered before this has passed. At most [`Message::MAX_DELAY`]; sub-second parts round up.
    pub delay: Duration,
    /// Whose work it is: the queue serves tenants fairly
    /// ([fair queues](https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-fair-queues.html)).
    pub tenant: Option<Tenant>,
}

impl Message {
    /// The longest delay SQS takes for one message: 15 minutes.
    pub const MAX_DELAY: Duration = Duration::from_secs(900);

    /// A message for now.
    #[must_use]
    pub fn now(body: String, tenant: Tenant) -> Self {
        Self { body, delay: Duration::ZERO, tenant: Some(tenant) }
    }
}

/// One standard SQS queue.
#[async_trait]
pub trait Queue: Send + Sync {
    /// Sends messages, in requests of at most ten and 1 MiB. The answer has one entry for each message, in order: SQS may
    /// take some of a batch and refuse others.
    async fn send(&self, messages: &[Message]) -> Vec<Result<(), PortError>>;

    /// Makes a received message visible again after `delay` (0 s to 12 h) from now. A message that is already deleted is
    /// no error.
    async fn hide(&self, receipt: &str, delay: Duration) -> Result<(), PortError>;

    /// Sends one message.
    async fn send_one(&self, message: Message) -> Result<(), PortError> {
        self.send(&[message]).await.pop().unwrap_or(Ok(()))
    }
}
