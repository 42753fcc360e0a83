//! The fences between the records of one batch (promise P6).

use crate::ports::{Group, Message, Queue};
use crate::telemetry;
use aws_lambda_events::event::sqs::{BatchItemFailure, SqsBatchResponse, SqsEvent, SqsMessage};
use futures::FutureExt as _;
use futures::future::join_all;
use futures::stream::{self, StreamExt as _};
use std::collections::HashMap;
use std::panic::AssertUnwindSafe;
use std::time::Duration;
use tracing::Instrument as _;

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
    run_in_order(event, one, async |_| {}).await
}

/// Does what [`run`] does, and keeps the order of each message group of a FIFO queue: its records run one after another, and
/// those behind one that is kept are not run but kept too. `behind` hears of each of them.
pub async fn run_in_order<F, B>(event: SqsEvent, one: F, behind: B) -> SqsBatchResponse
where
    F: AsyncFn(&SqsMessage) -> Verdict,
    B: AsyncFn(&SqsMessage),
{
    let (one, behind) = (&one, &behind);
    let kept: Vec<&SqsMessage> = stream::iter(sequences(&event.records))
        .map(|sequence| async move {
            for (i, record) in sequence.iter().enumerate() {
                if fenced(one, record).await == Verdict::Keep {
                    join_all(sequence[i + 1..].iter().map(|record| behind(record))).await;
                    return sequence[i..].to_vec();
                }
            }
            Vec::new()
        })
        .buffer_unordered(CONCURRENCY)
        .concat()
        .await;
    let failures = kept.into_iter().map(|record| {
        // A record without an id is answered with an empty one: AWS then takes the whole batch as failed, which
        // repeats work and loses none.
        let mut failure = BatchItemFailure::default();
        failure.item_identifier = record.message_id.clone().unwrap_or_default();
        failure
    });
    let mut response = SqsBatchResponse::default();
    response.batch_item_failures = failures.collect();
    response
}

async fn fenced<F>(one: &F, record: &SqsMessage) -> Verdict
where
    F: AsyncFn(&SqsMessage) -> Verdict,
{
    let run = AssertUnwindSafe(one(record)).catch_unwind();
    run.instrument(tracing::info_span!("message", trace = trace(record))).await.unwrap_or_else(|_| {
        tracing::error!(message_id = record.message_id, "a record panicked outside its handler");
        Verdict::Keep
    })
}

/// The trace of whoever sent the message.
fn trace(record: &SqsMessage) -> Option<&str> {
    telemetry::trace_id(record.attributes.get("AWSTraceHeader")?)
}

/// The records that have to run one after another: of a FIFO queue those of a message group, of a standard queue each alone.
fn sequences(records: &[SqsMessage]) -> Vec<Vec<&SqsMessage>> {
    let mut sequences: Vec<Vec<&SqsMessage>> = Vec::new();
    let mut groups: HashMap<Option<&String>, usize> = HashMap::new();
    for record in records {
        if !is_fifo(record) {
            sequences.push(vec![record]);
            continue;
        }
        let place = *groups.entry(record.attributes.get(GROUP)).or_insert(sequences.len());
        if place == sequences.len() {
            sequences.push(Vec::new());
        }
        sequences[place].push(record);
    }
    sequences
}

/// The attribute of a record that names its message group. In a standard queue that is a tenant, and has no order.
const GROUP: &str = "MessageGroupId";

fn is_fifo(record: &SqsMessage) -> bool {
    record.event_source_arn.as_deref().is_some_and(|arn| arn.ends_with(".fifo"))
}

/// Moves a message that nobody can read to the dead letters, with its body as it came. `why` is logged and must not quote it.
pub async fn park(dead_letters: &dyn Queue, record: &SqsMessage, why: &str) -> Verdict {
    tracing::error!(message_id = record.message_id, "unreadable, moved to the dead-letter queue: {why}");
    // A FIFO queue's dead letters are in one too. Told by its id, a letter that is moved twice is there once.
    let ordered = record.attributes.get(GROUP).filter(|_| is_fifo(record)).cloned();
    let group =
        ordered.map(|group| Group::Ordered { group, deduplication: record.message_id.clone().unwrap_or_default() });
    let letter = Message { body: record.body.clone().unwrap_or_default(), delay: Duration::ZERO, group };
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

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::RefCell;

    /// The records that ran, those that stood behind one that was kept, and those that the answer names. A record whose name
    /// ends in `!` is kept, and one whose name ends in `?` panics.
    async fn ran(queue: &str, names: &[&str]) -> [Vec<String>; 3] {
        let mut event = SqsEvent::default();
        for name in names {
            let mut record = SqsMessage::default();
            record.message_id = Some((*name).to_owned());
            record.event_source_arn = Some(format!("arn:aws:sqs:us-east-1:000000000000:{queue}"));
            record.attributes.insert(GROUP.to_owned(), name[..1].to_owned());
            event.records.push(record);
        }
        let (run, behind) = (RefCell::new(Vec::new()), RefCell::new(Vec::new()));
        let name = |record: &SqsMessage| record.message_id.clone().unwrap();
        let one = async |record: &SqsMessage| {
            run.borrow_mut().push(name(record));
            tokio::task::yield_now().await;
            assert!(!name(record).ends_with('?'), "as asked");
            if name(record).ends_with('!') { Verdict::Keep } else { Verdict::Acknowledge }
        };
        let response = run_in_order(event, one, async |record| behind.borrow_mut().push(name(record))).await;
        let named = response.batch_item_failures.into_iter().map(|failure| failure.item_identifier).collect();
        let mut all = [run.into_inner(), behind.into_inner(), named];
        all.iter_mut().for_each(|names| names.sort());
        all
    }

    #[tokio::test]
    async fn the_answer_names_what_is_kept_and_all_that_stands_behind_it() {
        let names = ["a1", "a2!", "b1", "a3", "c1?", "b2", "c2", "a4"];
        let [run, behind, named] = ran("x.fifo", &names).await;
        assert_eq!(run, ["a1", "a2!", "b1", "b2", "c1?"]);
        assert_eq!(behind, ["a3", "a4", "c2"]);
        assert_eq!(named, ["a2!", "a3", "a4", "c1?", "c2"], "Lambda deletes what is not named");
        let [run, behind, named] = ran("x", &names).await;
        assert_eq!(run.len(), names.len(), "a tenant has no order");
        assert_eq!((behind, named), (vec![], vec!["a2!".to_owned(), "c1?".to_owned()]));
    }
}
