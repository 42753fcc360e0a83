//! `millrace local exec`: a command against a system of its own.

use anyhow::{Context, bail};
use clap::Args;
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use reqwest::Url;
use std::{
    collections::{BTreeMap, BTreeSet},
    ffi::OsString,
    fs,
    os::unix::process::ExitStatusExt,
    process::{ExitCode, ExitStatus},
};
use tokio::{
    process::{Child, Command},
    signal::unix::{SignalKind, signal},
};

use super::{UpOptions, build::cargo_run_variables, engine, state::StateDir, up};
use crate::{print::step, project::Project};

/// The command, and its system.
#[derive(Args)]
pub(crate) struct Options {
    #[command(flatten)]
    up: UpOptions,
    /// The command; it finds in its environment what local.env holds.
    #[arg(last = true, required = true, value_name = "COMMAND")]
    command: Vec<OsString>,
}

/// Signals that end this command: Ctrl-C, `kill`, a closed terminal.
const ENDING: [(SignalKind, Signal); 3] = [
    (SignalKind::interrupt(), Signal::SIGINT),
    (SignalKind::terminate(), Signal::SIGTERM),
    (SignalKind::hangup(), Signal::SIGHUP),
];

/// Brings an empty system up, runs the command, takes the system down whatever happened.
pub(crate) async fn exec(project: &Project, options: &Options) -> anyhow::Result<ExitCode> {
    let folder = options.up.place.state_dir.clone().unwrap_or_else(|| project.state().join("exec"));
    let state = StateDir::create(&folder)?;
    if fs::canonicalize(project.state()).is_ok_and(|everyday| everyday == state.root()) {
        bail!("exec empties its state folder: give it another one than that of `millrace local up`");
    }
    let _lock = state.lock()?;
    // Left over when an earlier run was killed.
    up::down(&state).await?;
    state.wipe()?;

    let mut ended = Ended::listen()?;
    let done = run(project, &state, options, &mut ended).await;
    let down = up::down(&state).await;
    let code = done?;
    down?;
    Ok(code)
}

async fn run(project: &Project, state: &StateDir, options: &Options, ended: &mut Ended) -> anyhow::Result<ExitCode> {
    let variables = tokio::select! {
        variables = up::up(project, state, &options.up) => variables?,
        signal = ended.next() => return Ok(code_of(signal)),
    };
    let (program, arguments) = options.command.split_first().context("no command was given")?;
    step("exec", program.to_string_lossy());
    let mut command = Command::new(program);
    let mut child = local(command.args(arguments), &variables)
        .spawn()
        .with_context(|| format!("{} cannot be started", program.display()))?;
    let (status, _) = watch(&mut child, ended).await?;
    if state.memory().endpoint.is_none() {
        engine::check_log(state)?;
    }
    Ok(status.code().map_or_else(|| code_of_number(status.signal().unwrap_or_default()), clamp))
}

/// Turns a program to the local system, with what `local.env` holds, and ends it with this one.
pub(super) fn local<'a>(command: &'a mut Command, variables: &BTreeMap<String, String>) -> &'a mut Command {
    command.kill_on_drop(true);
    for name in cargo_run_variables().chain(["AWS_PROFILE", "AWS_SESSION_TOKEN"].map(str::to_owned)) {
        command.env_remove(name);
    }
    // The system is on this machine, whatever proxy leads to others.
    let endpoints = ["AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_SESV2"].map(|name| variables.get(name)?.parse::<Url>().ok());
    let hosts = endpoints.iter().flatten().filter_map(Url::host_str).map(str::to_owned);
    let hosts: BTreeSet<String> = hosts.chain(["127.0.0.1".to_owned()]).collect();
    for name in ["NO_PROXY", "no_proxy"] {
        let all = std::env::var(name).into_iter().chain(hosts.iter().cloned()).collect::<Vec<_>>();
        command.env(name, all.join(","));
    }
    command.envs(variables)
}

/// Waits for the child; the last signal that came meanwhile. A signal is handed on to the child: one that came from the
/// terminal it had already, and a second does no harm.
pub(super) async fn watch(child: &mut Child, ended: &mut Ended) -> anyhow::Result<(ExitStatus, Option<Signal>)> {
    let mut last = None;
    loop {
        tokio::select! {
            status = child.wait() => return Ok((status.context("the command's end")?, last)),
            signal = ended.next() => {
                last = Some(signal);
                if let Some(pid) = child.id() {
                    // An error means that it ended just now.
                    let _ = kill(Pid::from_raw(pid.try_into()?), signal);
                }
            }
        }
    }
}

/// The signals that end this command.
pub(super) struct Ended([tokio::signal::unix::Signal; 3]);

impl Ended {
    pub(super) fn listen() -> anyhow::Result<Self> {
        let [a, b, c] = ENDING.map(|(kind, _)| signal(kind));
        Ok(Self([a?, b?, c?]))
    }

    /// The next one.
    pub(super) async fn next(&mut self) -> Signal {
        let [interrupt, terminate, hangup] = &mut self.0;
        tokio::select! {
            _ = interrupt.recv() => Signal::SIGINT,
            _ = terminate.recv() => Signal::SIGTERM,
            _ = hangup.recv() => Signal::SIGHUP,
        }
    }
}

pub(super) fn code_of(signal: Signal) -> ExitCode {
    code_of_number(signal as i32)
}

/// As shells do it.
fn code_of_number(signal: i32) -> ExitCode {
    clamp(128 + signal)
}

fn clamp(code: i32) -> ExitCode {
    u8::try_from(code).map_or(ExitCode::FAILURE, ExitCode::from)
}
