//! The stack as the CDK deploys it, bootstrap and publishing included, on an engine of its own. That one enforces no roles: the
//! engine refuses the CDK's publishing role its own bucket.

use anyhow::Context as _;
use millrace_tests::cli::program;
use millrace_tests::emulator::CREDENTIALS;
use millrace_tests::{Emulator, Stack};
use serde_json::json;
use std::fs;
use std::path::{Path, PathBuf};
use tokio::process::Command;

const STACK: &str = "millrace-by-cdk";
/// The API's id there, which makes its address.
const API: &str = "0cd0cd00";

/// Runs a command with these variables and no other of AWS; gives what it wrote to standard output.
async fn run(command: &mut Command, variables: &[(&str, &str)]) -> String {
    let path = std::env::var_os("PATH").expect("PATH");
    let ran = command.env_clear().env("PATH", path).envs(variables.iter().copied()).kill_on_drop(true).output().await;
    let ran = ran.expect("the command");
    let text = String::from_utf8_lossy(&ran.stdout).into_owned();
    assert!(ran.status.success(), "{command:?}\n{text}\n{}", String::from_utf8_lossy(&ran.stderr));
    text
}

#[tokio::test]
async fn the_stack_of_the_cdk_is_deployed_and_works_on_every_lane() {
    let _gate = super::shared().await;
    let variable = |name: &str| std::env::var(name).expect("a stack that is up");
    let own = PathBuf::from(variable("MILLRACE_STATE_DIR")).join("data/cdk");
    let emulator = Emulator::start(&own, &[]).await;
    let clone = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the clone");
    let (app, home, out) = (clone.join("infra/cdk"), own.join("home"), own.join("cdk.out"));
    let text = |path: &Path| path.to_str().expect("a path").to_owned();
    let (home, out, mailbox) = (text(&home), text(&out), variable("MILLRACE_MAILBOX_URL"));
    // Not the host's name, under which the CDK would look for the bucket `bucket.localhost`.
    let aws = [("AWS_ENDPOINT_URL", emulator.url.as_str()), ("HOME", &home), ("CI", "1"), ("NO_PROXY", "127.0.0.1")];
    let variables = [aws.as_slice(), &CREDENTIALS].concat();

    let node = clone.join(".millrace/cdk/bin/node");
    let cdk = |arguments: &[&str]| {
        let mut command = Command::new(&node);
        command.current_dir(&app).arg("node_modules/.bin/cdk").args(["--output", &out]).args(arguments);
        let choices = [
            ("sender", "news@example.com"),
            ("stackName", STACK),
            ("localApiId", API),
            ("architecture", if cfg!(target_arch = "x86_64") { "x86_64" } else { "arm64" }),
            ("mailEndpoint", &mailbox),
        ];
        for (name, value) in choices {
            command.args(["--context", &format!("{name}={value}")]);
        }
        command
    };
    run(Command::new(&node).arg("node_modules/.bin/tsc").current_dir(&app), &variables).await;
    run(&mut cdk(&["bootstrap", "aws://000000000000/us-east-1"]), &variables).await;
    run(&mut cdk(&["deploy", "--require-approval", "never"]), &variables).await;

    let keys = ["keys", "create", "--stack", STACK, "--tenant", "acme", "--scope", "admin", "--json"];
    let key = run(Command::new(program()).args(keys).current_dir(clone), &variables).await;
    let key: serde_json::Value = serde_json::from_str(&key).expect("a key");
    let stack = Stack::of(|name| {
        let value = match name {
            "MILLRACE_API_URL" => format!("{}/_aws/execute-api/{API}/$default", emulator.url),
            "MILLRACE_API_KEY" => key["key"].as_str().context("a key")?.to_owned(),
            "MILLRACE_MAILBOX_URL" => mailbox.clone(),
            _ => STACK.to_owned(),
        };
        Ok(value)
    });
    let stack = stack.expect("a stack that is up");
    let lanes = [json!({"priority": "high"}), json!({}), json!({"priority": "low"}), json!({"ordering_key": "one"})];
    for lane in lanes {
        let id = stack.echo(json!({"message": "by the CDK"}), lane).await;
        assert_eq!(stack.final_job(&id).await.body["result"], json!({"message": "by the CDK", "attempt": 1}));
    }
    let reader = format!("cdk-{}@example.com", jiff::Timestamp::now().as_millisecond());
    let accepted = stack.post_ok("/v1/users", &json!({"email": reader}), 202).await;
    assert_eq!(stack.final_job(accepted.str("/job/id")).await.str("/state"), "succeeded");
    assert_eq!(stack.mails_to(&reader).await.len(), 1);
    fs::remove_dir_all(&out).expect("the synthesised stack");
}
