use super::due::due_items;
use super::item::{self, Item, n, s};
use super::mail_items::{Listing, META, campaign_pk, count_sk, read_campaign, write_campaign, write_chunk};
use super::mail_table::Transacted;
use super::{DynamoMail, port_error};
use crate::domain::campaign::{Campaign, Counts, Frozen};
use crate::domain::chunk::Chunk;
use crate::domain::id::CampaignId;
use crate::ports::{Added, CampaignView, Campaigns, DueItem, PortError, Written};
use async_trait::async_trait;
use aws_sdk_dynamodb::error::SdkError;
use aws_sdk_dynamodb::operation::put_item::PutItemError;
use aws_sdk_dynamodb::types::ReturnValuesOnConditionCheckFailure;
use futures::future::try_join_all;
use jiff::Timestamp;

fn due_item(item: &Item) -> Result<DueItem, PortError> {
    let mut parts = item::text(item, "pk")?.split('#');
    let kind = parts.next();
    let id = parts.next().and_then(|id| CampaignId::parse(id).ok()).ok_or_else(|| item::corrupt("pk"))?;
    match kind {
        Some("CMP") => Ok(DueItem::Campaign(id)),
        Some("CHUNKS") => {
            let number = item::text(item, "sk")?.parse().map_err(|_| item::corrupt("sk"))?;
            Ok(DueItem::Chunk(id, number))
        }
        _ => Err(item::corrupt("pk")),
    }
}

/// Stale, unless what stands in the way is what was to be written: then the answer to an earlier, equal write was lost.
fn refused(standing: Option<&Item>, wanted: &Item) -> Written {
    if standing == Some(wanted) { Written::Done } else { Written::Stale }
}

#[async_trait]
impl Campaigns for DynamoMail {
    async fn create(&self, campaign: &Campaign) -> Result<Added<Campaign>, PortError> {
        Ok(match self.put_new(&write_campaign(campaign)?).await? {
            None => Added::New,
            Some(old) => Added::Exists(Box::new(read_campaign(&old)?)),
        })
    }

    async fn get(&self, id: &CampaignId) -> Result<Option<CampaignView>, PortError> {
        let query = self
            .client
            .query()
            .table_name(&self.table)
            .consistent_read(true)
            .key_condition_expression("pk = :pk")
            .expression_attribute_values(":pk", s(campaign_pk(id)));
        let (mut campaign, mut counts) = (None, Counts::default());
        for item in query.send().await.map_err(port_error)?.items() {
            if item::text(item, "sk")? == META {
                campaign = Some(read_campaign(item)?);
            } else {
                counts = counts + Counts::from_fields(|name| item::optional_number(item, name).unwrap_or_default());
            }
        }
        Ok(campaign.map(|campaign| CampaignView { campaign, counts }))
    }

    async fn meta(&self, id: &CampaignId) -> Result<Option<Campaign>, PortError> {
        self.read(&campaign_pk(id), META).await?.as_ref().map(read_campaign).transpose()
    }

    async fn update(&self, before: &Campaign, after: &Campaign) -> Result<Written, PortError> {
        let item = write_campaign(after)?;
        let put = self
            .client
            .put_item()
            .table_name(&self.table)
            .set_item(Some(item.clone()))
            .condition_expression("version = :version")
            .expression_attribute_values(":version", n(before.version))
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld);
        match put.send().await {
            Ok(_) => Ok(Written::Done),
            Err(SdkError::ServiceError(error)) if error.err().is_conditional_check_failed_exception() => {
                match error.into_err() {
                    PutItemError::ConditionalCheckFailedException(failed) => Ok(refused(failed.item.as_ref(), &item)),
                    _ => Ok(Written::Stale),
                }
            }
            Err(error) => Err(port_error(error)),
        }
    }

    async fn freeze(&self, before: &Campaign, page: &Frozen) -> Result<Written, PortError> {
        let item = write_campaign(&page.campaign)?;
        let mut actions = vec![self.put(item.clone(), "version = :version", &[(":version", n(before.version))])?];
        for chunk in &page.chunks {
            actions.push(self.put(write_chunk(chunk)?, "attribute_not_exists(pk)", &[])?);
        }
        let added: Counts = page.chunks.iter().map(Chunk::counts).sum();
        let pk = campaign_pk(&before.id);
        actions.extend(self.add(&pk, &count_sk(before.next_chunk), &added.fields())?);
        Ok(match self.transact(actions).await? {
            Transacted::Done => Written::Done,
            Transacted::Refused(standing) => refused(standing.first().and_then(Option::as_ref), &item),
        })
    }

    async fn active(&self, limit: usize) -> Result<Vec<CampaignId>, PortError> {
        let found = self.listed(Listing::Active, Timestamp::MAX, limit).await?;
        let id = |item: &Item| match due_item(item)? {
            DueItem::Campaign(id) => Ok(id),
            DueItem::Chunk(..) => Err(item::corrupt("due_shard")),
        };
        found.iter().map(id).collect()
    }

    async fn due(&self, until: Timestamp, limit: usize) -> Result<Vec<DueItem>, PortError> {
        let lists = [Listing::Active, Listing::Attention].map(|listing| self.listed(listing, until, limit));
        let mut found = try_join_all(lists).await?.iter().flatten().map(due_item).collect::<Result<Vec<_>, _>>()?;
        found.truncate(limit);
        Ok(found)
    }
}

impl DynamoMail {
    /// At most `limit` items of a listing that are due at `until`, as many of each of its parts.
    pub(super) async fn listed(
        &self,
        listing: Listing<'_>,
        until: Timestamp,
        limit: usize,
    ) -> Result<Vec<Item>, PortError> {
        let shards = listing.shards();
        let share = limit.div_ceil(shards.len()).max(1);
        let parts = shards.iter().map(|shard| due_items(&self.client, &self.table, shard, until, share));
        let mut found: Vec<Item> = try_join_all(parts).await?.into_iter().flatten().collect();
        found.truncate(limit);
        Ok(found)
    }
}
