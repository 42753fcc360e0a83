//! The stack becomes another release in place, and this one again, while jobs are in every state.

use anyhow::{Context as _, ensure};
use jiff::Timestamp;
use millrace_tests::{Stack, stack::until};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::process::Command;
use tokio::time::sleep;

/// Functions whose program differs in the other release.
const REBUILT: [&str; 4] = ["api", "clock", "echo", "outbox"];
/// What else differs in it: memory, batches, concurrency, and how long queues keep what nobody takes.
const CHANGES: [(&str, &str); 4] = [
    ("MemorySize: 256", "MemorySize: 320"),
    ("BatchSize: 10", "BatchSize: 4"),
    ("MaximumConcurrency: 10", "MaximumConcurrency: 6"),
    ("MessageRetentionPeriod: 1209600", "MessageRetentionPeriod: 1209000"),
];

fn variable(name: &str) -> PathBuf {
    std::env::var_os(name).unwrap_or_else(|| panic!("{name}: a stack that is up")).into()
}

/// The template, with the built programs by their full paths.
fn template(root: &Path) -> String {
    let template = fs::read_to_string(root.join("infra/template.yaml")).expect("the template");
    template.replace("CodeUri: ../", &format!("CodeUri: {}/", root.display()))
}

/// The template of the other release; its programs are put into `folder`.
fn other_release(root: &Path, folder: &Path) -> String {
    let mut template = template(root);
    for function in REBUILT {
        let (built, other) = (root.join("target/lambda").join(function), folder.join(function));
        fs::create_dir_all(&other).expect("a folder");
        fs::copy(built.join("bootstrap"), other.join("bootstrap")).expect("the program");
        let mut program = File::options().append(true).open(other.join("bootstrap")).expect("the program");
        program.write_all(b"another release").expect("the program");
        template = template.replace(&format!("{}/", built.display()), &format!("{}/", other.display()));
    }
    for (own, other) in CHANGES {
        assert!(template.contains(own), "{own}");
        template = template.replace(own, other);
    }
    template
}

/// Updates the stack in place. Parameters stay what they are, but for the level of the logs, which is in the environment of
/// each function.
async fn update(stack: &Stack, template: &str, level: &str) -> anyhow::Result<()> {
    let (root, state) = (root(), variable("MILLRACE_STATE_DIR"));
    let file = state.join("tmp/upgrade.yaml");
    fs::write(&file, template)?;
    let mut sam = Command::new(root.join(".millrace/tools/bin/sam"));
    sam.env_clear().envs(std::env::vars().filter(|(name, _)| name.starts_with("AWS_")));
    sam.env("PATH", "/usr/local/bin:/usr/bin:/bin").env("LANG", "C.UTF-8").env("SAM_CLI_POLL_DELAY", "0.3");
    sam.env("HOME", state.join("home")).env("TMPDIR", state.join("tmp")).env("SAM_CLI_TELEMETRY", "0");
    sam.args([
        "deploy",
        "--resolve-s3",
        "--no-confirm-changeset",
        "--no-progressbar",
        "--capabilities",
        "CAPABILITY_IAM",
    ]);
    sam.args(["--stack-name", &stack.name, "--parameter-overrides", &format!("LogLevel={level}"), "--template-file"]);
    let done = sam.arg(file).current_dir(state).kill_on_drop(true).output().await.context("sam")?;
    let said = String::from_utf8_lossy(&[done.stdout, done.stderr].concat()).into_owned();
    ensure!(done.status.success(), "{said}");
    Ok(())
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the clone").to_owned()
}

/// What tells one release of `echo` from another: program, memory, level of the logs, batches.
async fn release(stack: &Stack) -> [Value; 4] {
    let endpoint = variable("AWS_ENDPOINT_URL").to_string_lossy().into_owned();
    let name = format!("{}-echo", stack.name);
    let url = |path: &str| format!("{endpoint}/2015-03-31/{path}");
    let asked = async |path: &str| stack.control("lambda", "GET", &url(path), &Value::Null).await;
    let function = asked(&format!("functions/{name}/configuration")).await.expect("the function");
    let sources = asked(&format!("event-source-mappings?FunctionName={name}")).await.expect("its queues");
    let batches = sources["EventSourceMappings"].as_array().expect("its queues").iter();
    let batches = batches.map(|source| source["BatchSize"].clone()).collect();
    let level = function["Environment"]["Variables"]["LOG_LEVEL"].clone();
    [function["CodeSha256"].clone(), function["MemorySize"].clone(), level, batches]
}

