use super::item::{self, Item, n, s};
use super::mail_items::META;
use super::{DynamoMail, port_error};
use crate::domain::pace::{Cut, Grant, Line, SendRate};
use crate::ports::{Pace, PortError, SendLine, Written};
use async_trait::async_trait;
use aws_sdk_dynamodb::error::SdkError;
use aws_sdk_dynamodb::operation::update_item::UpdateItemError;
use aws_sdk_dynamodb::operation::update_item::builders::UpdateItemFluentBuilder;
use aws_sdk_dynamodb::types::{AttributeValue, ReturnValue, ReturnValuesOnConditionCheckFailure};
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

/// A time to the microsecond.
fn us(at: Timestamp) -> AttributeValue {
    n(at.as_microsecond())
}

fn micros(item: &Item, name: &str) -> Option<Timestamp> {
    item::optional_number(item, name).and_then(|us| Timestamp::from_microsecond(us).ok())
}

impl DynamoMail {
    fn line_update(&self, name: &str) -> UpdateItemFluentBuilder {
        let pk = s(format!("RATE#{name}"));
        self.client.update_item().table_name(&self.table).key("pk", pk).key("sk", s(META))
    }
}

#[async_trait]
impl SendLine for DynamoMail {
    async fn line(&self, name: &str) -> Result<Line, PortError> {
        let get =
            self.client.get_item().table_name(&self.table).key("pk", s(format!("RATE#{name}"))).key("sk", s(META));
        let Some(item) = get.send().await.map_err(port_error)?.item else { return Ok(Line::default()) };
        let rate = |name| item::optional_number::<u32>(&item, name).and_then(|rate| SendRate::try_from(rate).ok());
        Ok(Line {
            taken_until: micros(&item, "tat"),
            ceiling: rate("ceiling"),
            cut: rate("cut_left").zip(micros(&item, "cut_at")).map(|(left, at)| Cut { left, at }),
            heard_at: micros(&item, "heard_at"),
        })
    }

    async fn cut(&self, name: &str, before: Option<Cut>, cut: Cut) -> Result<Written, PortError> {
        let call = self
            .line_update(name)
            .update_expression("SET cut_left = :left, cut_at = :at")
            .expression_attribute_values(":left", n(u32::from(cut.left)))
            .expression_attribute_values(":at", us(cut.at));
        let call = match before {
            None => call.condition_expression("attribute_not_exists(cut_at) OR cut_at = :at"),
            Some(before) => {
                let call = call.condition_expression("cut_at IN (:before, :at)");
                call.expression_attribute_values(":before", us(before.at))
            }
        };
        Ok(if conditional(call).await?.is_ok() { Written::Done } else { Written::Stale })
    }

    async fn allow(&self, name: &str, ceiling: SendRate) -> Result<(), PortError> {
        let call = self
            .line_update(name)
            .update_expression("SET ceiling = :ceiling")
            .expression_attribute_values(":ceiling", n(u32::from(ceiling)));
        call.send().await.map(drop).map_err(port_error)
    }

    async fn heard(&self, name: &str, at: Timestamp) -> Result<(), PortError> {
        let call = self
            .line_update(name)
            .update_expression("SET heard_at = :at")
            .condition_expression("attribute_not_exists(heard_at) OR heard_at < :at")
            .expression_attribute_values(":at", us(at));
        conditional(call).await.map(drop)
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
        let update = || self.line_update(name);
        // On a free line the slot begins now. That the SDK may send an addition twice costs a slot and nothing else.
        let mut taken = None;
        if now + cost <= latest {
            let free = update()
                .update_expression("SET tat = :until")
                .condition_expression("attribute_not_exists(tat) OR tat <= :now")
                .expression_attribute_values(":until", us(now + cost))
                .expression_attribute_values(":now", us(now));
            match conditional(free).await? {
                Ok(_) => return Ok(Grant::Slot { from: now, until: now + cost }),
                Err(item) => taken = item,
            }
        }
        if let Some(end) = taken.as_ref().and_then(|item| micros(item, "tat"))
            && end + cost > latest
        {
            return Ok(Grant::Refused { free_at: end });
        }
        let queue_up = update()
            .update_expression("ADD tat :cost")
            .condition_expression("tat > :now AND tat <= :last")
            .expression_attribute_values(":cost", n(cost.as_micros()))
            .expression_attribute_values(":now", us(now))
            .expression_attribute_values(":last", us(latest - cost));
        match conditional(queue_up).await? {
            Ok(item) => {
                let until = micros(&item, "tat").ok_or_else(|| item::corrupt("tat"))?;
                Ok(Grant::Slot { from: until - cost, until })
            }
            Err(item) => {
                let end = item.as_ref().and_then(|item| micros(item, "tat")).unwrap_or(now);
                Ok(Grant::Refused { free_at: end.max(now) })
            }
        }
    }
}
