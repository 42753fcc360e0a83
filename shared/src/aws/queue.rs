use super::port_error;
use crate::ports::{Message, PortError, Queue};
use async_trait::async_trait;
use aws_sdk_sqs::Client;
use aws_sdk_sqs::types::SendMessageBatchRequestEntry;
use std::time::Duration;

/// One standard SQS queue.
#[derive(Clone)]
pub struct SqsQueue {
    client: Client,
    url: String,
}

/// Entries of one SendMessageBatch ([quota](https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_SendMessageBatch.html)).
const BATCH_ENTRIES: usize = 10;
/// Bytes of all bodies of one SendMessageBatch.
const BATCH_BYTES: usize = 1_048_576;
/// Longest visibility timeout: 12 hours from when the message was received.
const LONGEST_HIDE: Duration = Duration::from_secs(43_000);

impl SqsQueue {
    /// The queue at `url`.
    #[must_use]
    pub fn new(client: Client, url: String) -> Self {
        Self { client, url }
    }

    /// One cheap call, to open the connection before the first job needs it.
    pub async fn warm(&self) {
        let _ = self.client.get_queue_attributes().queue_url(&self.url).send().await;
    }

    async fn send_batch(&self, batch: &[Message]) -> Vec<Result<(), PortError>> {
        if let [message] = batch {
            let call = self
                .client
                .send_message()
                .queue_url(&self.url)
                .message_body(&message.body)
                .set_delay_seconds(seconds(message.delay))
                .set_message_group_id(message.tenant.as_ref().map(ToString::to_string));
            return vec![call.send().await.map(drop).map_err(port_error)];
        }
        let mut call = self.client.send_message_batch().queue_url(&self.url);
        for (i, message) in batch.iter().enumerate() {
            let entry = SendMessageBatchRequestEntry::builder()
                .id(i.to_string())
                .message_body(&message.body)
                .set_delay_seconds(seconds(message.delay))
                .set_message_group_id(message.tenant.as_ref().map(ToString::to_string))
                .build();
            match entry {
                Ok(entry) => call = call.entries(entry),
                Err(error) => return all(batch, || PortError::Refused(anyhow::anyhow!("{error}"))),
            }
        }
        let answer = match call.send().await {
            Ok(answer) => answer,
            Err(error) => {
                let error = port_error(error);
                let transient = error.is_transient();
                let text = error.to_string();
                return all(batch, || {
                    let source = anyhow::anyhow!("{text}");
                    if transient { PortError::Unavailable(source) } else { PortError::Refused(source) }
                });
            }
        };
        // 200 with failures inside: an entry that is not confirmed by its id is not sent.
        let mut results = all(batch, || PortError::Unavailable(anyhow::anyhow!("the entry was not confirmed")));
        for entry in answer.successful() {
            if let Some(slot) = entry.id().parse::<usize>().ok().and_then(|i| results.get_mut(i)) {
                *slot = Ok(());
            }
        }
        for entry in answer.failed() {
            if let Some(slot) = entry.id().parse::<usize>().ok().and_then(|i| results.get_mut(i)) {
                let source = anyhow::anyhow!("{}", entry.code());
                *slot =
                    Err(if entry.sender_fault() { PortError::Refused(source) } else { PortError::Unavailable(source) });
            }
        }
        results
    }
}

fn all(batch: &[Message], error: impl Fn() -> PortError) -> Vec<Result<(), PortError>> {
    batch.iter().map(|_| Err(error())).collect()
}

/// Whole seconds, rounded up so that nothing arrives early; none for no delay.
fn seconds(delay: Duration) -> Option<i32> {
    let delay = delay.min(Message::MAX_DELAY);
    let up = delay.as_secs() + u64::from(delay.subsec_nanos() > 0);
    (up > 0).then(|| i32::try_from(up).unwrap_or(900))
}

#[async_trait]
impl Queue for SqsQueue {
    async fn send(&self, messages: &[Message]) -> Vec<Result<(), PortError>> {
        let mut results = Vec::with_capacity(messages.len());
        let mut rest = messages;
        while !rest.is_empty() {
            let mut bytes = 0;
            let fitting = rest
                .iter()
                .take(BATCH_ENTRIES)
                .take_while(|message| {
                    bytes += message.body.len();
                    bytes <= BATCH_BYTES
                })
                .count()
                .max(1);
            let (batch, later) = rest.split_at(fitting);
            results.extend(self.send_batch(batch).await);
            rest = later;
        }
        results
    }

    async fn hide(&self, receipt: &str, delay: Duration) -> Result<(), PortError> {
        let timeout = seconds(delay.min(Message::MAX_DELAY.max(LONGEST_HIDE))).unwrap_or(0);
        let call = self
            .client
            .change_message_visibility()
            .queue_url(&self.url)
            .receipt_handle(receipt)
            .visibility_timeout(timeout);
        match call.send().await {
            Ok(_) => Ok(()),
            Err(error) => {
                let gone = error
                    .as_service_error()
                    .is_some_and(|service| service.is_message_not_inflight() || service.is_receipt_handle_is_invalid());
                if gone { Ok(()) } else { Err(port_error(error)) }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_delay_rounds_up_and_stays_within_the_limit() {
        assert_eq!(seconds(Duration::ZERO), None);
        assert_eq!(seconds(Duration::from_millis(1)), Some(1));
        assert_eq!(seconds(Duration::from_millis(1_001)), Some(2));
        assert_eq!(seconds(Duration::from_secs(5_000)), Some(900));
    }
}
