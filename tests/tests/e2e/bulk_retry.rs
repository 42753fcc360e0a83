use millrace_tests::{Stack, stack::until};
use serde_json::{Value, json};

/// Submits `count` jobs that end dead at once; gives their ids.
async fn dead(stack: &Stack, tag: &str, count: usize) -> Vec<String> {
    let job = json!({"kind": "echo", "payload": {"fail": "permanent"}, "tags": [tag]});
    let batch = stack.post_ok("/v1/jobs/batch", &json!({ "jobs": vec![job; count] }), 202).await;
    let results = batch.body["results"].as_array().expect("results");
    let ids: Vec<String> =
        results.iter().map(|result| result["job"]["id"].as_str().expect("an id").to_owned()).collect();
    for id in &ids {
        stack.job_in(id, &["dead"]).await;
    }
    ids
}

#[tokio::test]
async fn fifty_dead_jobs_are_retried_as_an_operation_with_progress() {
    let (_gate, stack) = (super::shared().await, Stack::from_env());
    let (wanted, others) = (dead(&stack, "e2e-bulk", 50).await, dead(&stack, "e2e-bulk-other", 2).await);
    let attempts = async |id: &str| stack.job(id).await.str("/started_at").to_owned();
    let (before, other) = (attempts(&wanted[0]).await, attempts(&others[0]).await);
    let body = json!({"state": "dead", "kind": "echo", "tag": "e2e-bulk", "error_contains": "permanent"});
    let accepted = stack.post_ok("/v1/jobs/retry", &body, 202).await;
    assert_eq!((accepted.str("/kind"), accepted.str("/state")), ("retry-jobs", "queued"));
    let operation = stack.final_job(accepted.str("/id")).await;
    assert_eq!(operation.str("/state"), "succeeded", "{}", operation.text);
    assert_eq!(operation.body["result"], json!({"matched": 50, "retried": 50, "refused": 0}));
    for id in &wanted {
        // They fail as before, in another attempt.
        until("the job's second death", async || {
            let job = stack.job(id).await;
            (job.str("/state") == "dead" && job.str("/started_at") > before.as_str()).then_some(())
        })
        .await;
    }
    assert_eq!(attempts(&others[0]).await, other, "what does not fit is left alone");

    let limited = json!({"state": "dead", "tag": "e2e-bulk", "limit": 3});
    let accepted = stack.post_ok("/v1/jobs/retry", &limited, 202).await;
    let operation = stack.final_job(accepted.str("/id")).await;
    assert_eq!(operation.body["result"], json!({"matched": 3, "retried": 3, "refused": 0}));
}

#[tokio::test]
async fn a_long_bulk_retry_tells_its_progress_and_goes_on_over_several_invocations() {
    let (_gate, stack) = (super::shared().await, Stack::from_env());
    for _ in 0..2 {
        dead(&stack, "e2e-bulk-long", 100).await;
    }
    let accepted = stack.post_ok("/v1/jobs/retry", &json!({"state": "dead", "tag": "e2e-bulk-long"}), 202).await;
    let mut seen: Vec<u64> = Vec::new();
    let operation = until("the operation's end", async || {
        let job = stack.job(accepted.str("/id")).await;
        seen.extend(job.body.pointer("/progress/percent").and_then(Value::as_u64));
        (job.str("/state") == "succeeded").then_some(job)
    })
    .await;
    assert_eq!(operation.body["result"], json!({"matched": 200, "retried": 200, "refused": 0}));
    assert!(seen.is_sorted() && seen.iter().any(|percent| (1..100).contains(percent)), "{seen:?}");
    assert_eq!(operation.number("/attempt"), 1, "{}", operation.text);
}
