use super::batch_get::batch_get;
use super::due::count_after;
use super::item::{self, Item, ms, n, s};
use super::mail_items::{Listing, campaign_pk, chunk_pk, chunk_sk, count_sk, read_chunk, write_chunk};
use super::mail_table::Transacted;
use super::{DynamoMail, port_error};
use crate::domain::chunk::{Chunk, ChunkStatus};
use crate::domain::id::CampaignId;
use crate::ports::{Chunks, PortError, Written};
use async_trait::async_trait;
use aws_sdk_dynamodb::error::SdkError;
use aws_sdk_dynamodb::operation::update_item::builders::UpdateItemFluentBuilder;
use futures::future::try_join_all;
use jiff::Timestamp;
use std::ops::Range;

#[async_trait]
impl Chunks for DynamoMail {
    async fn get(&self, campaign: &CampaignId, number: u32) -> Result<Option<Chunk>, PortError> {
        let item = self.read(&chunk_pk(campaign, number), &chunk_sk(number)).await?;
        item.as_ref().map(read_chunk).transpose()
    }

    async fn range(&self, campaign: &CampaignId, numbers: Range<u32>) -> Result<Vec<Chunk>, PortError> {
        let key =
            |number| Item::from([("pk".into(), s(chunk_pk(campaign, number))), ("sk".into(), s(chunk_sk(number)))]);
        let keys: Vec<Item> = numbers.map(key).collect();
        if keys.is_empty() {
            return Ok(Vec::new());
        }
        let items = batch_get(&self.client, &self.table, keys, true).await?;
        let mut chunks = items.iter().map(read_chunk).collect::<Result<Vec<_>, _>>()?;
        chunks.sort_by_key(|chunk| chunk.number);
        Ok(chunks)
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

    async fn ready(&self, campaign: &CampaignId, until: Timestamp, limit: usize) -> Result<Vec<u32>, PortError> {
        let lists = [Listing::Ready(campaign), Listing::Queued(campaign)];
        let found = try_join_all(lists.map(|listing| self.listed(listing, until, limit))).await?;
        let number = |item: &Item| item::text(item, "sk")?.parse().map_err(|_| item::corrupt("sk"));
        found.iter().flatten().take(limit).map(number).collect()
    }

    async fn queued(&self, campaign: &CampaignId, now: Timestamp) -> Result<usize, PortError> {
        let shards = Listing::Queued(campaign).shards();
        let counts = shards.iter().map(|shard| count_after(&self.client, &self.table, shard, now));
        Ok(try_join_all(counts).await?.into_iter().sum())
    }

    async fn dispatched(&self, chunk: &Chunk, until: Timestamp) -> Result<Written, PortError> {
        let Some(at) = chunk.attention_at else { return Ok(Written::Stale) };
        let call = self.put_off(chunk, Listing::Queued(&chunk.campaign), until);
        let call = call
            .condition_expression("fence = :fence AND #status = :pending AND due_at IN (:at, :until)")
            .expression_attribute_values(":at", ms(at));
        written(call).await
    }

    async fn put_back(&self, chunk: &Chunk, at: Timestamp) -> Result<Written, PortError> {
        let call = self.put_off(chunk, Listing::Ready(&chunk.campaign), at);
        written(call.condition_expression("fence = :fence AND #status = :pending")).await
    }
}

impl DynamoMail {
    fn put_off(&self, chunk: &Chunk, listing: Listing<'_>, until: Timestamp) -> UpdateItemFluentBuilder {
        self.client
            .update_item()
            .table_name(&self.table)
            .key("pk", s(chunk_pk(&chunk.campaign, chunk.number)))
            .key("sk", s(chunk_sk(chunk.number)))
            .update_expression("SET due_at = :until, due_shard = :shard")
            .expression_attribute_names("#status", "status")
            .expression_attribute_values(":pending", s(ChunkStatus::Pending.as_str()))
            .expression_attribute_values(":fence", n(chunk.fence))
            .expression_attribute_values(":until", ms(until))
            .expression_attribute_values(":shard", s(listing.shard_of(chunk.number)))
    }
}

async fn written(call: UpdateItemFluentBuilder) -> Result<Written, PortError> {
    match call.send().await {
        Ok(_) => Ok(Written::Done),
        Err(SdkError::ServiceError(error)) if error.err().is_conditional_check_failed_exception() => Ok(Written::Stale),
        Err(error) => Err(port_error(error)),
    }
}
