//! The background processes: the AWS engine, the mailbox and, for tests, a proxy in front of the engine.

use anyhow::{Context, bail};
use std::{collections::BTreeMap, ffi::OsStr, fs, path::Path, time::Duration};
use tokio::time::{Instant, sleep};

use super::{
    addresses::{Addresses, is_free},
    command::last_lines,
    process::{self, Found, Process},
    state::{Memory, StateDir},
    tools::Tools,
};
use crate::print::step;

/// Name of the engine's process, its log and its record.
pub(crate) const ENGINE: &str = "engine";
/// Name of the mailbox's process, its log and its record.
pub(crate) const MAILBOX: &str = "mailbox";

/// Name of `cargo lambda watch` beside an emulator, its log and its record.
pub(crate) const WATCH: &str = "watch";

/// Name of the process in front of the engine, its log and its record.
pub(crate) const PROXY: &str = "proxy";

/// The AWS services the template uses; the engine refuses all others.
const SERVICES: &str = "apigateway,cloudformation,dynamodb,events,iam,lambda,logs,monitoring,s3,scheduler,ses,sqs,sts";

/// A line that the engine logs when it stopped to serve its queues.
const POLLER_ERROR: &str = "ESM SQS poller error";

/// How long the engine may take to save its state.
const ENGINE_PATIENCE: Duration = Duration::from_secs(15);
const MAILBOX_PATIENCE: Duration = Duration::from_secs(10);
const WATCH_PATIENCE: Duration = Duration::from_secs(5);
const PROXY_PATIENCE: Duration = Duration::from_secs(5);
const START_PATIENCE: Duration = Duration::from_secs(60);

/// Starts the engine unless it runs; `more` is in its environment, and in that of the functions. `true` when what it had is lost in part: it was not stopped properly before, or its
/// data was removed.
pub(crate) async fn start_engine(
    state: &StateDir,
    tools: &Tools,
    memory: &Memory,
    more: BTreeMap<String, String>,
    http: &reqwest::Client,
) -> anyhow::Result<bool> {
    let found = process::find(state, ENGINE);
    if let Found::Running(process) = found {
        step(ENGINE, format_args!("runs on 127.0.0.1:{} (process {})", memory.engine_port, process.pid()));
        return Ok(false);
    }
    let addresses = Addresses::of(memory);
    step(ENGINE, format_args!("starting on 127.0.0.1:{}", memory.engine_port));
    let mut environment = engine_environment(state, memory, &addresses);
    environment.extend(more);
    let lost = found == Found::Gone || !state.path("data/engine").exists();
    let process = process::start(state, ENGINE, &tools.engine(), &[], &environment)?;
    ready(state, ENGINE, process, &format!("{}/_ministack/ready", addresses.engine), http).await?;
    Ok(lost)
}

/// Exactly what the engine needs: the functions it runs inherit it, so nothing of the developer's may be in it.
fn engine_environment(state: &StateDir, memory: &Memory, addresses: &Addresses) -> BTreeMap<String, String> {
    let path = |name: &str| state.path(name).to_string_lossy().into_owned();
    let mut environment = addresses.functions_aws();
    let own = [
        ("PATH", "/usr/local/bin:/usr/bin:/bin".to_owned()),
        ("LANG", "C.UTF-8".to_owned()),
        ("HOME", path("home")),
        ("TMPDIR", path("tmp")),
        ("BIND_HOST", "127.0.0.1".to_owned()),
        ("GATEWAY_PORT", memory.engine_port.to_string()),
        ("SERVICES", SERVICES.to_owned()),
        // The roles of the template hold here too: what a function was not allowed fails.
        ("AUTH", "true".to_owned()),
        ("PERSIST_STATE", "1".to_owned()),
        ("STATE_DIR", path("data/engine")),
        ("S3_PERSIST", "1".to_owned()),
        ("S3_DATA_DIR", path("data/s3")),
        // Both would listen on all interfaces.
        ("IOT_MTLS_ENABLED", "0".to_owned()),
        ("SFTP_ENABLED", "0".to_owned()),
        // It clears up containers it finds; there is nothing of ours among them.
        ("DOCKER_HOST", format!("unix://{}", path("run/no-docker"))),
    ];
    environment.extend(own.map(|(name, value)| (name.to_owned(), value)));
    environment
}

/// Starts the mailbox unless it runs.
pub(crate) async fn start_mailbox(
    state: &StateDir,
    program: &Path,
    memory: &Memory,
    http: &reqwest::Client,
) -> anyhow::Result<()> {
    if let Found::Running(process) = process::find(state, MAILBOX) {
        step(MAILBOX, format_args!("runs on 127.0.0.1:{} (process {})", memory.mailbox_port, process.pid()));
        return Ok(());
    }
    let addresses = Addresses::of(memory);
    step(MAILBOX, format_args!("starting on 127.0.0.1:{}", memory.mailbox_port));
    let (port, mails) = (memory.mailbox_port.to_string(), state.path("data/mails.jsonl"));
    // The template's name for it.
    let tracked = format!("{}-tracked", memory.name);
    let ses = memory.ses_address.map(|address| address.to_string());
    let mut arguments: Vec<&OsStr> = vec![
        "--port".as_ref(),
        port.as_ref(),
        "--tracked-configuration-set".as_ref(),
        tracked.as_ref(),
        "--state".as_ref(),
        mails.as_ref(),
        "--engine-url".as_ref(),
        addresses.engine.as_ref(),
        "--feedback-queue-url".as_ref(),
        addresses.feedback_queue.as_ref(),
    ];
    if let Some(ses) = &ses {
        arguments.extend::<[&OsStr; 2]>(["--ses-address".as_ref(), ses.as_ref()]);
    }
    let process = process::start(state, MAILBOX, program, &arguments, &addresses.aws())?;
    ready(state, MAILBOX, process, &format!("{}/health", addresses.mailbox), http).await
}

