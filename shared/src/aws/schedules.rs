//! Schedules in the table of jobs, `SCHED#<tenant>#<name>`. They are in the index `due` in a shard of their own, and in the index
//! `recent` under the tenant `SCHED#<tenant>`, which is no tenant's name.

use super::batch_get::batch_get;
use super::due::due_items;
use super::item::{self, Item, json, ms, n, s};
use super::jobs::DynamoJobs;
use super::port_error;
use crate::domain::id::Tenant;
use crate::domain::schedule::{Cron, Schedule, ScheduleName};
use crate::ports::{PortError, SchedulePlace, Schedules, Written};
use async_trait::async_trait;
use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::error::SdkError;
use aws_sdk_dynamodb::operation::put_item::PutItemError;
use aws_sdk_dynamodb::types::{ReturnValue, ReturnValuesOnConditionCheckFailure};
use jiff::Timestamp;
use std::collections::HashMap;

/// The shard of the index `due` that holds the schedules: one, which takes 1,000 ticks a second.
const SHARD: &str = "schedules";

/// Schedules in a DynamoDB table as [`DynamoJobs`] has it.
#[derive(Clone)]
pub struct DynamoSchedules {
    client: Client,
    table: String,
}

impl DynamoSchedules {
    /// Schedules in `table`.
    #[must_use]
    pub fn new(client: Client, table: String) -> Self {
        Self { client, table }
    }
}

fn group(tenant: &Tenant) -> String {
    format!("SCHED#{tenant}")
}

fn pk(tenant: &Tenant, name: &ScheduleName) -> String {
    format!("SCHED#{tenant}#{name}")
}

/// Whose schedule an item is, and its name.
fn key(item: &Item) -> Result<(Tenant, ScheduleName), PortError> {
    let mut parts = item::text(item, "pk")?.split('#').skip(1);
    let (tenant, name) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
    let tenant = Tenant::parse(tenant).map_err(|_| item::corrupt("pk"))?;
    Ok((tenant, ScheduleName::parse(name).map_err(|_| item::corrupt("pk"))?))
}

#[async_trait]
impl Schedules for DynamoSchedules {
    async fn get(&self, tenant: &Tenant, name: &ScheduleName) -> Result<Option<Schedule>, PortError> {
        let get = self.client.get_item().table_name(&self.table).key("pk", s(pk(tenant, name))).consistent_read(true);
        get.send().await.map_err(port_error)?.item.as_ref().map(read).transpose()
    }

    async fn put(&self, before: Option<&Schedule>, after: &Schedule) -> Result<Written, PortError> {
        let put = self
            .client
            .put_item()
            .table_name(&self.table)
            .set_item(Some(write(after)?))
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld);
        let put = match before {
            None => put.condition_expression("attribute_not_exists(pk)"),
            // A schedule that was deleted and put again begins with version 1 too.
            Some(before) => put
                .condition_expression("version = :version AND created_at = :created_at")
                .expression_attribute_values(":version", n(before.version))
                .expression_attribute_values(":created_at", ms(before.created_at)),
        };
        match put.send().await {
            Ok(_) => Ok(Written::Done),
            Err(SdkError::ServiceError(error)) if error.err().is_conditional_check_failed_exception() => {
                let stored = match error.into_err() {
                    PutItemError::ConditionalCheckFailedException(failed) => failed.item,
                    _ => None,
                };
                let stored = stored.as_ref().map(read).transpose()?;
                Ok(if stored.as_ref() == Some(after) { Written::Done } else { Written::Stale })
            }
            Err(error) => Err(port_error(error)),
        }
    }

    async fn delete(&self, tenant: &Tenant, name: &ScheduleName) -> Result<bool, PortError> {
        let delete = self.client.delete_item().table_name(&self.table).key("pk", s(pk(tenant, name)));
        let old = delete.return_values(ReturnValue::AllOld).send().await.map_err(port_error)?;
        Ok(old.attributes.is_some_and(|old| !old.is_empty()))
    }

    async fn list(
        &self,
        tenant: &Tenant,
        after: Option<&SchedulePlace>,
        limit: usize,
    ) -> Result<(Vec<Schedule>, Option<SchedulePlace>), PortError> {
        let start = after.map(|after| {
            Item::from([
                ("tenant".into(), s(group(tenant))),
                ("created_at".into(), ms(after.created_at)),
                ("pk".into(), s(pk(tenant, &after.name))),
            ])
        });
        let query = self
            .client
            .query()
            .table_name(&self.table)
            .index_name(DynamoJobs::RECENT_INDEX)
            .key_condition_expression("tenant = :tenant")
            .expression_attribute_values(":tenant", s(group(tenant)))
            .scan_index_forward(false)
            .limit(i32::try_from(limit).unwrap_or(i32::MAX))
            .set_exclusive_start_key(start);
        let answer = query.send().await.map_err(port_error)?;
        let mut places = Vec::with_capacity(limit);
        for item in answer.items() {
            let ((_, name), created_at) = (key(item)?, item::time(item, "created_at")?);
            places.push(SchedulePlace { created_at, name });
        }
        if places.is_empty() {
            return Ok((Vec::new(), None));
        }
        let keys = places.iter().map(|place| Item::from([("pk".into(), s(pk(tenant, &place.name)))])).collect();
        let mut found = HashMap::new();
        for item in batch_get(&self.client, &self.table, keys, false).await? {
            let schedule = read(&item)?;
            found.insert(schedule.name.clone(), schedule);
        }
        // The index may name one that has just been deleted.
        let schedules = places.iter().filter_map(|place| found.remove(&place.name)).collect();
        let more = answer.last_evaluated_key.is_some();
        Ok((schedules, places.pop().filter(|_| more)))
    }

    async fn due(&self, until: Timestamp, limit: usize) -> Result<Vec<(Tenant, ScheduleName)>, PortError> {
        due_items(&self.client, &self.table, SHARD, until, limit).await?.iter().map(key).collect()
    }
}

fn write(schedule: &Schedule) -> Result<Item, PortError> {
    let mut item = Item::from([
        ("pk".into(), s(pk(&schedule.tenant, &schedule.name))),
        ("tenant".into(), s(group(&schedule.tenant))),
        ("created_at".into(), ms(schedule.created_at)),
        ("updated_at".into(), ms(schedule.updated_at)),
        ("version".into(), n(schedule.version)),
        ("cron".into(), s(schedule.cron.as_str())),
        ("time_zone".into(), s(schedule.time_zone.as_str())),
        ("job".into(), json(&schedule.job)?),
        ("runs".into(), json(&schedule.runs)?),
    ]);
    if let Some(next) = schedule.next {
        item.insert("due_shard".into(), s(SHARD));
        item.insert("due_at".into(), ms(next));
    }
    Ok(item)
}

fn read(item: &Item) -> Result<Schedule, PortError> {
    let (tenant, name) = key(item)?;
    Ok(Schedule {
        tenant,
        name,
        cron: Cron::parse(item::text(item, "cron")?).map_err(|_| item::corrupt("cron"))?,
        time_zone: item::parsed(item, "time_zone")?,
        job: item::optional_json(item, "job")?.ok_or_else(|| item::corrupt("job"))?,
        created_at: item::time(item, "created_at")?,
        updated_at: item::time(item, "updated_at")?,
        version: item::number(item, "version")?,
        next: item::optional_time(item, "due_at"),
        runs: item::optional_json(item, "runs")?.unwrap_or_default(),
    })
}
