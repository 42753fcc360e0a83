//! The command line, as an operator types it.

use serde_json::Value;
use std::path::PathBuf;
use tokio::process::Command;

/// What a command came to.
#[derive(Debug)]
pub struct Ran {
    /// Its exit code.
    pub code: Option<i32>,
    /// What it wrote to standard output, as JSON; `Null` when it is none.
    pub json: Value,
    /// What it wrote to standard output.
    pub text: String,
    /// What it wrote to standard error.
    pub errors: String,
}

/// The command line that was built with the tests: it has brought their stack up.
#[must_use]
pub fn program() -> PathBuf {
    let own = std::env::current_exe().expect("the test's own path");
    let folder = own.parent().and_then(|deps| deps.parent()).expect("the folder of the programs");
    folder.join("millrace")
}

/// Runs `millrace` with these arguments, on the stack of the environment.
///
/// # Panics
/// When it cannot be started.
pub async fn millrace(arguments: &[&str]) -> Ran {
    let ran = Command::new(program()).args(arguments).output().await.expect("the command line");
    let text = String::from_utf8_lossy(&ran.stdout).into_owned();
    let json = serde_json::from_str(&text).unwrap_or(Value::Null);
    Ran { code: ran.status.code(), json, text, errors: String::from_utf8_lossy(&ran.stderr).into_owned() }
}
