//! The fences between the records of one batch (promise P6).

use crate::ports::{Message, Queue};
use aws_lambda_events::event::sqs::{BatchItemFailure, SqsBatchResponse, SqsEvent, SqsMessage};
use futures::FutureExt as _;
use futures::stream::{self, StreamExt as _};
use std::panic::AssertUnwindSafe;
use std::time::Duration;

/// Records of one batch that run at the same time. Lambda gives at most ten without a batching window.
const CONCURRENCY: usize = 10;

/// What becomes of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Nothing more is to be done with it: the queue may delete it.
    Acknowledge,
    /// The queue keeps it and shows it again.
    Keep,
}

/// Runs `one` on each record. A panic costs its own record and no other. The answer names the messages that the queue has
/// to keep, as `ReportBatchItemFailures` wants it
/// ([AWS](https://docs.aws.amazon.com/lambda/latest/dg/services-sqs-errorhandling.html)).
pub async fn run<F>(event: SqsEvent, one: F) -> SqsBatchResponse
where
    F: AsyncFn(&SqsMessage) -> Verdict,
{
    let one = &one;
    let failures = stream::iter(&event.records)
        .map(|record| async move {
            match AssertUnwindSafe(one(record)).catch_unwind().await {
                Ok(Verdict::Acknowledge) => None,
                Ok(Verdict::Keep) => Some(record),
                Err(_) => {
                    tracing::error!(message_id = record.message_id, "a record panicked outside its handler");
                    Some(record)
                }
            }
        })
        .buffer_unordered(CONCURRENCY)
        .filter_map(async |kept| kept)
        .map(|record| {
            // A record without an id is answered with an empty one: AWS then takes the whole batch as failed, which
            // repeats work and loses none.
            let mut failure = BatchItemFailure::default();
            failure.item_identifier = record.message_id.clone().unwrap_or_default();
            failure
        })
        .collect()
        .await;
    let mut response = SqsBatchResponse::default();
    response.batch_item_failures = failures;
    response
}

/// Moves a message that nobody can read to the dead letters, with its body as it came. `why` is logged and must not quote it.
pub async fn park(dead_letters: &dyn Queue, record: &SqsMessage, why: &str) -> Verdict {
    tracing::error!(message_id = record.message_id, "unreadable, moved to the dead-letter queue: {why}");
    let letter = Message { body: record.body.clone().unwrap_or_default(), delay: Duration::ZERO, tenant: None };
    match dead_letters.send_one(letter).await {
        Ok(()) => Verdict::Acknowledge,
        Err(error) => {
            tracing::error!(message_id = record.message_id, "the dead-letter queue did not take it: {error}");
            Verdict::Keep
        }
    }
}

/// Logs a panic's place and not its message, which may quote a payload.
pub fn quiet_panics() {
    std::panic::set_hook(Box::new(|info| {
        let place = info.location().map(ToString::to_string).unwrap_or_default();
        tracing::error!(place, "panic");
    }));
}
