use millrace_tests::{Stack, processes, stack::until};
use serde_json::json;
use std::time::Duration;
use tokio::time::sleep;

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

#[tokio::test]
async fn a_thousand_subscribers_get_one_letter_each_though_the_worker_is_killed_twice() {
    let (_gate, stack) = (super::alone().await, Stack::from_env());
    let newsletter = super::campaigns::newsletter(&stack, "Killed twice").await;
    let addresses = super::campaigns::audience(&stack, &newsletter, "thousand", 1_000).await;
    let campaign = super::campaigns::campaign(&stack, &newsletter).await;
    stack.post_ok(&format!("/v1/campaigns/{campaign}/start"), &json!({}), 202).await;
    let sent = async || stack.mails_of(&campaign).await.iter().map(|(_, count)| count).sum::<u64>();
    for threshold in [50, 400] {
        until("some letters", async || (sent().await >= threshold).then_some(())).await;
        assert!(processes::kill_all(&function(&stack, "newsletter")) > 0, "no worker was found at {threshold}");
    }
    let account = super::campaigns::finished(&stack, &campaign).await;
    assert_eq!(account.number("/total"), 1_000);
    assert_eq!(account.number("/counts/sent"), 1_000, "{}", account.text);
    // Late repeats would come by redelivery, which takes one visibility timeout.
    sleep(Duration::from_secs(15)).await;
    let mut got = stack.mails_of(&campaign).await;
    got.sort();
    let mut expected: Vec<(String, u64)> = addresses.into_iter().map(|address| (address, 1)).collect();
    expected.sort();
    assert_eq!(got, expected);
}
