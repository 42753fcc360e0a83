use super::PortError;
use crate::domain::id::Tenant;
use async_trait::async_trait;
use std::time::Duration;

/// One message to send.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// The body: up to 1 MiB of text ([quota](https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/quotas-messages.html)).
    pub body: String,
    /// Not delivered before this has passed. At most [`Message::MAX_DELAY`]; sub-second parts round up. A FIFO queue knows
    /// no delay of one message and delivers it at once.
    pub delay: Duration,
    /// What it has in common with other messages. A FIFO queue wants [`Group::Ordered`], a standard queue one of the others.
    pub group: Option<Group>,
}

/// What messages have in common.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Group {
    /// They are work of one tenant: a standard queue serves tenants fairly
    /// ([fair queues](https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-fair-queues.html)).
    Tenant(Tenant),
    /// They are delivered in the order in which they were sent, and none before those sent before it are deleted.
    Ordered {
        /// Whose order it is: 1-128 letters, digits and punctuation marks.
        group: String,
        /// A message is dropped that has the number of one sent in the last five minutes, even if that one is deleted
        /// ([AWS](https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/using-messagededuplicationid-property.html)).
        /// 1-128 letters, digits and punctuation marks.
        deduplication: String,
    },
}

impl Message {
    /// The longest delay SQS takes for one message: 15 minutes.
    pub const MAX_DELAY: Duration = Duration::from_secs(900);

    /// A message for now.
    #[must_use]
    pub fn now(body: String, tenant: Tenant) -> Self {
        Self { body, delay: Duration::ZERO, group: Some(Group::Tenant(tenant)) }
    }

    /// Whose order it keeps, if it keeps one.
    #[must_use]
    pub fn order(&self) -> Option<&str> {
        match &self.group {
            Some(Group::Ordered { group, .. }) => Some(group),
            _ => None,
        }
    }
}

/// One SQS queue: standard, or FIFO.
#[async_trait]
pub trait Queue: Send + Sync {
    /// Sends messages, in requests of at most ten and 1 MiB. The answer has one entry for each message, in order: SQS may
    /// take some of a batch and refuse others. The messages of an ordered group are taken in the order given: after one that
    /// was not taken, none of its group is sent, and each is answered [`PortError::Unavailable`].
    async fn send(&self, messages: &[Message]) -> Vec<Result<(), PortError>>;

    /// Makes a received message visible again after `delay` (0 s to 12 h from when it was received) from now. A message that
    /// is already deleted is no error.
    async fn hide(&self, receipt: &str, delay: Duration) -> Result<(), PortError>;

    /// Sends one message.
    async fn send_one(&self, message: Message) -> Result<(), PortError> {
        self.send(&[message]).await.pop().unwrap_or(Ok(()))
    }
}
