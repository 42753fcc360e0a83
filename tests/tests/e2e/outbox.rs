//! What follows from jobs: counts, callbacks, groups.

use jiff::Timestamp;
use millrace::aws::random_secret;
use millrace::domain::id::Tenant;
use millrace::ports::WebhookSecrets as _;
use millrace_tests::{Answer, Inside, Stack, processes, stack::until};
use reqwest::header::HeaderMap;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::time::sleep;

/// The states of a kind's jobs, as the stack counts them.
async fn counted(stack: &Stack, kind: &str) -> BTreeMap<String, u64> {
    let stats = stack.get("/v1/stats").await;
    let kinds = stats.body["jobs"].as_array().expect("jobs").iter();
    let found = kinds.clone().find(|counts| counts["kind"] == kind).and_then(Value::as_object).cloned();
    let states = found.unwrap_or_default().into_iter();
    states.filter_map(|(state, count)| Some((state, count.as_u64()?))).filter(|(_, count)| *count > 0).collect()
}

/// An endpoint that answers with these statuses, one after another. Gives its URL; what it was sent comes by the channel.
async fn endpoint(statuses: Vec<u16>) -> (String, tokio::sync::mpsc::UnboundedReceiver<(HeaderMap, String)>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let url = format!("http://{}/hook", listener.local_addr().expect("an address"));
    let (told, tell) = tokio::sync::mpsc::unbounded_channel();
    tokio::spawn(async move {
        for status in statuses {
            let (mut stream, _) = listener.accept().await.expect("a call");
            let mut read = Vec::new();
            let (head, mut body) = loop {
                let mut chunk = [0; 4_096];
                let n = stream.read(&mut chunk).await.expect("a request");
                read.extend_from_slice(&chunk[..n]);
                let text = String::from_utf8_lossy(&read).into_owned();
                if let Some((head, body)) = text.split_once("\r\n\r\n") {
                    break (head.to_owned(), body.to_owned());
                }
            };
            let mut headers = HeaderMap::new();
            for line in head.lines().skip(1) {
                let (name, value) = line.split_once(": ").expect("a header");
                headers.insert(
                    name.parse::<reqwest::header::HeaderName>().expect("a name"),
                    value.parse().expect("a value"),
                );
            }
            let length: usize = headers["content-length"].to_str().expect("text").parse().expect("a number");
            while body.len() < length {
                let mut chunk = [0; 4_096];
                let n = stream.read(&mut chunk).await.expect("a body");
                body.push_str(&String::from_utf8_lossy(&chunk[..n]));
            }
            let answer = format!("HTTP/1.1 {status} X\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
            stream.write_all(answer.as_bytes()).await.expect("an answer");
            let _ = told.send((headers, body));
        }
    });
    (url, tell)
}

#[tokio::test]
async fn the_end_of_a_job_calls_back_signed_and_again_until_it_is_heard() {
    let (_gate, stack) = (super::shared().await, Stack::from_env());
    let (url, mut calls) = endpoint(vec![500, 204]).await;
    let id = stack.echo(json!({"message": "call me"}), json!({"callback_url": url, "tags": ["hook"]})).await;
    let patience = Duration::from_secs(100);
    let first = tokio::time::timeout(patience, calls.recv()).await.expect("a call in time").expect("a call");
    let again = tokio::time::timeout(patience, calls.recv()).await.expect("a second call in time").expect("a call");
    let keys = Inside::from_env().await.keys().await;
    let tenant = Tenant::parse("demo").expect("a tenant");
    let secrets = keys.ensure(&tenant, &random_secret().expect("randomness")).await.expect("the secrets");
    let receiver = standardwebhooks::Webhook::new(&secrets.current.reveal()).expect("a secret");
    for (headers, body) in [&first, &again] {
        receiver.verify(body.as_bytes(), headers).expect("a valid signature");
    }
    assert_eq!(first.0["webhook-id"], again.0["webhook-id"], "a repeat is known by its id");
    assert_eq!(first.1, again.1);
    let said: Value = serde_json::from_str(&first.1).expect("JSON");
    assert_eq!(said["type"], "job.succeeded");
    let job = stack.job(&id).await;
    for field in ["id", "kind", "state", "attempt", "tags", "created_at", "started_at", "finished_at", "result"] {
        assert_eq!(said["data"][field], job.body[field], "{field}");
    }
}

#[tokio::test]
async fn a_group_of_jobs_good_and_bad_is_followed_by_one_job() {
    let (_gate, stack) = (super::shared().await, Stack::from_env());
    let jobs: Vec<Value> = (0..20)
        .map(|i| {
            let fail = if i % 4 == 1 { json!({"fail": "permanent"}) } else { json!({"message": i}) };
            json!({"kind": "echo", "payload": fail, "max_attempts": 1})
        })
        .collect();
    let on_complete = json!({"kind": "echo", "payload": {"message": "all over"}});
    let body = json!({"jobs": jobs, "on_complete": on_complete});
    let group = stack.post_ok("/v1/groups", &body, 202).await;
    let path = format!("/v1/groups/{}", group.str("/id"));
    let completed = until("the group's end", async || {
        let group = stack.get(&path).await;
        (group.str("/state") == "completed").then_some(group)
    })
    .await;
    assert_eq!(completed.body["open"], json!([]));
    let follower = stack.final_job(completed.str("/on_complete")).await;
    assert_eq!((follower.str("/state"), follower.number("/attempt")), ("succeeded", 1), "{}", follower.text);
    let mut last = 0;
    for (i, id) in group.body["jobs"].as_array().expect("jobs").iter().enumerate() {
        let job = stack.job(id.as_str().expect("an id")).await;
        assert_eq!(job.str("/state"), if i % 4 == 1 { "dead" } else { "succeeded" });
        last = last.max(time(&job, "/finished_at"));
    }
    assert!(time(&follower, "/created_at") >= last, "it came before the last was over");
}

/// Whoever listens on the bus hears of each state that a job comes to.
#[tokio::test]
async fn what_happens_to_a_job_is_told_to_the_bus() {
    let (_gate, stack, inside) = (super::shared().await, Stack::from_env(), Inside::from_env().await);
    let tenant = format!("bus-{}", Timestamp::now().as_millisecond());
    let stack = stack.as_tenant(&inside, &tenant).await;
    let (sqs, bus) =
        (aws_sdk_sqs::Client::new(inside.aws.config()), aws_sdk_eventbridge::Client::new(inside.aws.config()));
    let url = sqs.create_queue().queue_name(&tenant).send().await.expect("a queue").queue_url.expect("its URL");
    let pattern = json!({"source": ["millrace"], "detail": {"tenant": [tenant]}}).to_string();
    bus.put_rule().name(&tenant).event_pattern(pattern).send().await.expect("a rule");
    let arn = format!("arn:aws:sqs:us-east-1:000000000000:{tenant}");
    let target = aws_sdk_eventbridge::types::Target::builder().id("queue").arn(arn).build().expect("a target");
    bus.put_targets().rule(&tenant).targets(target).send().await.expect("the rule's target");

    let secret = "said to nobody else";
    let id = stack.echo(json!({"message": secret}), json!({"tags": [secret]})).await;
    stack.final_job(&id).await;
    let mut told: BTreeMap<String, Value> = BTreeMap::new();
    until("the events", async || {
        let received = sqs.receive_message().queue_url(&url).max_number_of_messages(10).wait_time_seconds(1);
        for message in received.send().await.expect("the queue's messages").messages.unwrap_or_default() {
            let body = message.body.expect("a body");
            assert!(!body.contains(secret), "{body}");
            let event: Value = serde_json::from_str(&body).expect("an event");
            assert_eq!((&event["source"], &event["detail"]["job"]), (&json!("millrace"), &json!(id)), "{body}");
            told.insert(event["detail-type"].as_str().expect("a type").to_owned(), event["detail"].clone());
        }
        told.contains_key("millrace.job.succeeded").then_some(())
    })
    .await;
    assert_eq!(told["millrace.job.succeeded"]["previous"], "running");
    assert!(told.contains_key("millrace.job.queued") && told.contains_key("millrace.job.running"), "{told:?}");
}

fn time(answer: &Answer, pointer: &str) -> i64 {
    answer.str(pointer).parse::<Timestamp>().expect("a time").as_millisecond()
}

/// Counts, calls and groups are what they are without it, though the outbox is killed again and again.
#[tokio::test]
async fn the_counts_are_exact_though_the_outbox_is_killed() {
    let (_gate, stack) = (super::alone().await, Stack::from_env());
    const JOBS: usize = 200;
    // A tenant of its own, so that nobody else's jobs are counted.
    let tenant = format!("outbox-{}", Timestamp::now().as_millisecond());
    let stack = stack.as_tenant(&Inside::from_env().await, &tenant).await;
    let function = format!("{}-outbox", stack.name);
    let mut killed = 0;
    for round in 0..10 {
        let jobs: Vec<Value> = (0..JOBS / 10)
            .map(|i| match i % 5 {
                0 => json!({"kind": "echo", "payload": {"fail": "permanent"}, "max_attempts": 1}),
                1 => json!({"kind": "echo", "payload": {"fail": "transient", "fail_attempts": 1}}),
                2 => json!({"kind": "echo", "payload": {"snooze_ms": 300}}),
                _ => json!({"kind": "echo", "payload": {"message": [round, i]}}),
            })
            .collect();
        stack.post_ok("/v1/jobs/batch", &json!({ "jobs": jobs }), 202).await;
        sleep(Duration::from_millis(150)).await;
        killed += processes::kill_all(&function);
    }
    assert!(killed > 0, "no outbox was killed");
    let (dead, succeeded) = (JOBS as u64 / 5, JOBS as u64 * 4 / 5);
    let expected = BTreeMap::from([("dead".to_owned(), dead), ("succeeded".to_owned(), succeeded)]);
    until("the counts", async || (counted(&stack, "echo").await == expected).then_some(())).await;
    sleep(Duration::from_secs(5)).await;
    assert_eq!(counted(&stack, "echo").await, expected, "nothing is counted late or twice");

    let stats = stack.get("/v1/stats?minutes=30").await;
    let minutes = stats.body["minutes"].as_array().expect("minutes");
    let sum = |field: &str| minutes.iter().map(|minute| minute[field].as_u64().expect("a number")).sum::<u64>();
    let fifth = JOBS as u64 / 5;
    assert_eq!((sum("accepted"), sum("succeeded"), sum("dead")), (JOBS as u64, succeeded, dead));
    assert_eq!((sum("retried"), sum("snoozed"), sum("crashed")), (fifth, fifth, 0));
    assert_eq!(sum("started"), JOBS as u64 + 2 * fifth);
    let buckets = |field: &str| {
        let all = minutes.iter().flat_map(|minute| minute[field].as_array().expect("buckets"));
        all.map(|count| count.as_u64().expect("a number")).sum::<u64>()
    };
    assert_eq!(buckets("wait"), sum("started"));
    assert_eq!(buckets("run"), sum("started") - sum("snoozed"));
    let queues: Vec<&str> =
        stats.body["queues"].as_array().expect("queues").iter().filter_map(|q| q["queue"].as_str()).collect();
    assert!(queues.contains(&"echo") && queues.contains(&"echo-ordered.fifo") && queues.contains(&"webhook"));
}
