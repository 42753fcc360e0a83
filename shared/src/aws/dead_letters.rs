use super::port_error;
use crate::domain::id::Tenant;
use crate::ports::{DeadLetter, DeadLetters, Group, PortError};
use async_trait::async_trait;
use aws_sdk_sqs::Client;
use aws_sdk_sqs::types::{ChangeMessageVisibilityBatchRequestEntry, Message, MessageSystemAttributeName as Attribute};
use jiff::Timestamp;
use std::time::Duration;

/// A dead-letter queue of SQS.
#[derive(Clone)]
pub struct SqsDeadLetters {
    client: Client,
    url: String,
}

impl SqsDeadLetters {
    /// The dead-letter queues of the stack, by their URLs.
    ///
    /// # Errors
    /// When SQS cannot be asked.
    pub async fn of_stack(client: &Client, stack: &str) -> Result<Vec<(String, Self)>, PortError> {
        let list = client.list_queues().queue_name_prefix(format!("{stack}-")).max_results(1_000);
        let mut urls = list.send().await.map_err(port_error)?.queue_urls.unwrap_or_default();
        urls.retain(|url| url.ends_with("-dead") || url.ends_with("-dead.fifo"));
        urls.sort();
        let open = |url: String| (url.clone(), Self { client: client.clone(), url });
        Ok(urls.into_iter().map(open).collect())
    }
}

fn letter(message: Message) -> Option<DeadLetter> {
    let attribute = |name: Attribute| message.attributes().and_then(|all| all.get(&name)).cloned();
    let sent_at = attribute(Attribute::SentTimestamp)?.parse().ok()?;
    let source = attribute(Attribute::DeadLetterQueueSourceArn);
    let deduplication = attribute(Attribute::MessageDeduplicationId);
    let group = attribute(Attribute::MessageGroupId).and_then(|group| match deduplication {
        Some(deduplication) => Some(Group::Ordered { group, deduplication }),
        None => Tenant::parse(group).ok().map(Group::Tenant),
    });
    Some(DeadLetter {
        sent_at: Timestamp::from_millisecond(sent_at).ok()?,
        group,
        source: source.and_then(|arn| arn.rsplit(':').next().map(str::to_owned)),
        id: message.message_id?,
        receipt: message.receipt_handle?,
        body: message.body.unwrap_or_default(),
    })
}

#[async_trait]
impl DeadLetters for SqsDeadLetters {
    async fn receive(&self, hide: Duration) -> Result<Vec<DeadLetter>, PortError> {
        let receive = self
            .client
            .receive_message()
            .queue_url(&self.url)
            .max_number_of_messages(10)
            // A short poll asks a part of the servers only, and finds nothing where there is something.
            .wait_time_seconds(2)
            .visibility_timeout(i32::try_from(hide.as_secs()).unwrap_or(i32::MAX))
            .message_system_attribute_names(Attribute::All);
        let received = receive.send().await.map_err(port_error)?.messages.unwrap_or_default();
        Ok(received.into_iter().filter_map(letter).collect())
    }

    async fn show(&self, letters: &[DeadLetter]) -> Result<(), PortError> {
        for letters in letters.chunks(10) {
            let mut call = self.client.change_message_visibility_batch().queue_url(&self.url);
            for (i, letter) in letters.iter().enumerate() {
                let entry = ChangeMessageVisibilityBatchRequestEntry::builder()
                    .id(i.to_string())
                    .receipt_handle(&letter.receipt)
                    .visibility_timeout(0)
                    .build();
                call = call.entries(entry.map_err(|error| PortError::Refused(error.into()))?);
            }
            // An entry that fails is shown already, or is when its time is over.
            call.send().await.map_err(port_error)?;
        }
        Ok(())
    }

    async fn delete(&self, letter: &DeadLetter) -> Result<(), PortError> {
        let delete = self.client.delete_message().queue_url(&self.url).receipt_handle(&letter.receipt);
        match delete.send().await {
            Ok(_) => Ok(()),
            Err(error) => {
                let gone = error.as_service_error().is_some_and(|service| service.is_receipt_handle_is_invalid());
                if gone { Ok(()) } else { Err(port_error(error)) }
            }
        }
    }
}
