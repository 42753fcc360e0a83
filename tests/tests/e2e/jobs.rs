use jiff::Timestamp;
use millrace::ports::{Message, Queue};
use millrace::telemetry::Metric;
use millrace_tests::{Inside, Stack, stack::until};
use reqwest::Method;
use serde_json::{Value, json};
use std::time::Duration;

fn time(answer: &millrace_tests::Answer, pointer: &str) -> Timestamp {
    answer.str(pointer).parse().expect("a time")
}

#[tokio::test]
async fn an_accepted_job_is_recorded_and_runs() {
    let (_gate, stack) = (super::shared().await, Stack::from_env());
    let body = json!({"kind": "echo", "payload": {"message": {"a": [1, "ü"]}}, "tags": ["t"]});
    let accepted = stack.post_ok("/v1/jobs", &body, 202).await;
    let id = accepted.str("/id");
    assert_eq!(accepted.headers["location"], format!("/v1/jobs/{id}"));
    assert_eq!(accepted.str("/state"), "queued");
    let job = stack.final_job(id).await;
    assert_eq!(job.str("/state"), "succeeded");
    assert_eq!(job.body["result"], json!({"message": {"a": [1, "ü"]}, "attempt": 1}));
    let whole = stack.get(&format!("/v1/jobs/{id}?include=payload")).await;
    assert_eq!(whole.body["payload"], body["payload"]);
}

#[tokio::test]
async fn the_same_key_gives_the_same_job_and_another_body_is_refused() {
    let (_gate, stack) = (super::shared().await, Stack::from_env());
    let submit = async |message: &str| {
        let body = json!({"kind": "echo", "payload": {"message": message}});
        stack.ask(stack.request(Method::POST, "/v1/jobs").header("idempotency-key", "e2e-once").json(&body)).await
    };
    let (first, again, other) = (submit("one").await, submit("one").await, submit("two").await);
    assert_eq!((first.status.as_u16(), again.status.as_u16(), other.status.as_u16()), (202, 202, 422));
    assert_eq!(first.str("/id"), again.str("/id"));
    assert_eq!(again.headers["idempotency-replayed"], "true");
    assert!(!first.headers.contains_key("idempotency-replayed"));
    let job = stack.final_job(first.str("/id")).await;
    assert_eq!(job.body["result"]["message"], "one");
}

#[tokio::test]
async fn a_job_with_a_delay_does_not_start_before_its_time() {
    let (_gate, stack) = (super::shared().await, Stack::from_env());
    let id = stack.echo(json!({}), json!({"delay_seconds": 3})).await;
    let waiting = stack.job(&id).await;
    assert_eq!(waiting.str("/state"), "scheduled");
    let run_at = time(&waiting, "/run_at");
    let done = stack.final_job(&id).await;
    assert!(time(&done, "/started_at") >= run_at);
}

#[tokio::test]
async fn large_payloads_and_results_go_through_the_bucket() {
    let (_gate, stack) = (super::shared().await, Stack::from_env());
    let message = "x".repeat(600_000);
    let id = stack.echo(json!({"message": message, "result_bytes": 700_000}), json!({})).await;
    let job = stack.final_job(&id).await;
    assert_eq!(job.str("/state"), "succeeded", "{}", job.text);
    let result = stack.ask(stack.anywhere(Method::GET, job.str("/result_url"))).await;
    assert_eq!(result.body["message"], Value::String(message));
    assert!(result.text.len() >= 700_000);
}

#[tokio::test]
async fn progress_is_seen_while_a_job_runs() {
    let (_gate, stack) = (super::shared().await, Stack::from_env());
    let id = stack.echo(json!({"sleep_ms": 3_000, "progress": true}), json!({})).await;
    let seen = until("progress", async || {
        let job = stack.job(&id).await;
        job.body
            .pointer("/progress/percent")
            .and_then(Value::as_u64)
            .map(|percent| (percent, job.str("/state") == "running"))
    })
    .await;
    assert!(seen.0 > 0 && seen.0 < 100 && seen.1, "{seen:?}");
    assert_eq!(stack.final_job(&id).await.number("/progress/percent"), 100);
}

