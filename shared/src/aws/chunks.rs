use super::item::{self, Item, ms, n, s};
use super::mail_items::{campaign_pk, chunk_pk, chunk_sk, count_sk, read_chunk, write_chunk};
use super::mail_table::Transacted;
use super::{DynamoMail, port_error};
use crate::domain::chunk::{Chunk, ChunkStatus, SendEvent};
use crate::domain::id::CampaignId;
use crate::ports::{Chunks, PortError, Written};
use async_trait::async_trait;
use aws_sdk_dynamodb::error::SdkError;
use jiff::Timestamp;
use std::time::Duration;

/// How long a Send event is kept: longer than a message may wait on a queue and its dead letters together.
const KEEP_EVENTS: Duration = Duration::from_secs(45 * 24 * 3_600);

fn events_pk(campaign: &CampaignId, number: u32) -> String {
    format!("SENT#{campaign}#{number}")
}

#[async_trait]
impl Chunks for DynamoMail {
    async fn get(&self, campaign: &CampaignId, number: u32) -> Result<Option<Chunk>, PortError> {
        let item = self.read(&chunk_pk(campaign, number), &chunk_sk(number)).await?;
        item.as_ref().map(read_chunk).transpose()
    }

    async fn update(&self, before: &Chunk, after: &Chunk) -> Result<Written, PortError> {
        let item = write_chunk(after)?;
        let mut actions = vec![self.put(item.clone(), "fence = :fence", &[(":fence", n(before.fence))])?];
        let moved = after.counts() - before.counts();
        actions.extend(self.add(&campaign_pk(&before.campaign), &count_sk(before.number), &moved.fields())?);
        Ok(match self.transact(actions).await? {
            Transacted::Done => Written::Done,
            Transacted::Refused(standing) => match standing.into_iter().next().flatten() {
                // The answer to an earlier, equal write was lost.
                Some(standing) if standing == item => Written::Done,
                _ => Written::Stale,
            },
        })
    }

    async fn dispatched(&self, chunk: &Chunk, until: Timestamp) -> Result<Written, PortError> {
        let Some(at) = chunk.attention_at else { return Ok(Written::Stale) };
        let call = self
            .client
            .update_item()
            .table_name(&self.table)
            .key("pk", s(chunk_pk(&chunk.campaign, chunk.number)))
            .key("sk", s(chunk_sk(chunk.number)))
            .update_expression("SET due_at = :until")
            .condition_expression("fence = :fence AND #status = :pending AND due_at IN (:at, :until)")
            .expression_attribute_names("#status", "status")
            .expression_attribute_values(":pending", s(ChunkStatus::Pending.as_str()))
            .expression_attribute_values(":fence", n(chunk.fence))
            .expression_attribute_values(":at", ms(at))
            .expression_attribute_values(":until", ms(until));
        match call.send().await {
            Ok(_) => Ok(Written::Done),
            Err(SdkError::ServiceError(error)) if error.err().is_conditional_check_failed_exception() => {
                Ok(Written::Stale)
            }
            Err(error) => Err(port_error(error)),
        }
    }

    async fn seen(
        &self,
        campaign: &CampaignId,
        number: u32,
        event: &SendEvent,
        now: Timestamp,
    ) -> Result<(), PortError> {
        let item = Item::from([
            ("pk".into(), s(events_pk(campaign, number))),
            ("sk".into(), s(format!("{}#{}", event.recipient, event.attempt))),
            ("message_id".into(), s(&event.message_id)),
            ("expires_at".into(), n((now + KEEP_EVENTS).as_second())),
        ]);
        self.put_new(&item).await.map(|_| ())
    }

    async fn events(&self, campaign: &CampaignId, number: u32) -> Result<Vec<SendEvent>, PortError> {
        let query = self
            .client
            .query()
            .table_name(&self.table)
            .consistent_read(true)
            .key_condition_expression("pk = :pk")
            .expression_attribute_values(":pk", s(events_pk(campaign, number)));
        // Fifty recipients and five attempts at the most: far below the megabyte of one page.
        query.send().await.map_err(port_error)?.items().iter().map(read_event).collect()
    }
}

fn read_event(item: &Item) -> Result<SendEvent, PortError> {
    let sk = item::text(item, "sk")?;
    let parts = sk.split_once('#').and_then(|(place, attempt)| Some((place.parse().ok()?, attempt.parse().ok()?)));
    let (recipient, attempt) = parts.ok_or_else(|| item::corrupt("sk"))?;
    Ok(SendEvent { recipient, attempt, message_id: item::text(item, "message_id")?.to_owned() })
}
