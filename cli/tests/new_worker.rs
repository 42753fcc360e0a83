//! `millrace new-worker` in a copy of the project: what it writes is built, and passes its tests and the house's.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod clone;

use clone::{copy, root, target, without_cargo};
use std::{
    path::Path,
    process::{Command, Output},
};

/// Such as nobody gives to a worker of theirs.
const NAME: &str = "a-worker-in-a-test";

fn run(command: &mut Command) -> Output {
    command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"))
}

fn cargo(clone: &Path) -> Command {
    let mut cargo = Command::new("cargo");
    without_cargo(cargo.current_dir(clone));
    cargo
}

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&[&output.stdout[..], &output.stderr].concat()).into_owned()
}

#[test]
fn a_new_worker_is_built_and_passes_its_tests_and_the_houses() {
    let outside = tempfile::tempdir().unwrap();
    let clone = outside.path().join("clone");
    copy(&root(), &clone);
    let millrace =
        |arguments: &[&str]| run(Command::new(env!("CARGO_BIN_EXE_millrace")).args(arguments).current_dir(&clone));

    let written = millrace(&["new-worker", NAME]);
    assert!(written.status.success(), "{}", text(&written));
    let again = millrace(&["new-worker", NAME]);
    assert!(!again.status.success() && text(&again).contains("there already"), "{}", text(&again));
    assert!(millrace(&["infra", "render", "--check"]).status.success());

    let formatted = run(cargo(&clone).args(["fmt", "--all", "--check"]));
    assert!(formatted.status.success(), "{}", text(&formatted));
    // The dependencies that are built already, and a profile that differs: what is built of this copy gets names of its own
    // beside what is built of the project.
    let tested = run(cargo(&clone)
        .args(["test", "--offline", "--workspace", "--bin", NAME, "--test", "infra", "--test", "architecture"])
        .args(["--config", "profile.dev.package.millrace.debug=\"line-tables-only\""])
        .env("CARGO_TARGET_DIR", target()));
    assert!(tested.status.success(), "{}", text(&tested));
    assert!(text(&tested).contains("test handler::tests::the_sample_job_succeeds ... ok"), "{}", text(&tested));
}
