//! Thousands of jobs over all lanes, and mails, while workers are killed and calls to AWS are refused or lose their answers.

use futures::stream::{self, StreamExt as _};
use jiff::Timestamp;
use millrace_tests::{Stack, processes, stack::until};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::io::Write as _;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::time::{Instant, sleep};

const JOBS: usize = 5_000;
/// Entries of one request.
const BATCH: usize = 100;
/// Requests at the same time.
const CALLERS: usize = 4;
/// Users that register: each gets one mail.
const USERS: usize = 100;
const KEYS: usize = 20;
const MAX_ATTEMPTS: u64 = 20;
/// Share of the functions' calls that are refused, and of those that are carried out and not answered.
const THROTTLE: f64 = 0.05;
const LOSE_ANSWER: f64 = 0.005;
/// Whom the killer ends: workers most often; the api and what stands behind the table too.
const VICTIMS: [&str; 8] = ["echo", "echo", "echo", "echo", "email", "email", "outbox", "api"];
/// How long the storm may take until all is done.
const PATIENCE: Duration = Duration::from_secs(900);

/// What the job `i` is to do: most do nothing but answer, some take their time, fail for a while, have to wait, are urgent,
/// or keep an order.
fn request(run: &str, i: usize) -> Value {
    let mut body = json!({
        "kind": "echo", "max_attempts": MAX_ATTEMPTS, "payload": {"message": format!("{run}-{i}")},
        "tags": [run], "idempotency_key": format!("{run}-{i}"),
    });
    match i % 10 {
        0 => body["priority"] = json!("high"),
        1 => body["payload"]["sleep_ms"] = json!(200),
        3 => {
            body["payload"]["fail"] = json!("transient");
            body["payload"]["fail_attempts"] = json!(1);
        }
        5 => body["delay_seconds"] = json!(1 + i % 7),
        6 => body["priority"] = json!("low"),
        7 => body["payload"]["snooze_ms"] = json!(500),
        9 => body["ordering_key"] = json!(key(i)),
        _ => {}
    }
    body
}

fn key(i: usize) -> String {
    format!("key-{}", i / 10 % KEYS)
}

/// Submits until every entry is accepted, with the same keys each time, as a caller does that must not lose anything.
async fn submit(stack: &Stack, run: &str, batch: usize) -> Vec<String> {
    let jobs: Vec<Value> = (batch * BATCH..(batch + 1) * BATCH).map(|i| request(run, i)).collect();
    let body = json!({ "jobs": jobs });
    until("a batch that is accepted whole", async || {
        let answer = stack.ask(stack.request(Method::POST, "/v1/jobs/batch").json(&body)).await;
        let results = answer.body["results"].as_array().filter(|_| answer.status == StatusCode::ACCEPTED)?;
        results.iter().map(|result| result["job"]["id"].as_str().map(str::to_owned)).collect()
    })
    .await
}

/// Registers a user until it is answered.
async fn register(stack: &Stack, run: &str, i: usize) {
    let body = json!({"email": address(run, i), "name": "Storm"});
    until("a registration", async || {
        let answer = stack.ask(stack.request(Method::POST, "/v1/users").json(&body)).await;
        matches!(answer.status, StatusCode::ACCEPTED | StatusCode::OK).then_some(())
    })
    .await;
}

fn address(run: &str, i: usize) -> String {
    format!("{run}-{i}@example.com")
}

/// The jobs of the run by id, as the list shows them. The storm hits this caller too, who asks for a page until it comes.
async fn listed(stack: &Stack, run: &str) -> BTreeMap<String, Value> {
    let (mut jobs, mut cursor) = (BTreeMap::new(), None::<String>);
    loop {
        let mut query = vec![("tag", run.to_owned()), ("limit", "100".to_owned())];
        query.extend(cursor.map(|cursor| ("cursor", cursor)));
        let answer = until("a page of the list", async || {
            let answer = stack.ask(stack.request(Method::GET, "/v1/jobs").query(&query)).await;
            (answer.status == StatusCode::OK).then_some(answer)
        })
        .await;
        let page = answer.body["jobs"].as_array().into_iter().flatten();
        jobs.extend(page.filter_map(|job| Some((job["id"].as_str()?.to_owned(), job.clone()))));
        cursor = answer.body["next_cursor"].as_str().map(str::to_owned);
        if cursor.is_none() {
            return jobs;
        }
    }
}

