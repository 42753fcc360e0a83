//! Updates of some attributes of an item, under a condition.

use super::item::Item;
use super::mail_items::Changes;
use super::port_error;
use crate::ports::PortError;
use aws_sdk_dynamodb::error::SdkError;
use aws_sdk_dynamodb::operation::update_item::UpdateItemError;
use aws_sdk_dynamodb::operation::update_item::builders::UpdateItemFluentBuilder;
use aws_sdk_dynamodb::types::{ReturnValue, ReturnValuesOnConditionCheckFailure};

/// The update with these changes and further clauses of its expression.
pub(super) fn changing(
    call: UpdateItemFluentBuilder,
    changes: &Changes,
    set: &[&str],
    remove: &[&str],
) -> UpdateItemFluentBuilder {
    let mut call = call;
    let (mut sets, mut removes) = (Vec::new(), Vec::new());
    for (name, value) in changes {
        call = call.expression_attribute_names(format!("#{name}"), *name);
        match value {
            Some(value) => {
                call = call.expression_attribute_values(format!(":{name}"), value.clone());
                sets.push(format!("#{name} = :{name}"));
            }
            None => removes.push(format!("#{name}")),
        }
    }
    sets.extend(set.iter().map(|&clause| clause.to_owned()));
    removes.extend(remove.iter().map(|&name| name.to_owned()));
    let clause = |word: &str, parts: Vec<String>| match parts.is_empty() {
        true => String::new(),
        false => format!("{word} {} ", parts.join(", ")),
    };
    call.update_expression(format!("{}{}", clause("SET", sets), clause("REMOVE", removes)).trim_end())
}

/// The item after an update whose condition held (`Ok`), or the one on which it failed, if there is one.
pub(super) async fn conditional(call: UpdateItemFluentBuilder) -> Result<Result<Item, Option<Item>>, PortError> {
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
