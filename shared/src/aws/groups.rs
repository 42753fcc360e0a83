use super::item::{self, Item, ms, n, s};
use super::port_error;
use crate::domain::group::Group;
use crate::domain::id::GroupId;
use crate::ports::{Added, Groups, PortError};
use async_trait::async_trait;
use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::error::SdkError;
use aws_sdk_dynamodb::operation::update_item::builders::UpdateItemFluentBuilder;
use aws_sdk_dynamodb::types::{AttributeValue, ReturnValue, ReturnValuesOnConditionCheckFailure};
use jiff::Timestamp;
use std::time::Duration;

/// How long a group is kept that does not end: a member may wait for 366 days, and be tried for long.
const KEEP_OPEN: Duration = Duration::from_secs(760 * 24 * 3_600);
/// How long it is kept from its end.
const KEEP_ENDED: Duration = Duration::from_secs(30 * 24 * 3_600);

/// Groups in a DynamoDB table with the key `pk`, `sk`: `GROUP#<id>`, `GROUP`.
#[derive(Clone)]
pub struct DynamoGroups {
    client: Client,
    table: String,
}

fn key(id: &GroupId) -> Item {
    Item::from([("pk".into(), s(format!("GROUP#{id}"))), ("sk".into(), s("GROUP"))])
}

impl DynamoGroups {
    /// Groups in `table`.
    #[must_use]
    pub fn new(client: Client, table: String) -> Self {
        Self { client, table }
    }

    fn update(&self, id: &GroupId) -> UpdateItemFluentBuilder {
        self.client.update_item().table_name(&self.table).set_key(Some(key(id)))
    }

    /// Notes a time, the first of several; with an end, from when it is not kept for long any more.
    async fn note(&self, id: &GroupId, name: &str, at: Timestamp, unless: &str, ends: bool) -> Result<(), PortError> {
        let keep = if ends { ", expires_at = :expires" } else { "" };
        let mut call = self
            .update(id)
            .update_expression(format!("SET {name} = :at{keep}"))
            .condition_expression(format!(
                "attribute_exists(pk) AND attribute_not_exists({name}) AND attribute_not_exists({unless})"
            ))
            .expression_attribute_values(":at", ms(at));
        if ends {
            call = call.expression_attribute_values(":expires", n((at + KEEP_ENDED).as_second()));
        }
        match call.send().await {
            Ok(_) => Ok(()),
            Err(SdkError::ServiceError(error)) if error.err().is_conditional_check_failed_exception() => Ok(()),
            Err(error) => Err(port_error(error)),
        }
    }
}

fn write(group: &Group) -> Result<Item, PortError> {
    let mut item = key(&group.id);
    let own = [
        ("tenant", s(group.tenant.as_str())),
        ("fingerprint", s(&group.fingerprint)),
        ("size", n(group.size)),
        ("on_complete", item::json(&group.on_complete)?),
        ("created_at", ms(group.created_at)),
        ("expires_at", n((group.created_at + KEEP_OPEN).as_second())),
    ];
    item.extend(own.map(|(name, value)| (name.to_owned(), value)));
    // DynamoDB has no empty sets.
    if !group.open.is_empty() {
        item.insert("open".into(), numbers(group.open.iter()));
    }
    Ok(item)
}

fn numbers<'a>(numbers: impl Iterator<Item = &'a u16>) -> AttributeValue {
    AttributeValue::Ns(numbers.map(ToString::to_string).collect())
}

fn read(item: &Item) -> Result<Group, PortError> {
    let corrupt = || item::corrupt("open");
    let open = match item.get("open") {
        None => Ok(Default::default()),
        Some(open) => {
            let open = open.as_ns().map_err(|_| corrupt())?.iter().map(|text| text.parse());
            open.collect::<Result<_, _>>().map_err(|_| corrupt())
        }
    };
    let id = item::text(item, "pk")?.trim_start_matches("GROUP#");
    Ok(Group {
        id: GroupId::parse(id).map_err(|_| item::corrupt("pk"))?,
        tenant: item::parsed(item, "tenant")?,
        fingerprint: item::text(item, "fingerprint")?.to_owned(),
        size: item::number(item, "size")?,
        open: open?,
        on_complete: item::optional_json(item, "on_complete")?.ok_or_else(|| item::corrupt("on_complete"))?,
        created_at: item::time(item, "created_at")?,
        accepted_at: item::optional_time(item, "accepted_at"),
        abandoned_at: item::optional_time(item, "abandoned_at"),
        completed_at: item::optional_time(item, "completed_at"),
    })
}

#[async_trait]
impl Groups for DynamoGroups {
    async fn create(&self, group: &Group) -> Result<Added<Group>, PortError> {
        let put = self
            .client
            .put_item()
            .table_name(&self.table)
            .set_item(Some(write(group)?))
            .condition_expression("attribute_not_exists(pk)")
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld);
        match put.send().await {
            Ok(_) => Ok(Added::New),
            Err(SdkError::ServiceError(error)) if error.err().is_conditional_check_failed_exception() => {
                let old = match error.into_err() {
                    aws_sdk_dynamodb::operation::put_item::PutItemError::ConditionalCheckFailedException(e) => e.item,
                    _ => None,
                };
                let old = read(&old.ok_or_else(|| item::corrupt("pk"))?)?;
                // The SDK may have sent the put twice: then the first of the two wrote this very group.
                Ok(if old == *group { Added::New } else { Added::Exists(Box::new(old)) })
            }
            Err(error) => Err(port_error(error)),
        }
    }

    async fn get(&self, id: &GroupId) -> Result<Option<Group>, PortError> {
        let get = self.client.get_item().table_name(&self.table).set_key(Some(key(id))).consistent_read(true);
        get.send().await.map_err(port_error)?.item.as_ref().map(read).transpose()
    }

    async fn accepted(&self, id: &GroupId, at: Timestamp) -> Result<(), PortError> {
        self.note(id, "accepted_at", at, "abandoned_at", false).await
    }

    async fn abandoned(&self, id: &GroupId, at: Timestamp) -> Result<(), PortError> {
        self.note(id, "abandoned_at", at, "completed_at", true).await
    }

    async fn close(&self, id: &GroupId, jobs: &[u16]) -> Result<Option<Group>, PortError> {
        let call = self
            .update(id)
            .update_expression("DELETE #open :jobs")
            .condition_expression("attribute_exists(pk)")
            .expression_attribute_names("#open", "open")
            .expression_attribute_values(":jobs", numbers(jobs.iter()))
            .return_values(ReturnValue::AllNew);
        match call.send().await {
            Ok(done) => read(&done.attributes.unwrap_or_default()).map(Some),
            Err(SdkError::ServiceError(error)) if error.err().is_conditional_check_failed_exception() => Ok(None),
            Err(error) => Err(port_error(error)),
        }
    }

    async fn completed(&self, id: &GroupId, at: Timestamp) -> Result<(), PortError> {
        self.note(id, "completed_at", at, "abandoned_at", true).await
    }
}
