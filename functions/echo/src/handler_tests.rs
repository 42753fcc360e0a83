use super::*;
use millrace::jobs::{JobMessage, Worker};
use millrace::ports::{Clock as _, Jobs as _};
use millrace::queues::OwnQueues;
use millrace::testing::{ManualClock, MemoryBlobs, MemoryJobs, MemoryQueues, conformance};
use millrace::worker::handlers::Handlers;
use millrace::worker::runner::Runner;
use std::sync::Arc;

/// Runs the batch of a sample event against a table that knows its jobs. Gives the ids of the messages to be kept, the dead
/// letters and the table.
async fn run(event: &str) -> (Vec<String>, Vec<String>, MemoryJobs) {
    let clock = Arc::new(ManualClock::default());
    let event: serde_json::Value = serde_json::from_str(event).unwrap();
    let mut messages = aws_lambda_events::event::sqs::SqsEvent::default();
    let jobs = MemoryJobs::default();
    for record in event["Records"].as_array().unwrap() {
        let record: aws_lambda_events::event::sqs::SqsMessage = serde_json::from_value(record.clone()).unwrap();
        if let Ok(message) = JobMessage::parse(record.body.as_deref().unwrap()) {
            let mut job = conformance::queued_job("sample", clock.now());
            (job.id, job.kind, job.tenant) = (message.id, message.kind, message.tenant);
            jobs.create(&job, false).await.unwrap();
        }
        messages.records.push(record);
    }
    let queues = MemoryQueues::new(clock.clone());
    let runner = Runner {
        jobs: Arc::new(jobs.clone()),
        blobs: Arc::new(MemoryBlobs::default()),
        queues: OwnQueues::open(Worker::Echo, |name| queues.open(name)),
        clock: clock.clone(),
        dice: || 0.5,
    };
    let handlers = Handlers::new().on::<Echo, _, _>(handle);
    let deadline = clock.now() + Duration::from_secs(30);
    let kept = runner.batch(&handlers, messages, deadline).await.batch_item_failures;
    let letters = queues.get("echo-dead").all().into_iter().map(|letter| letter.body).collect();
    (kept.into_iter().map(|failure| failure.item_identifier).collect(), letters, jobs)
}

#[tokio::test]
async fn the_sample_job_is_echoed() {
    let (kept, letters, jobs) = run(include_str!("../../../events/echo.json")).await;
    assert!(kept.is_empty() && letters.is_empty());
    let done = jobs.all();
    let expected = json!({"message": "hello", "attempt": 1});
    assert_eq!(done[0].result, Some(millrace::domain::job::Stored::Inline(expected)));
}

#[tokio::test]
async fn the_garbled_one_of_the_sample_batch_is_put_aside_and_the_others_run() {
    let (kept, letters, jobs) = run(include_str!("../../../events/echo.garbled.json")).await;
    assert!(kept.is_empty());
    assert_eq!(letters.len(), 1);
    assert!(jobs.all().iter().all(|job| job.state.is_final()) && jobs.all().len() == 2);
}