fn is_final(job: &Value) -> bool {
    matches!(job["state"].as_str(), Some("succeeded" | "dead" | "cancelled"))
}

fn time(job: &Value, name: &str) -> Timestamp {
    job[name].as_str().and_then(|text| text.parse().ok()).unwrap_or_else(|| panic!("no {name} in {job}"))
}

#[tokio::test]
async fn thousands_of_jobs_end_once_each_while_workers_are_killed_and_calls_fail() {
    let (_gate, stack) = (super::alone().await, Stack::from_env());
    let seed = std::env::var("MILLRACE_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(1);
    let run = format!("storm-{}", Timestamp::now().as_millisecond());
    let (began, done) = (Instant::now(), AtomicBool::new(false));
    stack.faults(&json!({"throttle": THROTTLE, "lose_answer": LOSE_ANSWER, "seed": seed})).await;
    let work = async {
        let batches = stream::iter(0..JOBS / BATCH).map(|batch| submit(&stack, &run, batch)).buffered(CALLERS);
        let submitted = async { batches.collect::<Vec<_>>().await.concat() };
        let registered = stream::iter(0..USERS).for_each_concurrent(CALLERS, |i| register(&stack, &run, i));
        let (submitted, ()) = tokio::join!(submitted, registered);
        let jobs = loop {
            assert!(began.elapsed() < PATIENCE, "not all jobs came to an end");
            sleep(Duration::from_secs(3)).await;
            let jobs = listed(&stack, &run).await;
            if jobs.len() >= JOBS && jobs.values().all(is_final) {
                break jobs;
            }
        };
        done.store(true, Ordering::Relaxed);
        (submitted, jobs)
    };
    let ((submitted, jobs), killed) =
        tokio::join!(work, processes::killer(&stack.name, &VICTIMS, 200..1_500, seed, &done));
    stack.faults(&json!({})).await;

    assert_eq!(jobs.len(), JOBS, "a job was lost, or a key has two");
    let mut attempts: BTreeMap<u64, usize> = BTreeMap::new();
    for (i, id) in submitted.iter().enumerate() {
        let job = &jobs[id];
        let attempt = job["attempt"].as_u64().expect("attempts");
        assert_eq!(job["state"], "succeeded", "{job}");
        assert_eq!(job["result"], json!({"message": format!("{run}-{i}"), "attempt": attempt}), "{job}");
        assert!((1..=MAX_ATTEMPTS).contains(&attempt), "{job}");
        *attempts.entry(attempt).or_default() += 1;
    }
    // Within a batch the order is that of its entries; between batches that were under way together there is none.
    for batch in submitted.chunks(BATCH) {
        let mut last: BTreeMap<String, &Value> = BTreeMap::new();
        for job in batch.iter().map(|id| &jobs[id]).filter(|job| job["ordering_key"].is_string()) {
            let key = job["ordering_key"].as_str().expect("a key").to_owned();
            if let Some(before) = last.insert(key, job) {
                assert!(time(before, "finished_at") <= time(job, "started_at"), "out of order: {before} then {job}");
            }
        }
    }
    until("one mail for each user", async || {
        let mut missing = 0;
        for i in 0..USERS {
            let mails = stack.mails_to(&address(&run, i)).await.len();
            assert!(mails <= 1, "{mails} mails to one user");
            missing += 1 - mails;
        }
        (missing == 0).then_some(())
    })
    .await;
    assert!(killed.values().sum::<usize>() > 10, "hardly a process was killed: {killed:?}");
    let disturbed = stack.disturbed().await;
    assert!(disturbed > JOBS as u64 / 20, "hardly a call was disturbed: {disturbed}");

    // What is left on the queues finds final jobs: nothing changes any more, whatever is delivered again.
    sleep(Duration::from_secs(20)).await;
    assert!(listed(&stack, &run).await == jobs, "a final job changed");
    // Not by `eprintln!`, of which the test runner shows nothing when all is well.
    let report = format!(
        "storm of seed {seed}: {JOBS} jobs and {USERS} mails, killed {killed:?}, {disturbed} calls disturbed: 0 lost, \
         0 twice, {:.0} s, jobs by attempts {attempts:?}",
        began.elapsed().as_secs_f64()
    );
    writeln!(std::io::stderr(), "{report}").expect("standard error");
}
