//! Reading many items of a table at once.

use super::item::Item;
use super::{dice, port_error};
use crate::ports::PortError;
use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::types::KeysAndAttributes;
use std::time::Duration;

/// How often the service is asked for what it left out.
const TRIES: u32 = 6;

/// Reads items by their keys, at most 100, asking again for those that were left out. In no order; what is not there is
/// left out.
pub(super) async fn batch_get(
    client: &Client,
    table: &str,
    keys: Vec<Item>,
    consistent: bool,
) -> Result<Vec<Item>, PortError> {
    let mut found = Vec::new();
    let mut wanted = keys;
    for attempt in 1..=TRIES {
        let keys = KeysAndAttributes::builder().set_keys(Some(wanted)).consistent_read(consistent).build();
        let keys = keys.map_err(|error| PortError::Refused(error.into()))?;
        let answer = client.batch_get_item().request_items(table, keys).send().await.map_err(port_error)?;
        found.extend(answer.responses.unwrap_or_default().remove(table).unwrap_or_default());
        wanted = match answer.unprocessed_keys.and_then(|mut rest| rest.remove(table)) {
            Some(rest) if !rest.keys().is_empty() => rest.keys,
            _ => return Ok(found),
        };
        tokio::time::sleep(Duration::from_millis(25 << attempt).mul_f64(dice())).await;
    }
    Err(PortError::Throttled(anyhow::anyhow!("{} items were not read in {TRIES} tries", wanted.len())))
}
