//! `millrace local dev`: the whole system, with its functions run from their sources by `cargo lambda watch`.

use anyhow::{Context, bail};
use clap::Args;
use std::{
    collections::BTreeMap,
    net::TcpStream,
    process::ExitCode,
    time::{Duration, Instant},
};
use tokio::{
    process::Child,
    time::{sleep, timeout},
};

use super::{
    UpOptions,
    addresses::{Addresses, is_free},
    build, deploy, engine,
    exec::{self, Ended, code_of},
    state::StateDir,
    tools::Tools,
    up, watch,
};
use crate::{
    print::{line, step},
    project::Project,
};

/// What a function has for one invocation, and how long its message is hidden: a call that comes while its function is
/// compiled waits for it, and one whose function was ended by an edit is soon repeated.
const PARAMETERS: [(&str, &str); 2] = [("WorkerTimeout", "60"), ("VisibilityTimeout", "70")];

const START_PATIENCE: Duration = Duration::from_secs(30);

/// The system, and where its functions are.
#[derive(Args)]
pub(crate) struct Options {
    #[command(flatten)]
    up: UpOptions,
}

/// Brings the system up, lets `cargo lambda watch` run its functions until Ctrl-C, takes the system down. What it had
/// stays, as for `up`.
pub(crate) async fn dev(project: &Project, mut options: Options) -> anyhow::Result<ExitCode> {
    let state = StateDir::create(&options.up.place.folder(project))?;
    let _lock = state.lock()?;
    if options.up.endpoint.is_some() {
        bail!("dev leads the calls of the engine's functions to their sources: it cannot with --endpoint");
    }
    let memory = up::plan(&state, &options.up)?;
    if !is_free(memory.watch_port) {
        bail!("port {} is taken by another program: choose one with --watch-port", memory.watch_port);
    }
    state.remember(&memory)?;
    let own = PARAMETERS.map(|(name, value)| (name.to_owned(), value.to_owned()));
    options.up.param.splice(0..0, own);

    let mut ended = Ended::listen()?;
    let done = run(project, &state, &options, &mut ended).await;
    let down = up::down(&state).await;
    let code = done?;
    down?;
    Ok(code)
}

async fn run(project: &Project, state: &StateDir, options: &Options, ended: &mut Ended) -> anyhow::Result<ExitCode> {
    let starting = async {
        let variables = up::up(project, state, &options.up).await?;
        let port = state.memory().watch_port;
        let child = start(project, &variables, port).await?;
        lead(project, state, port).await?;
        Ok::<_, anyhow::Error>((variables, child))
    };
    let (variables, mut child) = tokio::select! {
        started = starting => started?,
        signal = ended.next() => return Ok(code_of(signal)),
    };
    line(format_args!("API:     {}", variables["MILLRACE_API_URL"]))?;
    line(format_args!("Mailbox: {}", variables["MILLRACE_MAILBOX_URL"]))?;
    line(format_args!("The environment of scripts, the API key too: {}", state.env_file().display()))?;
    line("Edit a function: its next call runs the new code. Ctrl-C stops everything.")?;
    let (status, signal) = exec::watch(&mut child, ended).await?;
    // Ctrl-C reaches it too, perhaps first.
    let signal = match signal {
        None => timeout(Duration::from_secs(1), ended.next()).await.ok(),
        heard => heard,
    };
    signal.map(code_of).with_context(|| format!("cargo lambda watch ended by itself ({status})"))
}

/// Starts `cargo lambda watch` on the sources of the clone.
async fn start(project: &Project, variables: &BTreeMap<String, String>, port: u16) -> anyhow::Result<Child> {
    step("watch", format_args!("cargo lambda watch on 127.0.0.1:{port}"));
    let tools = Tools::ensure(project).await?;
    let mut child =
        watch::command(project, &tools, variables, port)?.spawn().context("cargo lambda watch cannot be started")?;
    let end = Instant::now() + START_PATIENCE;
    while TcpStream::connect(("127.0.0.1", port)).is_err() {
        if let Some(status) = child.try_wait()? {
            bail!("cargo lambda watch ended at once ({status})");
        }
        if Instant::now() >= end {
            bail!("cargo lambda watch does not listen on port {port}");
        }
        sleep(Duration::from_millis(100)).await;
    }
    Ok(child)
}

/// Starts the engine anew, so that it leads the calls of all functions to the port.
async fn lead(project: &Project, state: &StateDir, port: u16) -> anyhow::Result<()> {
    let functions = build::functions(project)?;
    let http = reqwest::Client::builder().no_proxy().build()?;
    let mut memory = state.memory();
    engine::stop_engine(state).await?;
    // Said before it is so: an engine that was left behind leads nowhere.
    memory.watched = true;
    state.remember(&memory)?;
    let tools = Tools::ensure(project).await?;
    let led = functions.iter().map(|name| {
        let url = format!("http://127.0.0.1:{port}/2015-03-31/functions/{name}/invocations");
        (format!("MINISTACK_LAMBDA_PROXY_{}-{name}", memory.name), url)
    });
    engine::start_engine(state, &tools, &memory, led.collect(), &http).await?;
    deploy::api_answers(&http, &Addresses::of(&memory), state).await
}
