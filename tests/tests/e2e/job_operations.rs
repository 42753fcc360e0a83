use millrace_tests::{Stack, stack::until};
use serde_json::{Value, json};

#[tokio::test]
async fn a_waiting_job_is_cancelled_at_once_and_retried_with_another_payload() {
    let (_gate, stack) = (super::shared().await, Stack::from_env());
    // The first is carried by its message, the second waits for the clock.
    for delay in [5, 86_400] {
        let id = stack.echo(json!({"message": "old"}), json!({"delay_seconds": delay})).await;
        let cancelled = stack.post_ok(&format!("/v1/jobs/{id}/cancel"), &json!({}), 200).await;
        assert_eq!(cancelled.str("/state"), "cancelled");
        assert_eq!(stack.post(&format!("/v1/jobs/{id}/cancel"), &json!({})).await.status.as_u16(), 409);
        let edited = json!({"payload": {"message": "n".repeat(5_000)}});
        let retried = stack.post_ok(&format!("/v1/jobs/{id}/retry"), &edited, 202).await;
        assert!(["queued", "running", "succeeded"].contains(&retried.str("/state")), "{}", retried.text);
        let job = stack.job_in(&id, &["succeeded", "dead"]).await;
        assert_eq!((job.str("/state"), job.number("/attempt")), ("succeeded", 1));
        let result = match job.body.get("result_url").and_then(Value::as_str) {
            Some(url) => stack.ask(stack.anywhere(reqwest::Method::GET, url)).await.body,
            None => job.body["result"].clone(),
        };
        assert_eq!(result["message"], edited["payload"]["message"]);
        assert_eq!(stack.post(&format!("/v1/jobs/{id}/retry"), &json!({})).await.status.as_u16(), 409);
    }
}

#[tokio::test]
async fn a_running_job_stops_when_it_next_tells_its_progress() {
    let (_gate, stack) = (super::shared().await, Stack::from_env());
    let id = stack.echo(json!({"sleep_ms": 6_000, "progress": true}), json!({})).await;
    until("the first progress", async || {
        stack.job(&id).await.body.pointer("/progress/percent").and_then(Value::as_u64)
    })
    .await;
    let asked = stack.post_ok(&format!("/v1/jobs/{id}/cancel"), &json!({}), 200).await;
    assert_eq!((asked.str("/state"), &asked.body["cancel_requested"]), ("running", &json!(true)));
    let job = stack.final_job(&id).await;
    assert_eq!(job.str("/state"), "cancelled", "{}", job.text);
    assert!(job.number("/progress/percent") < 100);
}

#[tokio::test]
async fn a_dead_job_is_retried_with_all_its_attempts() {
    let (_gate, stack) = (super::shared().await, Stack::from_env());
    let id = stack.echo(json!({"fail": "transient"}), json!({"max_attempts": 1})).await;
    assert_eq!(stack.final_job(&id).await.str("/state"), "dead");
    let good = json!({"payload": {"message": "mended"}});
    stack.post_ok(&format!("/v1/jobs/{id}/retry"), &good, 202).await;
    let job = stack.job_in(&id, &["succeeded"]).await;
    assert_eq!(job.body["result"], json!({"message": "mended", "attempt": 1}));
}

#[tokio::test]
async fn jobs_are_listed_newest_first_by_pages_and_filters() {
    let (_gate, stack) = (super::shared().await, Stack::from_env());
    let mut made = Vec::new();
    for _ in 0..5 {
        made.push(stack.echo(json!({}), json!({"tags": ["e2e-list"], "delay_seconds": 600})).await);
    }
    stack.post_ok(&format!("/v1/jobs/{}/cancel", made[1]), &json!({}), 200).await;
    let list = async |filter: &str| {
        let (mut ids, mut cursor) = (Vec::new(), String::new());
        loop {
            let page = stack.get(&format!("/v1/jobs?tag=e2e-list&limit=2&{filter}&cursor={cursor}")).await;
            assert_eq!(page.status.as_u16(), 200, "{}", page.text);
            let jobs = page.body["jobs"].as_array().expect("jobs");
            ids.extend(jobs.iter().map(|job| job["id"].as_str().expect("an id").to_owned()));
            match page.body["next_cursor"].as_str() {
                Some(next) => next.clone_into(&mut cursor),
                None => return ids,
            }
        }
    };
    let newest_first: Vec<_> = made.iter().rev().cloned().collect();
    assert_eq!(list("").await, newest_first);
    assert_eq!(list("state=cancelled&kind=echo").await, [made[1].as_str()]);
    assert_eq!(stack.get("/v1/jobs?cursor=nonsense").await.status.as_u16(), 422);
}

#[tokio::test]
async fn who_waits_is_answered_at_the_jobs_end() {
    let (_gate, stack) = (super::shared().await, Stack::from_env());
    let wait = async |id: &str, seconds: u32| {
        let request = stack.request(reqwest::Method::GET, &format!("/v1/jobs/{id}"));
        stack.ask(request.header("prefer", format!("wait={seconds}"))).await
    };
    let id = stack.echo(json!({"sleep_ms": 1_000}), json!({})).await;
    let job = wait(&id, 25).await;
    assert_eq!((job.status.as_u16(), job.str("/state")), (200, "succeeded"), "{}", job.text);
    assert_eq!(job.headers["preference-applied"], "wait=25");
    let later = stack.echo(json!({}), json!({"delay_seconds": 600})).await;
    assert_eq!(wait(&later, 1).await.str("/state"), "scheduled");
}

#[tokio::test]
async fn a_batch_is_accepted_job_by_job_and_runs() {
    let (_gate, stack) = (super::shared().await, Stack::from_env());
    let mut jobs: Vec<Value> = (0..30).map(|i| json!({"kind": "echo", "payload": {"message": i}})).collect();
    jobs[7] = json!({"kind": "nonsense", "payload": {}});
    jobs[8]["idempotency_key"] = "e2e-batch".into();
    let first = stack.post_ok("/v1/jobs/batch", &json!({ "jobs": jobs }), 207).await;
    for (i, result) in first.body["results"].as_array().expect("results").iter().enumerate() {
        if i == 7 {
            assert_eq!(result["problem"]["errors"][0]["pointer"], "/jobs/7/kind");
            continue;
        }
        let job = stack.final_job(result["job"]["id"].as_str().expect("an id")).await;
        assert_eq!(job.body["result"], json!({"message": i, "attempt": 1}));
    }
    let again = stack.post_ok("/v1/jobs/batch", &json!({"jobs": [jobs[8]]}), 202).await;
    assert_eq!(again.str("/results/0/job/id"), first.str("/results/8/job/id"));

    let kinds = stack.get("/v1/kinds").await;
    let echo = kinds.body.as_array().expect("kinds").iter().find(|kind| kind["kind"] == "echo").expect("echo");
    assert_eq!(echo["schema"]["additionalProperties"], false);
    assert!(echo["timeout_seconds"].as_u64().is_some_and(|seconds| seconds > 0));
}
