//! The variant for LocalStack: the template without what it lacks, on an emulator that was there before, with the API and the
//! mailbox beside it. The emulator is the engine's program, started by somebody else.

use anyhow::Context as _;
use millrace_tests::cli::{millrace, program};
use millrace_tests::{Emulator, Stack, processes};
use serde_json::json;
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::Command;

/// No others: the template must not ask for what LocalStack has only with a licence, or keeps without acting on it.
const SERVICES: &str = "cloudformation,dynamodb,events,iam,lambda,logs,monitoring,s3,sqs,sts";

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
    let (state, emulator) = (
        own.join("data/beside"),
        Emulator::start(&own.join("data"), &[("SERVICES", SERVICES), ("AUTH", "true")]).await,
    );
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