/// What the job `i` is to do, and the state it has to end in.
fn request(run: &str, i: usize) -> (Value, &'static str) {
    let mut body = json!({"kind": "echo", "payload": {"message": format!("{run}-{i}")}, "tags": [run]});
    match i % 8 {
        0 => body["priority"] = json!("high"),
        1 => body["payload"]["sleep_ms"] = json!(5_000),
        2 => body["payload"] = json!({"message": "again", "fail": "transient", "fail_attempts": 1}),
        3 => body["delay_seconds"] = json!(10 + i % 40),
        4 => body["priority"] = json!("low"),
        5 => body["ordering_key"] = json!(format!("key-{}", i % 3)),
        6 => {
            body["payload"] = json!({"message": "never", "fail": "permanent"});
            return (body, "dead");
        }
        _ => body["payload"]["snooze_ms"] = json!(3_000),
    }
    (body, "succeeded")
}

/// Submits until it is accepted, with the same key each time, as a caller does that must not lose anything.
async fn submit(stack: &Stack, run: &str, i: usize) -> (String, &'static str) {
    let (body, end) = request(run, i);
    let id = until("a job that is accepted", async || {
        let request = stack.request(Method::POST, "/v1/jobs").header("idempotency-key", format!("{run}-{i}"));
        let answer = stack.ask(request.json(&body)).await;
        (answer.status == StatusCode::ACCEPTED).then(|| answer.str("/id").to_owned())
    })
    .await;
    (id, end)
}

/// Submits jobs and registers users until told to stop. The jobs, and how many users.
async fn load(stack: &Stack, run: &str, done: &AtomicBool) -> (Vec<(String, &'static str)>, usize) {
    let (mut jobs, mut users) = (Vec::new(), 0);
    while !done.load(Ordering::Relaxed) {
        for _ in 0..8 {
            jobs.push(submit(stack, run, jobs.len()).await);
        }
        let body = json!({"email": format!("{run}-{users}@example.com"), "name": "Upgrade"});
        until("a registration", async || {
            let answer = stack.ask(stack.request(Method::POST, "/v1/users").json(&body)).await;
            matches!(answer.status, StatusCode::ACCEPTED | StatusCode::OK).then_some(())
        })
        .await;
        users += 1;
        sleep(Duration::from_millis(500)).await;
    }
    (jobs, users)
}

#[tokio::test]
async fn an_update_in_place_loses_nothing_that_is_in_flight() {
    let (_gate, stack) = (super::alone().await, Stack::from_env());
    let (root, run) = (root(), format!("upgrade-{}", Timestamp::now().as_millisecond()));
    let folder = variable("MILLRACE_STATE_DIR").join("tmp/other-release");
    let (other, own) = (other_release(&root, &folder), template(&root));

    let before = release(&stack).await;
    let dead = stack.echo(json!({"message": "before", "fail": "permanent"}), json!({})).await;
    stack.job_in(&dead, &["dead"]).await;
    let far = stack.echo(json!({"message": "far"}), json!({"delay_seconds": 950})).await;

    let done = AtomicBool::new(false);
    let updates = async {
        sleep(Duration::from_secs(2)).await;
        update(&stack, &other, "debug").await.expect("the other release");
        let between = release(&stack).await;
        sleep(Duration::from_secs(2)).await;
        update(&stack, &own, "info").await.expect("this release again");
        done.store(true, Ordering::Relaxed);
        between
    };
    let (between, (jobs, users)) = tokio::join!(updates, load(&stack, &run, &done));
    let after = release(&stack).await;
    assert_eq!(before, after);
    for (own, other) in before.iter().zip(&between) {
        assert_ne!(own, other, "the update changed it");
    }

    for (id, end) in &jobs {
        let job = stack.final_job(id).await;
        assert_eq!(job.str("/state"), *end, "{}", job.text);
    }
    for i in 0..users {
        let address = format!("{run}-{i}@example.com");
        until("a welcome mail", async || (!stack.mails_to(&address).await.is_empty()).then_some(())).await;
        assert_eq!(stack.mails_to(&address).await.len(), 1, "{address}");
    }
    assert_eq!(stack.job(&dead).await.str("/state"), "dead");
    stack.post_ok(&format!("/v1/jobs/{dead}/retry"), &json!({"payload": {"message": "after"}}), 202).await;
    assert_eq!(stack.final_job(&dead).await.str("/result/message"), "after");
    assert_eq!(stack.job(&far).await.str("/state"), "scheduled");
    stack.post_ok(&format!("/v1/jobs/{far}/cancel"), &json!({}), 200).await;
    stack.post_ok(&format!("/v1/jobs/{far}/retry"), &json!({}), 202).await;
    assert_eq!(stack.final_job(&far).await.str("/state"), "succeeded");
    fs::remove_dir_all(folder).expect("the other release's programs");
}
