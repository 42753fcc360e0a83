//! What becomes of a job by each outcome of its handler, and by what is around it, seen through the testing kit.

use super::handlers::Attempt;
use crate::domain::job::{Job, State};
use crate::job::{Failure, Job as Kind, Outcome};
use crate::jobs::{Echo, JobMessage, Worker, kind};
use crate::ports::{Clock as _, Message, PortError, Queue as _};
use crate::testing::{Kit, builders};
use anyhow::anyhow;
use proptest::prelude::*;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::time::Duration;
use tokio::time::sleep;

const HOUR: Duration = Duration::from_secs(3_600);

/// A worker whose function comes to this, whatever the payload.
fn kit(outcome: fn() -> Outcome) -> Kit {
    Kit::new(Worker::Echo).on::<Echo, _, _>(move |_: Echo, _| async move { outcome() })
}

/// The job after one attempt, and how long it waits from then.
async fn after(outcome: fn() -> Outcome) -> (Job, Option<Duration>) {
    let kit = kit(outcome);
    let job = kit.run(&Echo::default()).await;
    let wait = job.run_at.map(|at| at.duration_since(kit.clock.now()).try_into().unwrap());
    (job, wait)
}

#[tokio::test(start_paused = true)]
async fn each_outcome_is_what_it_says() {
    let backoff = kind(Echo::KIND).unwrap().backoff.wait(1, 0.5);
    type Expected = (State, u32, Option<&'static str>, Option<Duration>);
    let cases: [(fn() -> Outcome, Expected); 11] = [
        (|| Ok(Value::Null), (State::Succeeded, 1, None, None)),
        (|| Ok(json!({"sum": 3})), (State::Succeeded, 1, None, None)),
        (|| Err(Failure::Retry(anyhow!("x"))), (State::Queued, 1, Some("transient"), Some(backoff))),
        (|| Err(anyhow!("x").into()), (State::Queued, 1, Some("transient"), Some(backoff))),
        (|| Err(PortError::Corrupt(anyhow!("x")).into()), (State::Queued, 1, Some("transient"), Some(backoff))),
        (|| Err(PortError::Throttled(anyhow!("x")).into()), (State::Queued, 1, Some("throttled"), Some(backoff))),
        (|| Err(Failure::RetryAfter(HOUR, anyhow!("x"))), (State::Scheduled, 1, Some("transient"), Some(HOUR))),
        (|| Err(Failure::Throttled(Some(HOUR), anyhow!("x"))), (State::Scheduled, 1, Some("throttled"), Some(HOUR))),
        (|| Err(Failure::Snooze(HOUR)), (State::Scheduled, 0, None, Some(HOUR))),
        (|| Err(Failure::Dead(anyhow!("x"))), (State::Dead, 1, Some("permanent"), None)),
        (|| Err(Failure::Cancelled), (State::Cancelled, 1, None, None)),
    ];
    for (i, (outcome, expected)) in cases.into_iter().enumerate() {
        let (job, wait) = after(outcome).await;
        let class = job.error.as_ref().map(|error| error.class.as_str());
        assert_eq!((job.state, job.attempt, class, wait), expected, "case {i}");
        assert!(job.error.is_none_or(|error| error.message.contains('x') && error.attempt == 1), "case {i}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_throttled_job_waits_at_least_as_long_as_its_backoff() {
    let (_, wait) = after(|| Err(Failure::Throttled(Some(Duration::from_millis(1)), anyhow!("x")))).await;
    assert_eq!(wait, Some(kind(Echo::KIND).unwrap().backoff.wait(1, 0.5)));
}

/// The kind `echo`, if its attempts were short and it had had another name.
#[derive(Serialize, Deserialize, JsonSchema)]
struct Quick(Echo);

impl Kind for Quick {
    const KIND: &'static str = "quick";
    const ALIASES: &'static [&'static str] = &[Echo::KIND];
    const TIMEOUT: Option<Duration> = Some(Duration::from_secs(3));
}

#[tokio::test(start_paused = true)]
async fn a_job_of_the_kinds_old_name_is_run_and_cut_off_by_its_policy() {
    let kit = Kit::new(Worker::Echo).on::<Quick, _, _>(|Quick(job): Quick, _| async move {
        sleep(Duration::from_millis(job.sleep_ms.unwrap_or(0))).await;
        Ok(json!("run"))
    });
    let job = kit.run(&Echo { sleep_ms: Some(2_900), ..Echo::default() }).await;
    assert_eq!((job.state, kit.result(&job.id).await), (State::Succeeded, json!("run")));
    let began = kit.clock.now();
    let job = kit.run(&Echo { sleep_ms: Some(3_100), ..Echo::default() }).await;
    assert_eq!(job.error.unwrap().class, "timeout");
    assert_eq!(kit.clock.now().duration_since(began).as_secs(), 3);
    // The submitter may say less, and not more.
    for (seconds, took) in [(2, 2), (10, 3)] {
        let (began, echo) = (kit.clock.now(), Echo { sleep_ms: Some(60_000), ..Echo::default() });
        kit.submit_with(&echo, |new| new.timeout = Some(Duration::from_secs(seconds))).await;
        kit.deliver().await;
        assert_eq!(kit.clock.now().duration_since(began).as_secs(), took);
    }
}

#[tokio::test(start_paused = true)]
async fn what_finds_no_place_before_the_end_is_handed_back_unspent() {
    let mut kit = Kit::new(Worker::Echo).on::<Echo, _, _>(|_: Echo, _: Attempt| async {
        sleep(Duration::from_secs(27)).await;
        Ok(Value::Null)
    });
    // More records than run at the same time: the rest wait for a place until it is too late to start.
    kit.batch = 25;
    for _ in 0..25 {
        kit.submit(&Echo::default()).await;
    }
    assert_eq!(kit.deliver().await, 25);
    let (done, waiting): (Vec<Job>, Vec<Job>) =
        kit.jobs.all().into_iter().partition(|job| job.state == State::Succeeded);
    assert_eq!((done.len(), waiting.len()), (10, 15));
    assert!(waiting.iter().all(|job| (job.state, job.attempt, job.fence) == (State::Queued, 0, 0)), "{waiting:?}");
    let messages = kit.queues.get("echo").all();
    assert_eq!(messages.len(), 15);
    assert!(messages.iter().all(|message| message.visible_at <= kit.clock.now()), "others may take them at once");
    kit.drain().await;
    assert!(kit.jobs.all().iter().all(|job| (job.state, job.attempt) == (State::Succeeded, 1)));
}

#[tokio::test(start_paused = true)]
async fn a_message_of_a_form_to_come_ends_its_job_which_can_be_retried() {
    let kit = kit(|| Ok(json!("run")));
    let id = kit.submit(&Echo::default()).await;
    let queue = kit.queues.get("echo");
    let event = queue.receive(10, HOUR, || 0.0);
    queue.settle(&event, &[]);
    let body = json!({"v": JobMessage::VERSION + 1, "id": id, "kind": {"new": "form"}}).to_string();
    queue.send_one(Message::now(body.clone(), builders::tenant())).await.unwrap();
    queue.send_one(Message::now(json!({"v": 99, "job": id}).to_string(), builders::tenant())).await.unwrap();
    kit.deliver().await;
    let job = kit.job(&id).await;
    assert_eq!((job.state, job.attempt, job.error.unwrap().class.as_str()), (State::Dead, 0, "unknown_version"));
    assert_eq!(kit.dead_letters().len(), 1, "one that names no job is put aside");
    let echo = kind(Echo::KIND).unwrap();
    crate::operate::retry(&kit.intake(), &kit.job(&id).await, echo, None, kit.clock.now()).await.unwrap();
    kit.drain().await;
    assert_eq!((kit.job(&id).await.state, kit.result(&id).await), (State::Succeeded, json!("run")));
}

/// Bodies that are nearly messages.
fn any_body() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<u64>().prop_map(Value::from),
        any::<String>().prop_map(Value::from),
        prop::sample::select(vec!["echo", "job_1", "t", "kind", "tenant"]).prop_map(Value::from),
    ];
    let name = prop::sample::select(vec!["v", "id", "kind", "tenant", "payload", "waited", "line", "times", "x"]);
    let value = leaf.prop_recursive(2, 12, 5, move |inner| {
        prop::collection::btree_map(name.clone().prop_map(str::to_owned), inner, 0..5)
            .prop_map(|map| Value::Object(map.into_iter().collect()))
    });
    let nearly = (value, 0u32..3).prop_map(|(value, v)| {
        let mut body = json!({"v": v, "id": "job_1", "kind": "echo", "tenant": "t"});
        body.as_object_mut().unwrap().extend(value.as_object().cloned().unwrap_or_default());
        body.to_string()
    });
    prop_oneof![any::<String>(), nearly]
}

proptest! {
    /// Whatever lies on the queue is put aside or done with, and does no harm.
    #[test]
    fn any_body_is_done_with(bodies in prop::collection::vec(any_body(), 1..4)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        runtime.block_on(async {
            let kit = kit(|| Ok(Value::Null));
            let queue = kit.queues.get("echo");
            for body in &bodies {
                queue.send_one(Message::now(body.clone(), builders::tenant())).await.unwrap();
            }
            let id = kit.submit(&Echo::default()).await;
            kit.drain().await;
            assert!(queue.all().is_empty(), "{:?}", queue.all());
            assert_eq!(kit.job(&id).await.state, State::Succeeded);
            assert!(kit.dead_letters().len() <= bodies.len());
        });
    }
}
