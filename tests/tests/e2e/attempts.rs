//! What is around an attempt: its lease, a cancel, its worker's death, its payload, its time.

use jiff::Timestamp;
use millrace::aws::DynamoJobs;
use millrace::domain::job::{Job, Stored};
use millrace::jobs::JobMessage;
use millrace::ports::{Created, Jobs as _, Message, Queue as _};
use millrace::testing::{builders, conformance::queued_job};
use millrace_tests::{Answer, Inside, Stack, processes};
use reqwest::Method;
use serde_json::{Value, json};
use std::time::Duration;
use tokio::time::{Instant, sleep};

fn started(job: &Answer) -> Timestamp {
    job.str("/started_at").parse().expect("a time")
}

/// Puts another message of the job on the queue of echo.
async fn send_again(inside: &Inside, version: u32, id: &str) {
    let body = json!({"v": version, "id": id, "kind": "echo", "tenant": "e2e"}).to_string();
    inside.queue("echo").send_one(Message::now(body, builders::tenant())).await.expect("sent");
}

#[tokio::test]
async fn a_job_that_outlives_its_first_lease_stays_with_its_worker() {
    let (_gate, stack, inside) = (super::shared().await, Stack::from_env(), Inside::from_env().await);
    // The worker has 10 s for a batch, so the first lease is of 5 s.
    let id = stack.echo(json!({"sleep_ms": 7_500}), json!({})).await;
    stack.job_in(&id, &["running"]).await;
    // Another worker is shown the job again and again: it waits each time until the lease ends that was told it.
    send_again(&inside, JobMessage::VERSION, &id).await;
    let job = stack.final_job(&id).await;
    assert_eq!((job.str("/state"), job.number("/attempt")), ("succeeded", 1), "{}", job.text);
}

#[tokio::test]
async fn a_killed_workers_long_job_is_taken_up_again_when_its_lease_ends() {
    let (_gate, stack) = (super::alone().await, Stack::from_env());
    let id = stack.echo(json!({"message": "long", "sleep_ms": 7_000}), json!({})).await;
    let first = started(&stack.job_in(&id, &["running"]).await);
    // After its first heartbeat, which also says when the message is to be shown again.
    sleep(Duration::from_millis(2_500)).await;
    assert!(processes::kill_all(&format!("{}-echo", stack.name)) > 0, "no worker was found");
    let job = stack.final_job(&id).await;
    assert_eq!((job.str("/state"), &job.body["result"]["attempt"]), ("succeeded", &json!(2)), "{}", job.text);
    let waited = started(&job).duration_since(first).as_secs();
    assert!(
        waited < 13,
        "it waited {waited} s: for the queue, which hides its messages for 15 s, and not for the lease"
    );
}

#[tokio::test]
async fn a_job_that_tells_no_progress_hears_of_a_cancel_too() {
    let (_gate, stack) = (super::shared().await, Stack::from_env());
    let id = stack.echo(json!({"sleep_ms": 8_000}), json!({})).await;
    stack.job_in(&id, &["running"]).await;
    let (asked, answer) = (Instant::now(), stack.post_ok(&format!("/v1/jobs/{id}/cancel"), &json!({}), 200).await);
    assert_eq!(answer.body["cancel_requested"], true);
    let job = stack.final_job(&id).await;
    assert_eq!((job.str("/state"), job.number("/attempt")), ("cancelled", 1), "{}", job.text);
    assert!(asked.elapsed() < Duration::from_secs(6), "it was heard after {:?}", asked.elapsed());
}

#[tokio::test]
async fn what_is_not_started_in_time_is_dead() {
    let (_gate, stack) = (super::shared().await, Stack::from_env());
    // Its second attempt would come a second after the first, or later.
    let expires = (Timestamp::now() + Duration::from_millis(900)).to_string();
    let id = stack.echo(json!({"fail": "transient"}), json!({"expires_at": expires})).await;
    let job = stack.final_job(&id).await;
    assert_eq!((job.str("/state"), job.str("/error/class")), ("dead", "expired"), "{}", job.text);
    assert_eq!(job.str("/expires_at")[..19], expires[..19]);
}

#[tokio::test]
async fn a_large_payload_is_linked() {
    let (_gate, stack) = (super::shared().await, Stack::from_env());
    let payload = json!({"message": "p".repeat(20_000)});
    let id = stack.echo(payload.clone(), json!({})).await;
    let job = stack.get(&format!("/v1/jobs/{id}?include=payload")).await;
    assert_eq!(job.body.get("payload"), None, "{}", job.text);
    let linked = stack.ask(stack.anywhere(Method::GET, job.str("/payload_url"))).await;
    assert_eq!(linked.body, payload);
}

#[tokio::test]
async fn what_another_build_has_sent_is_dead_and_can_be_retried() {
    let (_gate, stack, inside) = (super::shared().await, Stack::from_env(), Inside::from_env().await);
    let id = stack.echo(json!({"message": "later"}), json!({"delay_seconds": 600})).await;
    send_again(&inside, JobMessage::VERSION + 1, &id).await;
    let job = stack.final_job(&id).await;
    assert_eq!((job.str("/state"), job.str("/error/class")), ("dead", "unknown_version"), "{}", job.text);
    stack.post_ok(&format!("/v1/jobs/{id}/retry"), &json!({}), 202).await;
    assert_eq!(stack.job_in(&id, &["succeeded"]).await.body["result"]["message"], "later");

    // A kind that no worker knows yet, or no more.
    let now = Timestamp::from_millisecond(Timestamp::now().as_millisecond()).expect("a time");
    let job = queued_job(&format!("e2e-{now}"), now);
    let job = Job { kind: "e2e-gone".into(), payload: Stored::Inline(Value::Null), ..job };
    let jobs = DynamoJobs::new(inside.aws.dynamodb(), inside.table("JobsTable").await);
    assert_eq!(jobs.create(&job, false).await.expect("create"), Created::New);
    let message = JobMessage::carrying(&job, None, Duration::ZERO);
    inside.queue("echo").send_one(message).await.expect("sent");
    let dead = millrace_tests::stack::until("a dead job", async || {
        let job = jobs.get(&job.id).await.expect("get").expect("the job");
        job.state.is_final().then_some(job)
    })
    .await;
    assert_eq!((dead.error.expect("why").class.as_str(), dead.attempt), ("unknown_kind", 0));
}