#[tokio::test]
async fn a_permanent_failure_is_dead_at_once_and_counted() {
    let (_gate, stack) = (super::shared().await, Stack::from_env());
    let before = stack.counted("echo", Metric::JobsDead).await;
    let id = stack.echo(json!({"fail": "permanent"}), json!({"max_attempts": 9})).await;
    let job = stack.final_job(&id).await;
    assert_eq!((job.str("/state"), job.number("/attempt"), job.str("/error/class")), ("dead", 1, "permanent"));
    until("a line that the alarm of dead jobs counts", async || {
        (stack.counted("echo", Metric::JobsDead).await > before).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_transient_failure_is_tried_again_ever_later_and_ends_dead() {
    let (_gate, stack) = (super::shared().await, Stack::from_env());
    let id = stack.echo(json!({"fail": "transient"}), json!({"max_attempts": 4})).await;
    // The wait before each attempt is drawn between the base and a ceiling that doubles.
    let mut planned: Vec<(u64, Timestamp, Timestamp)> = Vec::new();
    let job = until("the job's end", async || {
        let job = stack.job(&id).await;
        let attempt = job.number("/attempt");
        if job.str("/state") == "queued" && attempt > 0 && planned.last().is_none_or(|last| last.0 < attempt) {
            planned.push((attempt, time(&job, "/run_at"), time(&job, "/updated_at")));
        }
        (job.str("/state") == "dead").then_some(job)
    })
    .await;
    assert_eq!((job.number("/attempt"), job.str("/error/class")), (4, "transient"));
    assert_eq!(planned.iter().map(|wait| wait.0).collect::<Vec<_>>(), [1, 2, 3]);
    for (attempt, run_at, updated_at) in planned {
        let wait = run_at.duration_since(updated_at).as_secs_f64();
        let ceiling = f64::from(2_u32.pow(u32::try_from(attempt).expect("small")));
        assert!((0.9..=ceiling + 0.1).contains(&wait), "attempt {attempt} waited {wait} s");
    }
}

#[tokio::test]
async fn a_transient_failure_that_passes_ends_well() {
    let (_gate, stack) = (super::shared().await, Stack::from_env());
    let id = stack.echo(json!({"fail": "throttled", "fail_attempts": 1}), json!({})).await;
    let job = stack.final_job(&id).await;
    assert_eq!((job.str("/state"), job.number("/attempt")), ("succeeded", 2));
}

#[tokio::test]
async fn a_snooze_spends_no_attempt() {
    let (_gate, stack) = (super::shared().await, Stack::from_env());
    let id = stack.echo(json!({"snooze_ms": 1_000}), json!({"max_attempts": 1})).await;
    let job = stack.final_job(&id).await;
    assert_eq!((job.str("/state"), job.number("/attempt")), ("succeeded", 1));
}

#[tokio::test]
async fn bad_messages_and_bad_handlers_harm_only_themselves() {
    let (_gate, stack) = (super::shared().await, Stack::from_env());
    let inside = Inside::from_env().await;
    let garbage = "{\"v\":1,\"id\":\"e2e-garbage\"";
    let garbled = Message { body: garbage.into(), delay: Duration::ZERO, group: None };
    let panics = stack.echo(json!({"fail": "panic"}), json!({"max_attempts": 1})).await;
    let slow = stack.echo(json!({"sleep_ms": 60_000}), json!({"max_attempts": 1, "timeout_seconds": 1})).await;
    inside.queue("echo").send_one(garbled).await.expect("sent");
    let mut good = Vec::new();
    for i in 0..10 {
        good.push(stack.echo(json!({"message": i}), json!({"max_attempts": 1})).await);
    }
    for id in good {
        let job = stack.final_job(&id).await;
        assert_eq!(job.str("/state"), "succeeded", "{}", job.text);
    }
    assert_eq!(stack.final_job(&panics).await.str("/error/class"), "panic");
    assert_eq!(stack.final_job(&slow).await.str("/error/class"), "timeout");
    let parked = until("the garbled message among the dead letters", async || {
        let found = inside.messages("echo-dead").await;
        found.into_iter().find(|body| body.contains("e2e-garbage"))
    })
    .await;
    assert_eq!(parked, garbage, "it is kept as it came");
}