/// Starts the proxy between the functions and the engine, if one is wanted and none runs.
pub(crate) async fn start_proxy(
    state: &StateDir,
    program: &Path,
    memory: &Memory,
    http: &reqwest::Client,
) -> anyhow::Result<()> {
    if memory.proxy_port == 0 || matches!(process::find(state, PROXY), Found::Running(_)) {
        return Ok(());
    }
    let addresses = Addresses::of(memory);
    step(PROXY, format_args!("starting on 127.0.0.1:{}", memory.proxy_port));
    let port = memory.proxy_port.to_string();
    let arguments: [&OsStr; 4] = ["--port".as_ref(), port.as_ref(), "--engine-url".as_ref(), addresses.engine.as_ref()];
    let process = process::start(state, PROXY, program, &arguments, &addresses.aws())?;
    ready(state, PROXY, process, &format!("{}/_proxy/health", addresses.functions), http).await
}

/// Fails when another program has a port that is needed.
pub(crate) fn check_ports(state: &StateDir, memory: &Memory) -> anyhow::Result<()> {
    let emulator = memory.endpoint.is_some();
    let ports = [
        (ENGINE, if emulator { 0 } else { memory.engine_port }),
        (MAILBOX, memory.mailbox_port),
        (WATCH, if emulator { memory.watch_port } else { 0 }),
        (PROXY, memory.proxy_port),
    ];
    for (name, port) in ports {
        let runs = matches!(process::find(state, name), Found::Running(_));
        if port != 0 && !runs && !is_free(port) {
            bail!("port {port} is taken by another program: choose one with --{name}-port, or say --free-ports");
        }
    }
    Ok(())
}

/// Waits until the process answers 200.
pub(crate) async fn ready(
    state: &StateDir,
    name: &str,
    process: Process,
    url: &str,
    http: &reqwest::Client,
) -> anyhow::Result<()> {
    let end = Instant::now() + START_PATIENCE;
    loop {
        if http.get(url).send().await.is_ok_and(|answer| answer.status().is_success()) {
            return Ok(());
        }
        let log = state.log(name);
        if !process.runs() {
            process::forget(state, name)?;
            let said = last_lines(&fs::read_to_string(&log).unwrap_or_default());
            bail!("the {name} ended at once. The end of {}:\n{said}", log.display());
        }
        if Instant::now() >= end {
            bail!("the {name} does not answer at {url}: see {}", log.display());
        }
        sleep(Duration::from_millis(50)).await;
    }
}

/// Stops them. Says what it stopped.
pub(crate) async fn stop(state: &StateDir) -> anyhow::Result<()> {
    // The functions first, which still send mail: those of the watch, those of the engine.
    for (name, patience) in
        [(WATCH, WATCH_PATIENCE), (ENGINE, ENGINE_PATIENCE), (MAILBOX, MAILBOX_PATIENCE), (PROXY, PROXY_PATIENCE)]
    {
        let was = process::find(state, name);
        if process::stop(state, name, patience).await?
            && let Found::Running(process) = was
        {
            step(name, format_args!("stopped (process {})", process.pid()));
        }
    }
    Ok(())
}

/// Stops the engine alone.
pub(crate) async fn stop_engine(state: &StateDir) -> anyhow::Result<()> {
    process::stop(state, ENGINE, ENGINE_PATIENCE).await.map(|_| ())
}

/// Stops `cargo lambda watch` alone.
pub(crate) async fn stop_watch(state: &StateDir) -> anyhow::Result<()> {
    process::stop(state, WATCH, WATCH_PATIENCE).await.map(|_| ())
}

/// Stops the mailbox alone.
pub(crate) async fn stop_mailbox(state: &StateDir) -> anyhow::Result<()> {
    process::stop(state, MAILBOX, MAILBOX_PATIENCE).await.map(|_| ())
}

/// Fails when the engine stopped to serve its queues: everything else still answers, so it would go unnoticed.
pub(crate) fn check_log(state: &StateDir) -> anyhow::Result<()> {
    let log = state.log(ENGINE);
    let text = fs::read(&log).with_context(|| format!("{} cannot be read", log.display()))?;
    match String::from_utf8_lossy(&text).lines().find(|line| line.contains(POLLER_ERROR)) {
        None => Ok(()),
        Some(line) => bail!("the engine stopped to poll its queues (see {}): {line}", log.display()),
    }
}
