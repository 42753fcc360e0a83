//! `millrace local dev` in a copy of the project: an edited handler is what the next job runs.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod clone;

use clone::{copy, root, target, without_cargo};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use serde_json::Value;
use std::{
    fs::{self, File},
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus},
    thread::sleep,
    time::{Duration, Instant},
};

const PATIENCE: Duration = Duration::from_secs(600);
const HANDLER: &str = "functions/echo/src/handler.rs";

/// `millrace local dev`, which runs.
struct Dev {
    process: Child,
    clone: PathBuf,
    state: PathBuf,
    log: PathBuf,
}

impl Dev {
    fn start(clone: &Path, outside: &Path) -> Self {
        let (state, log) = (outside.join("state"), outside.join("dev.log"));
        let written = File::create(&log).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_millrace"));
        without_cargo(&mut command).current_dir(clone).env("CARGO_TARGET_DIR", target());
        command.args(["local", "dev", "--name", "millrace-dev", "--free-ports", "--watch-port", "0", "--state-dir"]);
        let process = command.arg(&state).stdout(written.try_clone().unwrap()).stderr(written).spawn().unwrap();
        let mut dev = Self { process, clone: clone.to_owned(), state, log };
        until("the system", || {
            assert!(dev.process.try_wait().unwrap().is_none(), "{}", dev.said());
            dev.said().contains("Ctrl-C stops everything").then_some(())
        });
        dev
    }

    fn said(&self) -> String {
        fs::read_to_string(&self.log).unwrap()
    }

    fn millrace(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_millrace"));
        command.args(arguments).arg("--state-dir").arg(&self.state).current_dir(&self.clone);
        command.env_remove("MILLRACE_API_URL").env_remove("MILLRACE_API_KEY");
        command
    }

    /// The result of a new job of kind `echo`.
    fn echo(&self) -> Value {
        let job = ["jobs", "submit", "echo", "--payload", r#"{"message": "hello"}"#, "--wait", "--json"];
        let done = self.millrace(&job).output().unwrap();
        let job: Value = serde_json::from_slice(&done.stdout).unwrap_or(Value::Null);
        assert!(done.status.success(), "{job} {}\n{}", String::from_utf8_lossy(&done.stderr), self.said());
        job["result"].clone()
    }

    /// Ends it as Ctrl-C does.
    fn stop(&mut self) -> ExitStatus {
        kill(Pid::from_raw(self.process.id().try_into().unwrap()), Signal::SIGINT).unwrap();
        self.process.wait().unwrap()
    }
}

impl Drop for Dev {
    fn drop(&mut self) {
        if self.process.try_wait().is_ok_and(|ended| ended.is_none()) {
            self.stop();
        }
    }
}

fn until<T>(what: &str, mut attempt: impl FnMut() -> Option<T>) -> T {
    let end = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = attempt() {
            return found;
        }
        assert!(Instant::now() < end, "waited {PATIENCE:?} in vain for: {what}");
        sleep(Duration::from_millis(500));
    }
}

/// Processes that work in this folder or below.
fn processes_in(folder: &Path) -> Vec<PathBuf> {
    let processes = fs::read_dir("/proc").unwrap().flatten();
    let folders = processes.filter_map(|process| fs::read_link(process.path().join("cwd")).ok());
    folders.filter(|cwd| cwd.starts_with(folder)).collect()
}

#[test]
fn the_next_job_runs_what_was_edited_and_ctrl_c_stops_everything() {
    let outside = tempfile::tempdir().unwrap();
    let clone = outside.path().join("clone");
    copy(&root(), &clone);
    fs::create_dir(clone.join(".millrace")).unwrap();
    for tools in ["tools", "engine"] {
        symlink(root().join(".millrace").join(tools), clone.join(".millrace").join(tools)).unwrap();
    }
    // The dependencies that are built already, and a profile that differs: what is built of this copy gets names of its own
    // beside what is built of the project.
    let config = fs::read_to_string(clone.join(".cargo/config.toml")).unwrap();
    fs::write(clone.join(".cargo/config.toml"), config + "\n[profile.dev.package.millrace]\ndebug = false\n").unwrap();

    let mut dev = Dev::start(&clone, outside.path());
    assert_eq!(dev.echo(), serde_json::json!({"attempt": 1, "message": "hello"}), "{}", dev.said());

    let handler = fs::read_to_string(clone.join(HANDLER)).unwrap();
    let edited = handler.replace(r#"json!({ "message": "#, r#"json!({ "edited": true, "message": "#);
    assert_ne!(handler, edited);
    fs::write(clone.join(HANDLER), edited).unwrap();
    until("the new code", || (dev.echo()["edited"] == true).then_some(()));

    assert_eq!(dev.stop().code(), Some(130), "{}", dev.said());
    assert!(!dev.millrace(&["local", "status"]).output().unwrap().status.success());
    assert_eq!(processes_in(outside.path()), Vec::<PathBuf>::new());
}
