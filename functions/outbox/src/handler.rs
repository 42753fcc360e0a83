//! One batch of the stream: what can be read is carried out, what cannot is put aside.

use jiff::Timestamp;
use millrace::domain::change::{Change, Shard};
use millrace::outbox::{Done, Outbox, Told};
use millrace::ports::{Message, PortError, Queue};
use serde::Serialize;
use serde_json::{Map, Value};
use std::time::Duration;

/// What Lambda is answered. An event source with a tumbling window takes an answer without a state for a failure
/// ([AWS](https://docs.aws.amazon.com/lambda/latest/dg/services-ddb-windows.html)); the window is there for the shard's name
/// alone.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Answer {
    state: Map<String, Value>,
}

/// The batch is not done. It is told again whole: every step may be repeated. An answer that names some records would do less
/// again, but the local engine takes it for a success, and so does AWS when the event source is not set to expect it.
#[derive(Debug, thiserror::Error)]
#[error("the batch is not done and is to be told again: {0}")]
pub(crate) struct NotDone(#[from] PortError);

/// Safe to repeat, also in part.
pub(crate) async fn handle(
    outbox: &Outbox,
    failures: &dyn Queue,
    shard: &Shard,
    told: Vec<Told>,
    now: Timestamp,
) -> Result<Answer, NotDone> {
    let records = told.len();
    let mut changes: Vec<Change> = Vec::with_capacity(records);
    let mut unreadable = 0;
    for told in told {
        match told {
            Told::Change(change) => changes.push(*change),
            Told::Foreign => {}
            Told::Unreadable { why, record } => {
                unreadable += 1;
                park(failures, &why, record).await?;
            }
        }
    }
    let Done { pages, groups, completions, callbacks, events } = outbox.take(shard, &changes, now).await?;
    let changes = changes.len();
    tracing::info!(records, changes, unreadable, pages, groups, completions, callbacks, events, "batch");
    Ok(Answer::default())
}

/// Puts a record aside that would else hold up its shard for ever.
async fn park(failures: &dyn Queue, why: &str, record: String) -> Result<(), PortError> {
    tracing::error!("a record cannot be read and is moved to the dead-letter queue: {why}");
    failures.send_one(Message { body: record, delay: Duration::ZERO, group: None }).await
}

#[cfg(test)]
#[path = "handler_tests.rs"]
mod tests;
