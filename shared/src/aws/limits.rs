use super::item::{self, Item, n, s};
use super::port_error;
use crate::domain::id::Tenant;
use crate::domain::rate::{Bucket, Limit, Whose};
use crate::ports::{Limits, PortError};
use async_trait::async_trait;
use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::error::SdkError;
use aws_sdk_dynamodb::operation::update_item::UpdateItemError;
use aws_sdk_dynamodb::types::{ReturnValue, ReturnValuesOnConditionCheckFailure};
use jiff::Timestamp;

/// Limits in the table of jobs. What the operator has set is one item, so that a worker reads all of it at once and cheaply;
/// it holds some thousand limits. Each bucket is an item of its own.
#[derive(Clone)]
pub struct DynamoLimits {
    client: Client,
    table: String,
}

/// The item of what the operator has set: an attribute for each limit.
const SET: &str = "LIMITS";
/// A bucket that nobody has used for a day is as good as none.
const KEEP_SECONDS: i64 = 24 * 3_600;

fn attribute(kind: &str, whose: &Whose) -> String {
    match whose {
        Whose::All => format!("limit:{kind}"),
        Whose::EachTenant => format!("limit:{kind}:*"),
        Whose::Tenant(tenant) => format!("limit:{kind}:{tenant}"),
    }
}

fn limit(attribute: &str, text: &str) -> Option<Limit> {
    let scope = attribute.strip_prefix("limit:")?;
    let (kind, whose) = match scope.split_once(':') {
        None => (scope, Whose::All),
        Some((kind, "*")) => (kind, Whose::EachTenant),
        Some((kind, tenant)) => (kind, Whose::Tenant(Tenant::parse(tenant).ok()?)),
    };
    Some(Limit { kind: kind.to_owned(), whose, rate: text.parse().ok()? })
}

/// To the microsecond: at high rates a slot is shorter than a millisecond.
fn micros(item: &Item, name: &str) -> Option<Timestamp> {
    item::optional_number(item, name).and_then(|micros| Timestamp::from_microsecond(micros).ok())
}

fn bucket(item: &Item) -> Bucket {
    Bucket { taken: micros(item, "taken"), line: micros(item, "line"), mark: item::optional_number(item, "mark") }
}

impl DynamoLimits {
    /// Limits in `table`.
    #[must_use]
    pub fn new(client: Client, table: String) -> Self {
        Self { client, table }
    }
}

#[async_trait]
impl Limits for DynamoLimits {
    async fn all(&self) -> Result<Vec<Limit>, PortError> {
        let get = self.client.get_item().table_name(&self.table).key("pk", s(SET));
        let item = get.send().await.map_err(port_error)?.item.unwrap_or_default();
        let entries = item.iter().filter(|(name, _)| *name != "pk");
        let limits = entries.filter_map(|(name, value)| {
            let read = value.as_s().ok().and_then(|text| limit(name, text));
            if read.is_none() {
                tracing::error!(attribute = name, "an entry of the item {SET} is no limit");
            }
            read
        });
        Ok(limits.collect())
    }

    async fn set(&self, limit: &Limit) -> Result<(), PortError> {
        let update = self
            .client
            .update_item()
            .table_name(&self.table)
            .key("pk", s(SET))
            .update_expression("SET #limit = :rate")
            .expression_attribute_names("#limit", attribute(&limit.kind, &limit.whose))
            .expression_attribute_values(":rate", s(limit.rate.to_string()));
        update.send().await.map(drop).map_err(port_error)
    }

    async fn remove(&self, kind: &str, whose: &Whose) -> Result<bool, PortError> {
        let name = attribute(kind, whose);
        let update = self
            .client
            .update_item()
            .table_name(&self.table)
            .key("pk", s(SET))
            .update_expression("REMOVE #limit")
            .expression_attribute_names("#limit", &name)
            .return_values(ReturnValue::UpdatedOld);
        let old = update.send().await.map_err(port_error)?.attributes;
        Ok(old.is_some_and(|old| old.contains_key(&name)))
    }

    async fn bucket(&self, name: &str) -> Result<Bucket, PortError> {
        let key = s(format!("LIMIT#{name}"));
        let get = self.client.get_item().table_name(&self.table).key("pk", key).consistent_read(true);
        Ok(get.send().await.map_err(port_error)?.item.as_ref().map(bucket).unwrap_or_default())
    }

    async fn swap(&self, name: &str, before: &Bucket, after: &Bucket) -> Result<Result<(), Bucket>, PortError> {
        let mut update = self
            .client
            .update_item()
            .table_name(&self.table)
            .key("pk", s(format!("LIMIT#{name}")))
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld);
        let mut set = vec!["#mark = :mark", "#expires = :expires"];
        for (name, placeholder, time) in
            [("taken", "#taken = :taken", after.taken), ("line", "#line = :line", after.line)]
        {
            if let Some(time) = time {
                set.push(placeholder);
                update = update
                    .expression_attribute_names(format!("#{name}"), name)
                    .expression_attribute_values(format!(":{name}"), n(time.as_microsecond()));
            }
        }
        let ends = after.taken.max(after.line).map_or(0, |end| end.as_second() + KEEP_SECONDS);
        update = update
            .update_expression(format!("SET {}", set.join(", ")))
            .expression_attribute_names("#mark", "mark")
            .expression_attribute_names("#expires", "expires_at")
            .expression_attribute_values(":mark", n(after.mark.unwrap_or_default()))
            .expression_attribute_values(":expires", n(ends));
        update = match before.mark {
            None => update.condition_expression("attribute_not_exists(#mark)"),
            Some(mark) => update.condition_expression("#mark = :old").expression_attribute_values(":old", n(mark)),
        };
        match update.send().await {
            Ok(_) => Ok(Ok(())),
            Err(SdkError::ServiceError(error)) if error.err().is_conditional_check_failed_exception() => {
                let old = match error.into_err() {
                    UpdateItemError::ConditionalCheckFailedException(failed) => failed.item,
                    _ => None,
                };
                let old = old.as_ref().map(bucket).unwrap_or_default();
                // The SDK may have sent it twice: then the first of the two wrote this very bucket.
                Ok(if old.mark == after.mark { Ok(()) } else { Err(old) })
            }
            Err(error) => Err(port_error(error)),
        }
    }
}
