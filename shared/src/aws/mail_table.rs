use super::item::{Item, n, s};
use super::{dice, port_error};
use crate::ports::PortError;
use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::error::SdkError;
use aws_sdk_dynamodb::operation::put_item::PutItemError;
use aws_sdk_dynamodb::operation::transact_write_items::TransactWriteItemsError;
use aws_sdk_dynamodb::types::{AttributeValue, Put, ReturnValuesOnConditionCheckFailure, TransactWriteItem, Update};
use std::time::Duration;

/// Users, newsletters, subscribers, campaigns, chunks and lines of time, in a DynamoDB table with the keys `pk` and `sk`
/// and the sparse index `due`.
#[derive(Clone)]
pub struct DynamoMail {
    pub(super) client: Client,
    pub(super) table: String,
}

/// How often a transaction is tried that others got in the way of.
const TRIES: u32 = 8;

/// What a transaction came to.
pub(super) enum Transacted {
    /// All of it is written.
    Done,
    /// A condition failed, nothing is written. The items that stood in the way, by the place of their action.
    Refused(Vec<Option<Item>>),
}

impl DynamoMail {
    /// Everything in `table`.
    #[must_use]
    pub fn new(client: Client, table: String) -> Self {
        Self { client, table }
    }

    /// One cheap read, to open the connection before the first request needs it.
    pub async fn warm(&self) {
        let _ = self.read("WARM", "WARM").await;
    }

    /// The item with this key, as of the last write.
    pub(super) async fn read(&self, pk: &str, sk: &str) -> Result<Option<Item>, PortError> {
        let get = self.client.get_item().table_name(&self.table).key("pk", s(pk)).key("sk", s(sk));
        get.consistent_read(true).send().await.map(|answer| answer.item).map_err(port_error)
    }

    /// Deletes an item. One that is not there is no error.
    pub(super) async fn delete(&self, pk: &str, sk: &str) -> Result<(), PortError> {
        let delete = self.client.delete_item().table_name(&self.table).key("pk", s(pk)).key("sk", s(sk));
        delete.send().await.map(drop).map_err(port_error)
    }

    /// Puts an item unless one with its key is there; then gives that one.
    pub(super) async fn put_new(&self, item: &Item) -> Result<Option<Item>, PortError> {
        let put = self
            .client
            .put_item()
            .table_name(&self.table)
            .set_item(Some(item.clone()))
            .condition_expression("attribute_not_exists(pk)")
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld);
        match put.send().await {
            Ok(_) => Ok(None),
            Err(SdkError::ServiceError(error)) if error.err().is_conditional_check_failed_exception() => {
                let old = match error.into_err() {
                    PutItemError::ConditionalCheckFailedException(failed) => failed.item,
                    _ => None,
                };
                // The SDK may have sent the put twice: then the first of the two wrote this very item.
                Ok(Some(old.unwrap_or_default()).filter(|old| old != item))
            }
            Err(error) => Err(port_error(error)),
        }
    }

    /// An action that puts an item under a condition.
    pub(super) fn put(
        &self,
        item: Item,
        condition: &str,
        values: &[(&str, AttributeValue)],
    ) -> Result<TransactWriteItem, PortError> {
        let mut put = Put::builder()
            .table_name(&self.table)
            .set_item(Some(item))
            .condition_expression(condition)
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld);
        for (name, value) in values {
            put = put.expression_attribute_values(*name, value.clone());
        }
        let put = put.build().map_err(|error| PortError::Refused(error.into()))?;
        Ok(TransactWriteItem::builder().put(put).build())
    }

    /// An action that adds to the numbers of an item, which need not be there. `None` when nothing is to be added.
    pub(super) fn add(
        &self,
        pk: &str,
        sk: &str,
        numbers: &[(&'static str, i64)],
    ) -> Result<Option<TransactWriteItem>, PortError> {
        let changed: Vec<_> = numbers.iter().filter(|(_, number)| *number != 0).collect();
        if changed.is_empty() {
            return Ok(None);
        }
        let terms: Vec<_> = changed.iter().map(|(name, _)| format!("#{name} :{name}")).collect();
        let mut update = Update::builder()
            .table_name(&self.table)
            .key("pk", s(pk))
            .key("sk", s(sk))
            .update_expression(format!("ADD {}", terms.join(", ")));
        for (name, number) in changed {
            update = update
                .expression_attribute_names(format!("#{name}"), *name)
                .expression_attribute_values(format!(":{name}"), n(number));
        }
        let update = update.build().map_err(|error| PortError::Refused(error.into()))?;
        Ok(Some(TransactWriteItem::builder().update(update).build()))
    }

    /// Writes all of the actions or none. Tries again while other transactions are at the same items.
    pub(super) async fn transact(&self, actions: Vec<TransactWriteItem>) -> Result<Transacted, PortError> {
        let mut attempt = 0;
        loop {
            attempt += 1;
            let call = self.client.transact_write_items().set_transact_items(Some(actions.clone()));
            let error = match call.send().await {
                Ok(_) => return Ok(Transacted::Done),
                Err(error) => error,
            };
            let Some(TransactWriteItemsError::TransactionCanceledException(cancelled)) = error.as_service_error()
            else {
                return Err(port_error(error));
            };
            let reasons = cancelled.cancellation_reasons();
            let has =
                |codes: &[&str]| reasons.iter().any(|reason| reason.code().is_some_and(|code| codes.contains(&code)));
            if has(&["ConditionalCheckFailed"]) {
                return Ok(Transacted::Refused(reasons.iter().map(|reason| reason.item().cloned()).collect()));
            }
            let slow = has(&["ThrottlingError", "ProvisionedThroughputExceeded"]);
            if !slow && !has(&["TransactionConflict"]) {
                return Err(PortError::Refused(anyhow::anyhow!("the transaction was cancelled")));
            }
            if attempt == TRIES {
                let why = anyhow::anyhow!("the transaction was cancelled {TRIES} times");
                return Err(if slow { PortError::Throttled(why) } else { PortError::Unavailable(why) });
            }
            let most = Duration::from_millis(20 << attempt.min(6));
            tokio::time::sleep(most.mul_f64(dice())).await;
        }
    }
}
