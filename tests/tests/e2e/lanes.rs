use jiff::Timestamp;
use millrace_tests::{Answer, Stack};
use serde_json::{Value, json};

fn time(answer: &Answer, pointer: &str) -> Timestamp {
    answer.str(pointer).parse().expect("a time")
}

fn run() -> String {
    Timestamp::now().as_nanosecond().to_string()
}

#[tokio::test]
async fn a_job_runs_by_the_lane_that_it_names() {
    let (_gate, stack) = (super::shared().await, Stack::from_env());
    for priority in ["high", "normal", "low"] {
        // A failing one is tried again by the same lane.
        let payload = json!({"message": priority, "fail": "transient", "fail_attempts": 1});
        let id = stack.echo(payload, json!({"priority": priority})).await;
        let job = stack.final_job(&id).await;
        assert_eq!((job.str("/state"), job.str("/priority"), job.number("/attempt")), ("succeeded", priority, 2));
    }
    let user = stack.post_ok("/v1/users", &json!({"email": "lanes@example.org"}), 202).await;
    let welcome = json!({"kind": "welcome", "payload": {"user": user.str("/user/id")}, "ordering_key": "a"});
    let refused = stack.post_ok("/v1/jobs", &welcome, 422).await;
    assert!(refused.str("/errors/0/detail").contains("high, normal, low"), "{}", refused.text);
    for beside in [json!({"priority": "high"}), json!({"delay_seconds": 1})] {
        let mut body = beside;
        (body["kind"], body["payload"], body["ordering_key"]) = (json!("echo"), json!({}), json!("a"));
        assert_eq!(stack.post_ok("/v1/jobs", &body, 422).await.str("/errors/0/pointer"), "/ordering_key");
    }
    let kinds = stack.get("/v1/kinds").await;
    let echo = kinds.body.as_array().expect("kinds").iter().find(|kind| kind["kind"] == "echo").expect("echo");
    assert_eq!(echo["lanes"], json!(["high", "normal", "low", "ordered"]));
}

#[tokio::test]
async fn a_delayed_job_comes_by_its_own_lane() {
    let (_gate, stack) = (super::shared().await, Stack::from_env());
    // The first is carried by its message, the second by the clock.
    let short = stack.echo(json!({}), json!({"priority": "high", "delay_seconds": 2})).await;
    let far = stack.echo(json!({}), json!({"priority": "low", "delay_seconds": 950})).await;
    assert_eq!(stack.final_job(&short).await.str("/state"), "succeeded");
    assert_eq!(stack.job(&far).await.str("/state"), "scheduled");
    stack.post_ok(&format!("/v1/jobs/{far}/cancel"), &json!({}), 200).await;
    stack.post_ok(&format!("/v1/jobs/{far}/retry"), &json!({}), 202).await;
    assert_eq!(stack.job_in(&far, &["succeeded"]).await.str("/priority"), "low");
}

#[tokio::test]
async fn an_ordered_key_waits_for_its_failing_job_and_another_key_does_not() {
    let (_gate, stack) = (super::shared().await, Stack::from_env());
    let (blocked, free) = (format!("blocked-{}", run()), format!("free-{}", run()));
    let ordered = |key: &str, payload: Value| json!({"kind": "echo", "payload": payload, "ordering_key": key});
    let mut jobs: Vec<Value> = (0..12).map(|i| ordered(&blocked, json!({"message": i}))).collect();
    // In the middle one fails for a while, one for good, and one only takes its time.
    jobs[4]["payload"] = json!({"fail": "transient", "fail_attempts": 3});
    jobs[6]["payload"] = json!({"fail": "permanent"});
    jobs[8]["payload"] = json!({"sleep_ms": 300});
    jobs.extend((0..3).map(|i| ordered(&free, json!({"message": i}))));
    let accepted = stack.post_ok("/v1/jobs/batch", &json!({ "jobs": jobs }), 202).await;
    let ids = accepted.body["results"].as_array().expect("results").iter();
    let mut ids: Vec<String> = ids.map(|result| result["job"]["id"].as_str().expect("an id").to_owned()).collect();
    // Those submitted later come after all of these.
    for i in 12..15 {
        ids.push(stack.post_ok("/v1/jobs", &ordered(&blocked, json!({"message": i})), 202).await.str("/id").to_owned());
    }
    let free = ids.drain(12..15).collect::<Vec<_>>();
    let mut ended = Vec::new();
    for id in &ids {
        ended.push(stack.final_job(id).await);
    }
    for (i, job) in ended.iter().enumerate() {
        let (state, attempt) = match i {
            4 => ("succeeded", 4),
            6 => ("dead", 1),
            _ => ("succeeded", 1),
        };
        assert_eq!((job.str("/state"), job.number("/attempt")), (state, attempt), "{i}: {}", job.text);
        assert_eq!(job.str("/ordering_key"), blocked);
    }
    for pair in ended.windows(2) {
        let (before, after) = (time(&pair[0], "/finished_at"), time(&pair[1], "/started_at"));
        assert!(before <= after, "{} began before {} was over", pair[1].text, pair[0].text);
    }
    for id in free {
        let job = stack.final_job(&id).await;
        assert!(
            time(&job, "/finished_at") < time(&ended[4], "/finished_at"),
            "it waited for another key: {}",
            job.text
        );
    }
}

#[tokio::test]
async fn a_retried_ordered_job_runs_again_at_once_and_a_cancelled_one_lets_its_key_go_on() {
    let (_gate, stack) = (super::shared().await, Stack::from_env());
    let key = run();
    let ordered = |payload: Value| json!({"kind": "echo", "payload": payload, "ordering_key": key, "max_attempts": 1});
    let submit = async |payload: Value| stack.post_ok("/v1/jobs", &ordered(payload), 202).await.str("/id").to_owned();
    let first = submit(json!({"fail": "transient"})).await;
    assert_eq!(stack.final_job(&first).await.str("/state"), "dead");
    // Within the five minutes in which the queue drops what it has seen.
    let good = json!({"payload": {"message": "mended"}});
    stack.post_ok(&format!("/v1/jobs/{first}/retry"), &good, 202).await;
    assert_eq!(stack.job_in(&first, &["succeeded"]).await.body["result"]["message"], "mended");

    let slow = submit(json!({"sleep_ms": 2_000})).await;
    let unwanted = submit(json!({})).await;
    let last = submit(json!({})).await;
    stack.post_ok(&format!("/v1/jobs/{unwanted}/cancel"), &json!({}), 200).await;
    assert_eq!(stack.final_job(&last).await.str("/state"), "succeeded");
    assert_eq!(stack.job(&slow).await.str("/state"), "succeeded");
    assert_eq!(stack.job(&unwanted).await.str("/state"), "cancelled");
}
