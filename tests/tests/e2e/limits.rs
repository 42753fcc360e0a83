use jiff::Timestamp;
use millrace_tests::{Inside, Stack, cli::millrace};
use serde_json::{Value, json};
use std::time::Duration;
use tokio::time::sleep;

/// A worker reads what the operator has set again after this.
const REFRESH: Duration = Duration::from_secs(16);

/// Seconds from the first start to each. No attempt was spent on waiting.
async fn starts(jobs: &[(&Stack, Vec<String>)]) -> Vec<f64> {
    let mut starts: Vec<Timestamp> = Vec::new();
    for (stack, ids) in jobs {
        for id in ids {
            let job = stack.final_job(id).await;
            assert_eq!((job.str("/state"), job.number("/attempt")), ("succeeded", 1), "{}", job.text);
            starts.push(job.str("/started_at").parse().expect("a time"));
        }
    }
    starts.sort();
    starts.iter().map(|at| at.duration_since(starts[0]).as_secs_f64()).collect()
}

/// In no stretch of time were there more starts than the rate allows. A start that was granted and not used may be used a
/// second later, and the claim that is written down comes after the start was granted.
fn assert_within(starts: &[f64], per_second: f64) {
    for (i, first) in starts.iter().enumerate() {
        for (j, last) in starts.iter().enumerate().skip(i) {
            let most = (last - first + 1.5) * per_second + 1.0;
            assert!((j - i + 1) as f64 <= most, "{} starts in {:.1} s: {starts:?}", j - i + 1, last - first);
        }
    }
}

async fn submit(stack: &Stack, number: usize) -> Vec<String> {
    let jobs: Vec<Value> = (0..number).map(|i| json!({"kind": "echo", "payload": {"message": i}})).collect();
    let accepted = stack.post_ok("/v1/jobs/batch", &json!({ "jobs": jobs }), 202).await;
    let results = accepted.body["results"].as_array().expect("results");
    results.iter().map(|result| result["job"]["id"].as_str().expect("an id").to_owned()).collect()
}

/// What `millrace limits` answers, which is to succeed.
async fn limits(arguments: &[&str]) -> Value {
    let ran = millrace(&[&["limits"], arguments].concat()).await;
    assert_eq!(ran.code, Some(0), "{}", ran.errors);
    ran.json
}

#[tokio::test]
async fn jobs_start_no_faster_than_the_operator_lets_them() {
    let (_gate, stack, inside) = (super::alone().await, Stack::from_env(), Inside::from_env().await);
    let slow = stack.as_tenant(&inside, "e2e-slow").await;
    let set = limits(&["set", "echo", "--tenant", "e2e-slow", "--rate", "2/s", "--json"]).await;
    assert_eq!(set, json!({"kind": "echo", "tenant": "e2e-slow", "rate": "2/s", "set_by": "operator"}));
    sleep(REFRESH).await;

    let (limited, free) = (submit(&slow, 20).await, submit(&stack, 20).await);
    let free = starts(&[(&stack, free)]).await;
    assert!(free[19] < 8.0, "the limit of one tenant has held up another: {free:?}");
    let limited = starts(&[(&slow, limited)]).await;
    assert_within(&limited, 2.0);
    assert!(limited[19] < 60.0, "the rate is made use of: {limited:?}");

    // All tenants together.
    limits(&["set", "echo", "--rate", "4/s", "--burst", "1", "--json"]).await;
    let removed = limits(&["remove", "echo", "--tenant", "e2e-slow", "--json"]).await;
    assert_eq!(removed, json!({"removed": true}));
    let listed = limits(&["list", "--json"]).await;
    assert!(listed.as_array().expect("limits").contains(&json!({"kind": "echo", "rate": "4/s", "set_by": "operator"})));
    sleep(REFRESH).await;
    let jobs = [(&stack, submit(&stack, 12).await), (&slow, submit(&slow, 12).await)];
    assert_within(&starts(&jobs).await, 4.0);
    limits(&["remove", "echo", "--json"]).await;
    sleep(REFRESH).await;
}
