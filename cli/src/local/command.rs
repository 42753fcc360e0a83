//! Running other programs to their end.

use anyhow::{Context, bail};
use std::{
    fs::File,
    path::Path,
    process::{ExitStatus, Stdio},
};
use tokio::process::Command;

/// How many of its last lines a failed program is quoted with.
const QUOTED: usize = 30;

/// What the program printed on standard output. Its standard error is quoted if it fails.
pub(crate) async fn output(command: &mut Command) -> anyhow::Result<String> {
    let name = name(command);
    let done = command.stdin(Stdio::null()).kill_on_drop(true).output().await;
    let done = done.with_context(|| format!("{name} cannot be started"))?;
    ensure(&name, done.status, &String::from_utf8_lossy(&done.stderr))?;
    String::from_utf8(done.stdout).with_context(|| format!("{name} printed no text"))
}

/// Runs the program; what it prints is shown only if it fails.
pub(crate) async fn run_quietly(command: &mut Command) -> anyhow::Result<()> {
    let name = name(command);
    let done = command.stdin(Stdio::null()).kill_on_drop(true).output().await;
    let done = done.with_context(|| format!("{name} cannot be started"))?;
    let printed = [done.stdout, done.stderr].concat();
    ensure(&name, done.status, &String::from_utf8_lossy(&printed))
}

/// Runs the program; what it prints goes to the log.
pub(crate) async fn run_logged(command: &mut Command, log: &Path) -> anyhow::Result<()> {
    let name = name(command);
    let file = File::create(log).with_context(|| format!("{} cannot be written", log.display()))?;
    let both = (file.try_clone()?, file);
    let done = command.stdin(Stdio::null()).stdout(both.0).stderr(both.1).kill_on_drop(true).status().await;
    let status = done.with_context(|| format!("{name} cannot be started"))?;
    ensure(&name, status, &std::fs::read_to_string(log).unwrap_or_default())
}

/// Runs the program with this command's own output.
pub(crate) async fn run_shown(command: &mut Command) -> anyhow::Result<()> {
    let name = name(command);
    let done = command.stdin(Stdio::null()).kill_on_drop(true).status().await;
    ensure(&name, done.with_context(|| format!("{name} cannot be started"))?, "")
}

fn ensure(name: &str, status: ExitStatus, printed: &str) -> anyhow::Result<()> {
    if status.success() {
        return Ok(());
    }
    match last_lines(printed) {
        lines if lines.is_empty() => bail!("{name} failed ({status})"),
        lines => bail!("{name} failed ({status}):\n{lines}"),
    }
}

/// The end of a text, as much as a person wants to read.
pub(crate) fn last_lines(text: &str) -> String {
    let lines: Vec<&str> = text.trim_end().lines().collect();
    lines[lines.len().saturating_sub(QUOTED)..].join("\n")
}

fn name(command: &Command) -> String {
    let command = command.as_std();
    let program = Path::new(command.get_program()).file_name().unwrap_or_default().to_string_lossy().into_owned();
    let first = command.get_args().take(2).map(|argument| argument.to_string_lossy());
    [program.into()].into_iter().chain(first).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_failure_is_quoted() {
        let failed = output(Command::new("/bin/sh").args(["-c", "echo why >&2; exit 3"])).await.unwrap_err();
        let text = failed.to_string();
        assert!(text.starts_with("sh -c") && text.contains("exit status: 3") && text.ends_with("why"), "{text}");
        assert_eq!(output(Command::new("/bin/sh").args(["-c", "echo fine"])).await.unwrap(), "fine\n");
        let absent = run_quietly(&mut Command::new("/nowhere/program")).await.unwrap_err();
        assert_eq!(absent.to_string(), "program cannot be started");
    }
}
