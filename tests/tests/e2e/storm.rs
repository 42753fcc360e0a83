use futures::stream::{self, StreamExt as _};
use jiff::Timestamp;
use millrace_tests::{Answer, Stack, processes, stack::until};
use nix::sys::signal::{Signal, kill};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::time::{Instant, sleep};

const JOBS: usize = 600;
const CALLERS: usize = 12;
const MAX_ATTEMPTS: u64 = 10;
const KILLS: usize = 12;

/// What the job `i` is to do: most do nothing but answer, some take their time, fail for a while, or have to wait.
fn request(run: &str, i: usize) -> Value {
    let mut body = json!({"kind": "echo", "max_attempts": MAX_ATTEMPTS, "payload": {"message": format!("{run}-{i}")}});
    match i % 10 {
        1 => body["payload"]["sleep_ms"] = json!(200),
        3 => {
            body["payload"]["fail"] = json!("transient");
            body["payload"]["fail_attempts"] = json!(1);
        }
        5 => body["delay_seconds"] = json!(1 + i % 7),
        7 => body["payload"]["snooze_ms"] = json!(500),
        _ => {}
    }
    body
}

/// Submits until the answer is good, with the same key each time, as a caller does that must not lose anything.
async fn submit(stack: &Stack, run: &str, i: usize) -> Answer {
    let (key, body) = (format!("{run}-{i}"), request(run, i));
    until("an accepted job", async || {
        let request = stack.request(Method::POST, "/v1/jobs").header("idempotency-key", &key).json(&body);
        let answer = stack.ask(request).await;
        (answer.status == StatusCode::ACCEPTED).then_some(answer)
    })
    .await
}

/// Ends one worker now and then, until told to stop.
async fn killer(function: &str, seed: u64, done: &AtomicUsize) -> usize {
    // Enough of chance to be repeatable: which worker, and after how long.
    let mut state = seed | 1;
    let mut draw = |below: u64| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state % below
    };
    let mut killed = 0;
    while done.load(Ordering::Relaxed) < JOBS && killed < KILLS {
        sleep(Duration::from_millis(200 + draw(1_800))).await;
        let workers = processes::of(function);
        if let Some(worker) = workers.get(usize::try_from(draw(workers.len().max(1) as u64)).expect("small")) {
            killed += usize::from(kill(*worker, Signal::SIGKILL).is_ok());
        }
    }
    killed
}

#[tokio::test]
async fn hundreds_of_jobs_end_once_each_while_their_workers_are_killed() {
    let (_gate, stack) = (super::alone().await, Stack::from_env());
    let seed = std::env::var("MILLRACE_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(1);
    let run = format!("storm-{}", Timestamp::now().as_millisecond());
    let (began, done) = (Instant::now(), AtomicUsize::new(0));
    let function = format!("{}-echo", stack.name);
    let jobs = async {
        let submitted: Vec<String> = stream::iter(0..JOBS)
            .map(|i| {
                let (stack, run) = (&stack, &run);
                async move { submit(stack, run, i).await.str("/id").to_owned() }
            })
            .buffered(CALLERS)
            .collect()
            .await;
        let ended: Vec<Answer> = stream::iter(&submitted)
            .map(|id| async {
                let job = stack.final_job(id).await;
                done.fetch_add(1, Ordering::Relaxed);
                job
            })
            .buffered(CALLERS)
            .collect()
            .await;
        (submitted, ended)
    };
    let ((submitted, ended), killed) = tokio::join!(jobs, killer(&function, seed, &done));
    let mut ids = submitted.clone();
    ids.sort();
    ids.dedup();
    assert_eq!(ids.len(), JOBS, "each key has a job of its own");
    let mut attempts: BTreeMap<u64, usize> = BTreeMap::new();
    for (i, job) in ended.iter().enumerate() {
        let attempt = job.number("/attempt");
        assert_eq!(job.str("/state"), "succeeded", "{}", job.text);
        assert_eq!(job.body["result"], json!({"message": format!("{run}-{i}"), "attempt": attempt}), "{}", job.text);
        assert!((1..=MAX_ATTEMPTS).contains(&attempt), "{}", job.text);
        *attempts.entry(attempt).or_default() += 1;
    }
    assert!(killed > 0, "no worker was killed");
    // What is left on the queue finds final jobs: nothing changes any more, whatever is delivered again.
    sleep(Duration::from_secs(20)).await;
    for (id, job) in submitted.iter().zip(&ended).step_by(7) {
        assert_eq!(stack.job(id).await.body, job.body, "a final job changed");
    }
    eprintln!(
        "storm of seed {seed}: {JOBS} jobs, {killed} workers killed, 0 lost, {:.0} s, jobs by attempts {attempts:?}",
        began.elapsed().as_secs_f64()
    );
}
