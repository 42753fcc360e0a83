//! Processes that outlive the command that started them, known by pid and start time.

use anyhow::{Context, bail};
use nix::{
    errno::Errno,
    sys::signal::{Signal, kill, killpg},
    unistd::Pid,
};
use serde::{Deserialize, Serialize};
use std::{
    collections::BTreeMap,
    ffi::OsStr,
    fs::{self, File},
    os::unix::process::CommandExt,
    path::Path,
    process::{Command, Stdio},
    time::Duration,
};
use tokio::time::{Instant, sleep};

use super::state::{StateDir, replace};

/// A process that was started earlier. A pid alone proves nothing: it may belong to another process by now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Process {
    pid: i32,
    /// Clock ticks from boot to its start, as the kernel says.
    started: u64,
}

/// What became of a process that should be running.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Found {
    /// It runs.
    Running(Process),
    /// It was started and ended without being told to.
    Gone,
    /// It was never started, or was stopped.
    None,
}

fn record(state: &StateDir, name: &str) -> std::path::PathBuf {
    state.path(&format!("run/{name}.json"))
}

/// Looks for the process of this name.
pub(crate) fn find(state: &StateDir, name: &str) -> Found {
    let Ok(text) = fs::read(record(state, name)) else { return Found::None };
    match serde_json::from_slice::<Process>(&text) {
        Ok(process) if process.runs() => Found::Running(process),
        _ => Found::Gone,
    }
}

/// Starts a program in the background with exactly this environment; what it prints goes to its log, begun anew.
pub(crate) fn start(
    state: &StateDir,
    name: &str,
    program: &Path,
    arguments: &[&OsStr],
    environment: &BTreeMap<String, String>,
) -> anyhow::Result<Process> {
    let mut command = Command::new(program);
    command.args(arguments).env_clear().envs(environment).current_dir(state.root());
    launch(state, name, command)
}

/// Starts a command in the background; what it prints goes to its log, begun anew.
pub(crate) fn launch(state: &StateDir, name: &str, mut command: Command) -> anyhow::Result<Process> {
    let log = File::create(state.log(name)).with_context(|| format!("the log of the {name} cannot be written"))?;
    let child = command
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log)
        // A group of its own: Ctrl-C in the terminal is meant for this command, not for it.
        .process_group(0)
        .spawn()
        .with_context(|| format!("{} cannot be started", command.get_program().display()))?;
    let pid = i32::try_from(child.id())?;
    let started =
        start_time(pid).with_context(|| format!("the {name} ended at once: see {}", state.log(name).display()))?;
    let process = Process { pid, started };
    replace(&record(state, name), &serde_json::to_vec(&process)?, 0o644)?;
    Ok(process)
}

/// Stops the process of this name, if it runs: asks, waits `patience`, then kills. `false` when there was none.
/// One that had to be killed is found [`Found::Gone`] later: it had no time to save anything.
pub(crate) async fn stop(state: &StateDir, name: &str, patience: Duration) -> anyhow::Result<bool> {
    let Found::Running(process) = find(state, name) else {
        forget(state, name)?;
        return Ok(false);
    };
    let pid = Pid::from_raw(process.pid);
    signal(kill(pid, Signal::SIGTERM))?;
    let obeyed = process.ends_within(patience).await;
    if !obeyed {
        signal(kill(pid, Signal::SIGKILL))?;
        if !process.ends_within(Duration::from_secs(5)).await {
            bail!("the {name} (process {}) cannot be stopped", process.pid);
        }
    }
    // Functions that the engine left behind are in its group.
    signal(killpg(pid, Signal::SIGKILL))?;
    if obeyed {
        forget(state, name)?;
    }
    Ok(true)
}

fn signal(sent: nix::Result<()>) -> anyhow::Result<()> {
    match sent {
        Ok(()) | Err(Errno::ESRCH) => Ok(()),
        Err(error) => Err(error).context("a signal was refused"),
    }
}

/// Takes note that the process of this name is not meant to run.
pub(crate) fn forget(state: &StateDir, name: &str) -> anyhow::Result<()> {
    match fs::remove_file(record(state, name)) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error).context("the record of a process"),
        _ => Ok(()),
    }
}

