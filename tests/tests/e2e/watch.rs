//! `cargo lambda watch`: each function run from its source, called with each sample event.

use jiff::Timestamp;
use millrace::aws::DynamoJobs;
use millrace::domain::id::{JobId, Tenant};
use millrace::domain::job::{Job, State, Stored};
use millrace::ports::{Created, Jobs};
use millrace::testing::conformance::queued_job;
use millrace_tests::{Inside, stack::until};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};
use std::fs::{self, File};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Output;
use tokio::process::{Child, Command};

/// What the API says to its samples, whose key and newsletter are invented.
const STATUSES: [(&str, u16); 4] =
    [("api.health.json", 200), ("api.register.json", 401), ("api.submit.json", 401), ("api.subscribe.json", 422)];

/// The clone.
fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the clone").to_owned()
}

/// `cargo lambda`, without what a `cargo test` around it has set: some build scripts would run again because of it.
fn cargo_lambda(subcommand: &str) -> Command {
    let mut command = Command::new(root().join(".millrace/tools/bin/cargo-lambda"));
    command.args(["lambda", subcommand, "-A", "127.0.0.1"]).current_dir(root()).kill_on_drop(true);
    let set = |name: &str| name == "CARGO" || name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_");
    for (name, _) in std::env::vars().filter(|(name, _)| set(name)) {
        command.env_remove(name);
    }
    command
}

/// A `cargo lambda watch` of the clone.
struct Watch {
    process: Child,
    port: String,
    log: PathBuf,
}

impl Watch {
    /// Starts it; a call may take `seconds`, and `change` has the last word on the environment.
    async fn start(name: &str, seconds: u8, change: impl FnOnce(&mut Command)) -> Self {
        let free = TcpListener::bind("127.0.0.1:0").and_then(|free| free.local_addr()).expect("a free port");
        let state = std::env::var("MILLRACE_STATE_DIR").expect("a stack that is up");
        let (port, log) = (free.port().to_string(), Path::new(&state).join(format!("log/{name}.log")));
        let written = File::create(&log).expect("a log");
        let mut command = cargo_lambda("watch");
        command.args(["-P", &port, "--timeout", &seconds.to_string()]);
        command.stdout(written.try_clone().expect("a log")).stderr(written);
        change(&mut command);
        let process = command.spawn().expect("cargo lambda watch");
        until("cargo lambda watch", async || TcpStream::connect(free).ok()).await;
        Self { process, port, log }
    }

    /// Calls a function with a file of `events/`.
    async fn invoke(&self, function: &str, event: &str) -> Output {
        let mut command = cargo_lambda("invoke");
        command.args(["-P", &self.port, function, "--data-file", &format!("events/{event}")]);
        command.output().await.expect("cargo lambda invoke")
    }

    /// The answer to a call that must succeed.
    async fn answer(&self, function: &str, event: &str) -> Value {
        let Output { status, stdout, stderr } = self.invoke(function, event).await;
        let (text, errors) = (String::from_utf8_lossy(&stdout), String::from_utf8_lossy(&stderr));
        assert!(status.success(), "{event}: {text}{errors}\n{}", self.said());
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{event}: {error}: {text}{errors}"))
    }

    /// What it and its functions have printed.
    fn said(&self) -> String {
        fs::read_to_string(&self.log).expect("the log")
    }

    /// Ends it as Ctrl-C does.
    async fn stop(mut self) {
        let pid = self.process.id().expect("its pid");
        kill(Pid::from_raw(pid.try_into().expect("a pid")), Signal::SIGINT).expect("a signal");
        self.process.wait().await.expect("its end");
    }
}

/// The sample events, by their names.
fn events() -> Vec<String> {
    let files = fs::read_dir(root().join("events")).expect("events/");
    let names = files.map(|file| file.expect("a file").file_name().into_string().expect("a name"));
    let mut events: Vec<String> = names.filter(|name| name.ends_with(".json")).collect();
    events.sort();
    events
}

fn sample(event: &str) -> Value {
    let text = fs::read_to_string(root().join("events").join(event)).expect("the event");
    serde_json::from_str(&text).expect("JSON")
}

#[tokio::test]
async fn each_function_answers_its_sample_events() {
    let (_gate, inside) = (super::shared().await, Inside::from_env().await);
    // Tables of its own: what the samples tell of never was, and must not be counted.
    let (jobs, mail, outbox) =
        (inside.copy_of("JobsTable").await, inside.copy_of("MailTable").await, inside.copy_of("OutboxTable").await);
    let store = DynamoJobs::new(inside.aws.dynamodb(), jobs.clone());
    let now = Timestamp::from_millisecond(Timestamp::now().as_millisecond()).expect("a time");
    let message: Value =
        serde_json::from_str(sample("echo.json")["Records"][0]["body"].as_str().expect("a body")).expect("JSON");
    let job = Job {
        id: JobId::parse(message["id"].as_str().expect("an id")).expect("an id"),
        tenant: Tenant::parse(message["tenant"].as_str().expect("a tenant")).expect("a tenant"),
        payload: Stored::Inline(message["payload"].clone()),
        ..queued_job("echo.json", now)
    };
    assert_eq!(store.create(&job, false).await.expect("create"), Created::New);

    let own = [("JOBS_TABLE", jobs), ("MAIL_TABLE", mail), ("OUTBOX_TABLE", outbox)];
    let watch = Watch::start("watch", 60, |command| {
        command.envs(own);
    })
    .await;
    let events = events();
    assert!(STATUSES.iter().all(|(event, _)| events.iter().any(|name| name == event)), "{events:?}");
    for event in &events {
        let function = event.split('.').next().expect("a name");
        let answer = watch.answer(function, event).await;
        if function == "api" {
            let expected = STATUSES.iter().find(|(name, _)| name == event);
            let (_, status) = expected.unwrap_or_else(|| panic!("{event}: say what it is answered in STATUSES"));
            assert_eq!(answer["statusCode"], *status, "{event}: {answer}");
        } else if sample(event)["Records"][0]["eventSource"] == "aws:sqs" {
            // What no table knows is dropped, and what is no message is a dead letter: nothing is to be shown again.
            assert_eq!(answer, json!({"batchItemFailures": []}), "{event}\n{}", watch.said());
        }
    }
    let done = store.get(&job.id).await.expect("get").expect("the job");
    assert_eq!((done.state, done.attempt), (State::Succeeded, 1));
    // What the stack was deployed from is run, and nothing is compiled for it.
    assert!(!watch.said().contains("Compiling"), "{}", watch.said());
    watch.stop().await;
}

#[tokio::test]
async fn a_function_without_its_environment_says_where_to_get_it() {
    let _gate = super::shared().await;
    let watch = Watch::start("watch-alone", 5, |command| {
        let kept = ["PATH", "HOME", "CARGO_HOME", "RUSTUP_HOME", "RUSTUP_TOOLCHAIN", "CARGO_TARGET_DIR"];
        let kept = kept.map(|name| (name, std::env::var(name)));
        command.env_clear().envs(kept.into_iter().filter_map(|(name, value)| Some((name, value.ok()?))));
    })
    .await;
    assert!(!watch.invoke("echo", "echo.json").await.status.success());
    assert!(watch.said().contains("JOBS_TABLE is not set: "), "{}", watch.said());
    assert!(watch.said().contains(".millrace/local.env"), "{}", watch.said());
    watch.stop().await;
}
