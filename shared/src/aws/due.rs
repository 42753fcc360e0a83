//! The sparse index of what waits for the clock: `due_shard`, `due_at`. An item is in it only while it has both.

use super::item::{Item, ms, s};
use super::port_error;
use crate::ports::PortError;
use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::types::Select;
use jiff::Timestamp;

/// The name of the index, in every table that has one.
pub(super) const INDEX: &str = "due";

/// At most `limit` items of a shard that are due at `until`, the earliest first.
pub(super) async fn due_items(
    client: &Client,
    table: &str,
    shard: &str,
    until: Timestamp,
    limit: usize,
) -> Result<Vec<Item>, PortError> {
    let mut items = client
        .query()
        .table_name(table)
        .index_name(INDEX)
        .key_condition_expression("due_shard = :shard AND due_at <= :until")
        .expression_attribute_values(":shard", s(shard))
        .expression_attribute_values(":until", ms(until))
        .limit(i32::try_from(limit).unwrap_or(i32::MAX))
        .into_paginator()
        .items()
        .send();
    let mut found = Vec::new();
    while found.len() < limit
        && let Some(item) = items.next().await
    {
        found.push(item.map_err(port_error)?);
    }
    Ok(found)
}

/// How many items of a shard are due after `after`.
pub(super) async fn count_after(
    client: &Client,
    table: &str,
    shard: &str,
    after: Timestamp,
) -> Result<usize, PortError> {
    let mut pages = client
        .query()
        .table_name(table)
        .index_name(INDEX)
        .key_condition_expression("due_shard = :shard AND due_at > :after")
        .expression_attribute_values(":shard", s(shard))
        .expression_attribute_values(":after", ms(after))
        .select(Select::Count)
        .into_paginator()
        .send();
    let mut count = 0;
    while let Some(page) = pages.next().await {
        count += usize::try_from(page.map_err(port_error)?.count).unwrap_or_default();
    }
    Ok(count)
}
