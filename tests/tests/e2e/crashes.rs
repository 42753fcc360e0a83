use millrace_tests::{Stack, processes};
use serde_json::json;

fn function(stack: &Stack, name: &str) -> String {
    format!("{}-{name}", stack.name)
}

#[tokio::test]
async fn a_killed_worker_leads_to_another_attempt_and_one_result() {
    let (_gate, stack) = (super::alone().await, Stack::from_env());
    let id = stack.echo(json!({"message": "once", "sleep_ms": 2_000}), json!({})).await;
    stack.job_in(&id, &["running"]).await;
    assert!(processes::kill_all(&function(&stack, "echo")) > 0, "no worker was found");
    let job = stack.final_job(&id).await;
    assert_eq!(job.str("/state"), "succeeded");
    assert_eq!(job.body["result"], json!({"message": "once", "attempt": 2}));
}

#[tokio::test]
async fn a_job_that_ends_its_process_each_time_is_dead_after_its_attempts() {
    let (_gate, stack) = (super::alone().await, Stack::from_env());
    let id = stack.echo(json!({"fail": "exit"}), json!({"max_attempts": 2})).await;
    let job = stack.final_job(&id).await;
    assert_eq!((job.str("/state"), job.number("/attempt"), job.str("/error/class")), ("dead", 2, "crashed"));
}

#[tokio::test]
async fn welcome_mails_are_sent_once_each_while_their_workers_are_killed() {
    let (_gate, stack) = (super::alone().await, Stack::from_env());
    const USERS: usize = 60;
    let mut jobs = Vec::new();
    let mut killed = 0;
    for i in 0..USERS {
        let body = json!({"email": format!("crash-{i}@example.org")});
        jobs.push(stack.post_ok("/v1/users", &body, 202).await.str("/job/id").to_owned());
        if i % 12 == 6 {
            killed += processes::kill_all(&function(&stack, "email"));
        }
    }
    assert!(killed > 0, "no worker was killed");
    for job in jobs {
        let job = stack.final_job(&job).await;
        assert_eq!(job.str("/state"), "succeeded", "{}", job.text);
    }
    for i in 0..USERS {
        assert_eq!(stack.mails_to(&format!("crash-{i}@example.org")).await.len(), 1, "address {i}");
    }
}
