//! The variant for LocalStack: the template without what it lacks, on an emulator that was there before, with the API and the
//! mailbox beside it. The emulator is the engine's program, started by somebody else.

use anyhow::Context as _;
use millrace_tests::cli::{millrace, program};
use millrace_tests::{Stack, processes, stack::until};
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use serde_json::json;
use std::fs::{self, File};
use std::net::{TcpListener, TcpStream};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};

/// No others: the template must not ask for what LocalStack has only with a licence, or keeps without acting on it.
const SERVICES: &str = "cloudformation,dynamodb,events,iam,lambda,logs,monitoring,s3,sqs,sts";

/// An emulator of AWS that no `millrace local` has started.
struct Emulator {
    process: Child,
    url: String,
}

impl Emulator {
    async fn start(folder: &Path) -> Self {
        let free = TcpListener::bind("127.0.0.1:0").and_then(|free| free.local_addr()).expect("a free port");
        let (url, port) = (format!("http://{free}"), free.port().to_string());
        let path = |name: &str| {
            fs::create_dir_all(folder.join(name)).expect("a folder");
            folder.join(name)
        };
        let log = File::create(folder.join("emulator.log")).expect("a log");
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the clone");
        let process = Command::new(root.join(".millrace/engine/bin/ministack"))
            .env_clear()
            .envs([("PATH", "/usr/local/bin:/usr/bin:/bin"), ("LANG", "C.UTF-8"), ("SERVICES", SERVICES)])
            .envs([("GATEWAY_PORT", port.as_str()), ("AWS_ENDPOINT_URL", &url), ("BIND_HOST", "127.0.0.1")])
            .envs([("AWS_REGION", "us-east-1"), ("AWS_ACCESS_KEY_ID", "test"), ("AWS_SECRET_ACCESS_KEY", "test")])
            .envs([("AUTH", "true"), ("IOT_MTLS_ENABLED", "0"), ("SFTP_ENABLED", "0")])
            .envs([("HOME", path("home")), ("TMPDIR", path("tmp")), ("DOCKER_HOST", path("no-docker"))])
            .stdout(log.try_clone().expect("a log"))
            .stderr(log)
            .process_group(0)
            .spawn()
            .expect("the emulator");
        until("the emulator", async || TcpStream::connect(free).ok()).await;
        Self { process, url }
    }
}

impl Drop for Emulator {
    fn drop(&mut self) {
        // Its functions are in its group.
        let group = Pid::from_raw(self.process.id().try_into().expect("a pid"));
        let _ = killpg(group, Signal::SIGKILL);
        let _ = self.process.wait();
    }
}

/// A local system, taken down whatever happens.
struct System(PathBuf);

impl Drop for System {
    fn drop(&mut self) {
        let _ = Command::new(program()).args(["local", "down", "--state-dir"]).arg(&self.0).output();
    }
}

#[tokio::test]
async fn a_system_comes_up_on_an_emulator_without_http_api_and_ses() {
    // Alone: it builds, and takes the functions' programs away for a moment.
    let _gate = super::alone().await;
    let own = PathBuf::from(std::env::var("MILLRACE_STATE_DIR").expect("a stack that is up"));
    let (state, emulator) = (own.join("data/beside"), Emulator::start(&own.join("data")).await);
    let system = System(state.clone());
    let folder = state.to_str().expect("a path");
    let up = async |endpoint: &str| {
        let place = ["local", "up", "--json", "--state-dir", folder, "--name", "millrace-beside", "--free-ports"];
        let emulator = ["--endpoint", endpoint, "--ses-address", "127.0.0.2"];
        millrace(&[place.as_slice(), &emulator].concat()).await
    };

    let nobody = up("http://127.0.0.1:1").await;
    assert_eq!(nobody.code, Some(1), "{nobody:?}");
    assert!(nobody.errors.contains("nothing answers at http://127.0.0.1:1"), "{}", nobody.errors);

    let ran = up(&emulator.url).await;
    assert_eq!(ran.code, Some(0), "{}", ran.errors);
    let variable = |name: &str| ran.json[name].as_str().map(str::to_owned).context("a variable");
    assert!(variable("MILLRACE_API_URL").expect("a variable").ends_with("/lambda-url/api"));
    assert_eq!(ran.json["AWS_ENDPOINT_URL"], json!(emulator.url));
    let stack = Stack::of(variable).expect("a stack that is up");

    let id = stack.echo(json!({"message": "beside"}), json!({})).await;
    assert_eq!(stack.final_job(&id).await.body["result"], json!({"message": "beside", "attempt": 1}));

    // The mail leaves by the address that containers have, and what becomes of it comes back without a rule.
    let accepted = stack.post_ok("/v1/users", &json!({"email": "bounce@simulator.amazonses.com"}), 202).await;
    assert_eq!(stack.final_job(accepted.str("/job/id")).await.str("/state"), "succeeded");
    assert_eq!(stack.mails_to("bounce@simulator.amazonses.com").await.len(), 1);

    let status = millrace(&["local", "status", "--json", "--state-dir", folder]).await;
    assert_eq!(status.code, Some(0), "{}", status.text);
    let parts = status.json["parts"].as_array().expect("parts").iter().map(|part| part["name"].as_str());
    assert_eq!(parts.collect::<Option<Vec<_>>>().expect("names"), ["emulator", "mailbox", "api"]);
    // The mailbox, the watch, and the API that it runs.
    assert!(processes::of_system(&state).len() >= 3);
    drop(system);
    assert_eq!(processes::of_system(&state), []);
    assert!(TcpStream::connect(emulator.url.trim_start_matches("http://")).is_ok(), "the emulator is not ours to stop");
}