impl Process {
    /// Its id.
    pub(crate) fn pid(self) -> i32 {
        self.pid
    }

    /// Whether it is still the process that was started, and alive.
    pub(crate) fn runs(self) -> bool {
        start_time(self.pid) == Some(self.started)
    }

    async fn ends_within(self, patience: Duration) -> bool {
        let end = Instant::now() + patience;
        while self.runs() {
            if Instant::now() >= end {
                return false;
            }
            sleep(Duration::from_millis(50)).await;
        }
        true
    }
}

/// When the process started; `None` when there is none, or it only waits to be reaped.
fn start_time(pid: i32) -> Option<u64> {
    parse_stat(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
}

/// The name in the second field may hold spaces and brackets, so fields are counted from its end.
fn parse_stat(stat: &str) -> Option<u64> {
    let mut fields = stat.rsplit_once(')')?.1.split_ascii_whitespace();
    let status = fields.next()?;
    let started = fields.nth(18)?.parse().ok()?;
    (!matches!(status, "Z" | "X")).then_some(started)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_start_time_whatever_the_name() {
        let stat = |name: &str, status: &str| {
            format!("42 ({name}) {status} 1 42 42 0 -1 4194560 1 0 0 0 7 3 0 0 20 0 1 0 123456 9 9")
        };
        assert_eq!(parse_stat(&stat("sh", "S")), Some(123_456));
        assert_eq!(parse_stat(&stat("a) R (b", "R")), Some(123_456));
        assert_eq!(parse_stat(&stat("sh", "Z")), None);
        assert_eq!(parse_stat(""), None);
        assert!(start_time(i32::try_from(std::process::id()).unwrap()).is_some());
    }

    #[tokio::test]
    async fn starts_finds_and_stops_only_its_own() {
        let folder = tempfile::tempdir().unwrap();
        let state = StateDir::create(folder.path()).unwrap();
        assert_eq!(find(&state, "sleeper"), Found::None);
        let process = start(&state, "sleeper", Path::new("/bin/sleep"), &["60".as_ref()], &BTreeMap::new()).unwrap();
        assert_eq!(find(&state, "sleeper"), Found::Running(process));
        assert!(stop(&state, "sleeper", Duration::from_secs(5)).await.unwrap());
        assert!(!process.runs());
        assert_eq!(find(&state, "sleeper"), Found::None);
        assert!(!stop(&state, "sleeper", Duration::from_secs(5)).await.unwrap());
    }

    #[tokio::test]
    async fn what_had_to_be_killed_is_gone_not_stopped() {
        let folder = tempfile::tempdir().unwrap();
        let state = StateDir::create(folder.path()).unwrap();
        let deaf = ["-c".as_ref(), "trap '' TERM; echo ready; while :; do sleep 1; done".as_ref()];
        let process = start(&state, "deaf", Path::new("/bin/sh"), &deaf, &BTreeMap::new()).unwrap();
        while fs::read_to_string(state.log("deaf")).unwrap().is_empty() {
            sleep(Duration::from_millis(10)).await;
        }
        assert!(stop(&state, "deaf", Duration::from_millis(100)).await.unwrap());
        assert!(!process.runs());
        assert_eq!(find(&state, "deaf"), Found::Gone);
    }

    #[tokio::test]
    async fn another_process_with_the_same_pid_is_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let state = StateDir::create(folder.path()).unwrap();
        let process = start(&state, "sleeper", Path::new("/bin/sleep"), &["60".as_ref()], &BTreeMap::new()).unwrap();
        let stale = Process { started: process.started + 1, ..process };
        fs::write(record(&state, "stale"), serde_json::to_vec(&stale).unwrap()).unwrap();
        assert_eq!(find(&state, "stale"), Found::Gone);
        assert!(!stop(&state, "stale", Duration::from_secs(1)).await.unwrap());
        assert!(process.runs());
        stop(&state, "sleeper", Duration::from_secs(5)).await.unwrap();
    }
}
