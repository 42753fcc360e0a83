use super::DynamoMail;
use super::batch_get::batch_get;
use super::item::{self, Item, json, optional_json, optional_number, s};
use super::mail_items::META;
use super::mail_table::Transacted;
use crate::domain::hits::{HitCounts, ReaderHits, ReaderPlace};
use crate::domain::id::CampaignId;
use crate::ports::{HitChange, HitLedger, PortError, Written};
use async_trait::async_trait;
use std::collections::HashMap;

/// Parts of a campaign's counts of hits, each a partition of its own: some hundreds of transactions a second get in each
/// other's way seldom enough, and one reading of all of them is one request.
const PARTS: u32 = 16;

fn readers_pk(campaign: &CampaignId, chunk: u32) -> String {
    format!("HITS#{campaign}#{chunk}")
}

fn count_pk(campaign: &CampaignId, chunk: u32) -> String {
    format!("HITCOUNT#{campaign}#{}", chunk % PARTS)
}

fn key(pk: String, sk: impl ToString) -> Item {
    Item::from([("pk".into(), s(pk)), ("sk".into(), s(sk.to_string()))])
}

#[async_trait]
impl HitLedger for DynamoMail {
    async fn reader_hits(&self, places: &[ReaderPlace]) -> Result<Vec<Option<ReaderHits>>, PortError> {
        if places.is_empty() {
            return Ok(Vec::new());
        }
        let keys = places.iter().map(|one| key(readers_pk(&one.campaign, one.chunk), one.place)).collect();
        let mut found = HashMap::new();
        for item in batch_get(&self.client, &self.table, keys, true).await? {
            let hits = optional_json(&item, "hits")?.ok_or_else(|| item::corrupt("hits"))?;
            found.insert((item::text(&item, "pk")?.to_owned(), item::text(&item, "sk")?.to_owned()), hits);
        }
        let of = |one: &ReaderPlace| found.remove(&(readers_pk(&one.campaign, one.chunk), one.place.to_string()));
        Ok(places.iter().map(of).collect())
    }

    async fn note_hits(&self, campaign: &CampaignId, chunk: u32, changes: &[HitChange]) -> Result<Written, PortError> {
        let (mut items, mut actions, mut moved) = (Vec::new(), Vec::new(), HitCounts::default());
        for change in changes {
            let mut item = key(readers_pk(campaign, chunk), change.place);
            item.insert("hits".into(), json(&change.after)?);
            // What is known is one text, the same for the same hits: it is its own version.
            actions.push(match &change.before {
                Some(before) => self.put(item.clone(), "hits = :before", &[(":before", json(before)?)])?,
                None => self.put(item.clone(), "attribute_not_exists(pk)", &[])?,
            });
            items.push(item);
            moved = moved + change.after.counts() - change.before.as_ref().map(ReaderHits::counts).unwrap_or_default();
        }
        actions.extend(self.add(&count_pk(campaign, chunk), META, &moved.fields())?);
        Ok(match self.transact(actions).await? {
            Transacted::Done => Written::Done,
            // The answer to an earlier, equal write was lost.
            Transacted::Refused(standing)
                if items.iter().zip(&standing).all(|(item, old)| old.as_ref() == Some(item)) =>
            {
                Written::Done
            }
            Transacted::Refused(_) => Written::Stale,
        })
    }

    async fn hit_counts(&self, campaign: &CampaignId) -> Result<HitCounts, PortError> {
        let keys = (0..PARTS).map(|part| key(count_pk(campaign, part), META)).collect();
        let parts = batch_get(&self.client, &self.table, keys, true).await?;
        let read = |item: &Item| HitCounts::from_fields(|name| optional_number(item, name).unwrap_or_default());
        Ok(parts.iter().map(read).sum())
    }
}
