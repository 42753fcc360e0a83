//! Helpers of the end-to-end tests: a stack that is up, spoken to over HTTP as its users do.
//!
//! The stack is named by the environment that `millrace local exec` gives the command it runs.

pub mod cli;
pub mod processes;
pub mod stack;

pub use stack::{Answer, Inside, Stack};

/// What `millrace` prints, given these arguments and `--json` among them. It works on the stack of the environment.
///
/// # Panics
/// When it fails.
pub async fn millrace(arguments: &[&str]) -> serde_json::Value {
    // Built beside the tests: `make test-e2e` runs it.
    let tests = std::env::current_exe().expect("the tests' own path");
    let program = tests.parent().and_then(std::path::Path::parent).expect("the folder of programs").join("millrace");
    let done = tokio::process::Command::new(program).args(arguments).output().await.expect("millrace runs");
    assert!(done.status.success(), "millrace {arguments:?}: {}", String::from_utf8_lossy(&done.stderr));
    serde_json::from_slice(&done.stdout).expect("it prints JSON")
}
