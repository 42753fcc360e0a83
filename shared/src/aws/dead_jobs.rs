//! The sparse index of dead jobs: `dead_of` (the tenant, and there only while the job is dead), `finished_at`.

use super::item::{self, Item, ms, s};
use super::jobs::{DynamoJobs, pk, read_id};
use super::port_error;
use crate::domain::id::Tenant;
use crate::ports::{DeadJob, DeadJobs, Death, PortError};
use async_trait::async_trait;
use jiff::Timestamp;

/// The attribute that a job has while it is dead.
pub(super) const DEAD_OF: &str = "dead_of";

impl DynamoJobs {
    /// The name of the index of dead jobs. A job costs a write of it when it dies and one when it is retried or deleted.
    pub const DEAD_INDEX: &'static str = "dead";
}

fn dead_job(item: &Item) -> Result<DeadJob, PortError> {
    Ok(DeadJob {
        death: Death { at: item::time(item, "finished_at")?, id: read_id(item)? },
        kind: item::text(item, "kind")?.to_owned(),
        tags: item::optional_json(item, "tags")?.unwrap_or_default(),
        error: item::optional_json(item, "error")?,
    })
}

#[async_trait]
impl DeadJobs for DynamoJobs {
    async fn dead(
        &self,
        tenant: &Tenant,
        after: Option<&Death>,
        until: Timestamp,
        limit: usize,
    ) -> Result<Vec<DeadJob>, PortError> {
        let mut found = Vec::with_capacity(limit);
        let mut start = after.map(|after| {
            Item::from([
                (DEAD_OF.into(), s(tenant.as_str())),
                ("finished_at".into(), ms(after.at)),
                ("pk".into(), s(pk(&after.id))),
            ])
        });
        while found.len() < limit {
            let query = self
                .client
                .query()
                .table_name(&self.table)
                .index_name(Self::DEAD_INDEX)
                .key_condition_expression("dead_of = :tenant AND finished_at <= :until")
                .expression_attribute_values(":tenant", s(tenant.as_str()))
                .expression_attribute_values(":until", ms(until))
                .limit(i32::try_from(limit - found.len()).unwrap_or(i32::MAX))
                .set_exclusive_start_key(start);
            let answer = query.send().await.map_err(port_error)?;
            for item in answer.items() {
                found.push(dead_job(item)?);
            }
            start = answer.last_evaluated_key;
            if start.is_none() {
                break;
            }
        }
        Ok(found)
    }
}
