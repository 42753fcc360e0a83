//! `millrace new-worker` in a copy of the project: what it writes is built, and passes its tests and the house's.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
};

/// Such as nobody gives to a worker of theirs.
const NAME: &str = "a-worker-in-a-test";

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

/// Copies sources: no build, no tools, nothing installed.
fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap().map(Result::unwrap) {
        let (path, name) = (entry.path(), entry.file_name());
        match name.to_str() {
            Some("target" | ".millrace" | ".git" | "node_modules") => {}
            _ if path.is_dir() => copy(&path, &to.join(name)),
            _ => {
                fs::copy(&path, to.join(name)).unwrap();
            }
        }
    }
}

fn run(command: &mut Command) -> Output {
    command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"))
}

/// Cargo without what a `cargo test` around it has set: some build scripts would run again because of it.
fn cargo(clone: &Path) -> Command {
    let mut cargo = Command::new("cargo");
    cargo.current_dir(clone);
    for (name, _) in std::env::vars() {
        if name == "CARGO" || name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_") {
            cargo.env_remove(name);
        }
    }
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
        .args(["--config", "profile.dev.package.millrace.debug=false"])
        .env("CARGO_TARGET_DIR", target()));
    assert!(tested.status.success(), "{}", text(&tested));
    assert!(text(&tested).contains("test handler::tests::the_sample_job_succeeds ... ok"), "{}", text(&tested));
}

/// The folder above that of the triple, where this test's own program is.
fn target() -> PathBuf {
    let program = Path::new(env!("CARGO_BIN_EXE_millrace"));
    program.ancestors().nth(3).unwrap().to_owned()
}
