use super::item::{self, Item, ms, n, s};
use super::mail_items::META;
use super::{DynamoMail, port_error};
use crate::domain::pace::Grant;
use crate::ports::{Pace, PortError};
use async_trait::async_trait;
use aws_sdk_dynamodb::error::SdkError;
use aws_sdk_dynamodb::operation::update_item::UpdateItemError;
use aws_sdk_dynamodb::operation::update_item::builders::UpdateItemFluentBuilder;
use aws_sdk_dynamodb::types::{ReturnValue, ReturnValuesOnConditionCheckFailure};
use jiff::{SignedDuration, Timestamp};

/// The item after an update whose condition held, or the one on which it failed.
async fn conditional(call: UpdateItemFluentBuilder) -> Result<Result<Item, Option<Item>>, PortError> {
    let call = call
        .return_values(ReturnValue::AllNew)
        .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld);
    match call.send().await {
        Ok(answer) => Ok(Ok(answer.attributes.unwrap_or_default())),
        Err(SdkError::ServiceError(error)) if error.err().is_conditional_check_failed_exception() => {
            Ok(Err(match error.into_err() {
                UpdateItemError::ConditionalCheckFailedException(failed) => failed.item,
                _ => None,
            }))
        }
        Err(error) => Err(port_error(error)),
    }
}

#[async_trait]
impl Pace for DynamoMail {
    async fn take(
        &self,
        name: &str,
        cost: SignedDuration,
        now: Timestamp,
        latest: Timestamp,
    ) -> Result<Grant, PortError> {
        let update = || {
            let pk = s(format!("RATE#{name}"));
            self.client.update_item().table_name(&self.table).key("pk", pk).key("sk", s(META))
        };
        // On a free line the slot begins now. That the SDK may send an addition twice costs a slot and nothing else.
        let mut taken = None;
        if now + cost <= latest {
            let free = update()
                .update_expression("SET tat = :until")
                .condition_expression("attribute_not_exists(tat) OR tat <= :now")
                .expression_attribute_values(":until", ms(now + cost))
                .expression_attribute_values(":now", ms(now));
            match conditional(free).await? {
                Ok(_) => return Ok(Grant::Slot { from: now, until: now + cost }),
                Err(item) => taken = item,
            }
        }
        if let Some(end) = taken.as_ref().and_then(|item| item::optional_time(item, "tat"))
            && end + cost > latest
        {
            return Ok(Grant::Refused { free_at: end });
        }
        let queue_up = update()
            .update_expression("ADD tat :cost")
            .condition_expression("tat > :now AND tat <= :last")
            .expression_attribute_values(":cost", n(cost.as_millis()))
            .expression_attribute_values(":now", ms(now))
            .expression_attribute_values(":last", ms(latest - cost));
        match conditional(queue_up).await? {
            Ok(item) => {
                let until = item::time(&item, "tat")?;
                Ok(Grant::Slot { from: until - cost, until })
            }
            Err(item) => {
                let end = item.as_ref().and_then(|item| item::optional_time(item, "tat")).unwrap_or(now);
                Ok(Grant::Refused { free_at: end.max(now) })
            }
        }
    }
}
