use super::port_error;
use crate::env;
use crate::ports::{Group, Message, PortError, Queue};
use async_trait::async_trait;
use aws_sdk_sqs::Client;
use aws_sdk_sqs::types::{
    MessageSystemAttributeNameForSends, MessageSystemAttributeValue, SendMessageBatchRequestEntry,
};
use std::collections::{HashMap, HashSet};
use std::time::Duration;

/// One SQS queue.
#[derive(Clone)]
pub struct SqsQueue {
    client: Client,
    url: String,
}

/// Entries of one SendMessageBatch ([quota](https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_SendMessageBatch.html)).
const BATCH_ENTRIES: usize = 10;
/// Bytes of all bodies of one SendMessageBatch.
const BATCH_BYTES: usize = 1_048_576;
/// Longest time to hide a message: 12 hours from when it was received, less the longest life of an invocation.
const LONGEST_HIDE: Duration = Duration::from_secs(43_200 - 900);

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

    async fn send_batch(&self, batch: &[&Message]) -> Vec<Result<(), PortError>> {
        if let [message] = batch {
            let call = self
                .client
                .send_message()
                .queue_url(&self.url)
                .message_body(&message.body)
                .set_delay_seconds(delay_seconds(message))
                .set_message_group_id(group_id(message))
                .set_message_deduplication_id(deduplication_id(message))
                .set_message_system_attributes(trace());
            return vec![call.send().await.map(drop).map_err(port_error)];
        }
        let mut call = self.client.send_message_batch().queue_url(&self.url);
        for (i, message) in batch.iter().enumerate() {
            let entry = SendMessageBatchRequestEntry::builder()
                .id(i.to_string())
                .message_body(&message.body)
                .set_delay_seconds(delay_seconds(message))
                .set_message_group_id(group_id(message))
                .set_message_deduplication_id(deduplication_id(message))
                .set_message_system_attributes(trace())
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

fn group_id(message: &Message) -> Option<String> {
    match message.group.as_ref()? {
        Group::Tenant(tenant) => Some(tenant.to_string()),
        Group::Ordered { group, .. } => Some(group.clone()),
    }
}

fn deduplication_id(message: &Message) -> Option<String> {
    match message.group.as_ref()? {
        Group::Tenant(_) => None,
        Group::Ordered { deduplication, .. } => Some(deduplication.clone()),
    }
}

/// Messages on their way, request by request: none of an ordered group goes after one that was not taken.
struct Sending<'a> {
    messages: &'a [Message],
    results: Vec<Option<Result<(), PortError>>>,
}

impl<'a> Sending<'a> {
    fn new(messages: &'a [Message]) -> Self {
        Self { messages, results: messages.iter().map(|_| None).collect() }
    }

    /// The messages of the next request, as indexes; none when all are answered. They are as many of the rest as fit, but of
    /// an ordered group only the first: of two in one request SQS may take the later and refuse the earlier.
    fn next(&self) -> Vec<usize> {
        let (mut batch, mut bytes, mut orders) = (Vec::new(), 0, HashSet::new());
        for (index, message) in self.messages.iter().enumerate() {
            if self.results[index].is_some() || message.order().is_some_and(|order| !orders.insert(order)) {
                continue;
            }
            bytes += message.body.len();
            if batch.len() == BATCH_ENTRIES || (bytes > BATCH_BYTES && !batch.is_empty()) {
                break;
            }
            batch.push(index);
        }
        batch
    }

    /// Takes in what came of a request.
    fn answered(&mut self, batch: &[usize], sent: Vec<Result<(), PortError>>) {
        for (&index, sent) in batch.iter().zip(sent) {
            let stopped = self.messages[index].order().filter(|_| sent.is_err());
            self.results[index] = Some(sent);
            for later in (index + 1..self.messages.len()).filter(|_| stopped.is_some()) {
                if self.messages[later].order() == stopped {
                    let why = anyhow::anyhow!("a message before it of its group was not taken");
                    self.results[later] = Some(Err(PortError::Unavailable(why)));
                }
            }
        }
    }
}

fn all(batch: &[&Message], error: impl Fn() -> PortError) -> Vec<Result<(), PortError>> {
    batch.iter().map(|_| Err(error())).collect()
}

/// What lets X-Ray and the worker's log lines go on with the trace of whoever sends. It counts towards no limit.
fn trace() -> Option<HashMap<MessageSystemAttributeNameForSends, MessageSystemAttributeValue>> {
    let header = env::invocation_trace()?;
    let value = MessageSystemAttributeValue::builder().data_type("String").string_value(header).build().ok()?;
    Some(HashMap::from([(MessageSystemAttributeNameForSends::AwsTraceHeader, value)]))
}

/// Rounded up so that nothing arrives early.
fn whole_seconds(delay: Duration) -> i32 {
    i32::try_from(delay.as_secs() + u64::from(delay.subsec_nanos() > 0)).unwrap_or(i32::MAX)
}

/// A message's delay; none when there is none.
fn seconds(delay: Duration) -> Option<i32> {
    let seconds = whole_seconds(delay.min(Message::MAX_DELAY));
    (seconds > 0).then_some(seconds)
}

/// A FIFO queue refuses a message that names a delay.
fn delay_seconds(message: &Message) -> Option<i32> {
    if message.order().is_some() { None } else { seconds(message.delay) }
}

#[async_trait]
impl Queue for SqsQueue {
    async fn send(&self, messages: &[Message]) -> Vec<Result<(), PortError>> {
        let mut sending = Sending::new(messages);
        loop {
            let batch = sending.next();
            if batch.is_empty() {
                return sending.results.into_iter().flatten().collect();
            }
            let entries: Vec<&Message> = batch.iter().map(|index| &messages[*index]).collect();
            let sent = self.send_batch(&entries).await;
            sending.answered(&batch, sent);
        }
    }

    async fn hide(&self, receipt: &str, delay: Duration) -> Result<(), PortError> {
        let timeout = whole_seconds(delay.min(LONGEST_HIDE));
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
    use proptest::prelude::*;

    #[test]
    fn a_delay_rounds_up_and_stays_within_the_limit() {
        assert_eq!(seconds(Duration::ZERO), None);
        assert_eq!(seconds(Duration::from_millis(1)), Some(1));
        assert_eq!(seconds(Duration::from_millis(1_001)), Some(2));
        assert_eq!(seconds(Duration::from_secs(5_000)), Some(900));
        assert_eq!(whole_seconds(Duration::from_secs(5_000)), 5_000, "a message may be hidden for longer");
    }

    fn of_group(group: Option<u8>, number: usize, bytes: usize) -> Message {
        let group = group.map(|group| Group::Ordered { group: group.to_string(), deduplication: number.to_string() });
        Message { body: format!("{number}{}", "x".repeat(bytes)), delay: Duration::ZERO, group }
    }

    proptest! {
        #[test]
        fn nothing_of_a_group_is_sent_behind_what_was_not_taken(
            groups in prop::collection::vec((prop::option::of(0u8..4), any::<bool>()), 0..60), large: bool,
        ) {
            let messages: Vec<Message> = groups.iter().enumerate()
                .map(|(i, (group, _))| of_group(*group, i, if large { 300_000 } else { 3 })).collect();
            let (mut sent, mut requests) = (Vec::new(), 0);
            let mut sending = Sending::new(&messages);
            loop {
                let batch = sending.next();
                if batch.is_empty() {
                    break;
                }
                requests += 1;
                prop_assert!(batch.len() <= BATCH_ENTRIES);
                prop_assert!(batch.iter().map(|i| messages[*i].body.len()).sum::<usize>() <= BATCH_BYTES);
                let orders: Vec<_> = batch.iter().filter_map(|i| messages[*i].order()).collect();
                prop_assert_eq!(orders.iter().collect::<HashSet<_>>().len(), orders.len(), "two of a group at once");
                sent.extend(batch.iter().filter(|i| groups[**i].1));
                let refused = || Err(PortError::Unavailable(anyhow::anyhow!("no")));
                let answers = batch.iter().map(|i| if groups[*i].1 { Ok(()) } else { refused() }).collect();
                sending.answered(&batch, answers);
            }
            let results: Vec<_> = sending.results.into_iter().flatten().collect();
            prop_assert_eq!(results.len(), messages.len());
            for (i, (group, taken)) in groups.iter().enumerate() {
                let before = groups[..i].iter().any(|(other, taken)| group.is_some() && other == group && !taken);
                prop_assert_eq!(results[i].is_ok(), *taken && !before);
                prop_assert_eq!(sent.contains(&i), results[i].is_ok());
            }
            for group in 0..4 {
                let order: Vec<_> = sent.iter().copied().filter(|i| groups[*i].0 == Some(group)).collect();
                prop_assert!(order.is_sorted());
            }
            if !large && groups.iter().all(|(group, _)| group.is_none()) {
                prop_assert_eq!(requests, groups.len().div_ceil(BATCH_ENTRIES));
            }
        }
    }
}
