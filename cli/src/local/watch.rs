//! `cargo lambda watch`: functions run from their sources, behind a door to HTTP.

use anyhow::{Context, bail};
use std::collections::BTreeMap;
use tokio::process::Command;

use super::{
    addresses::Addresses,
    deploy,
    engine::{self, WATCH},
    exec::local,
    process::{self, Found},
    state::{Memory, StateDir},
    tools::Tools,
};
use crate::{print::step, project::Project};

/// How many calls of one function run at a time, each in a process of its own.
const CONCURRENCY: &str = "2";

/// It, on the sources of the clone, for functions that find what `variables` name.
pub(super) fn command(
    project: &Project,
    tools: &Tools,
    variables: &BTreeMap<String, String>,
    port: u16,
) -> anyhow::Result<Command> {
    let mut watch = Command::new("cargo");
    watch.args(["lambda", "watch", "--invoke-address", "127.0.0.1", "--invoke-port", &port.to_string()]);
    watch.args(["--disable-cors", "--concurrency", CONCURRENCY]).current_dir(project.root());
    local(&mut watch, variables).env("PATH", tools.search_path()?);
    Ok(watch)
}

/// Fails unless an emulator of AWS answers there.
pub(super) async fn emulator_answers(http: &reqwest::Client, addresses: &Addresses) -> anyhow::Result<()> {
    let endpoint = &addresses.engine;
    if let Err(error) = http.get(endpoint).send().await {
        let error = anyhow::Error::from(error.without_url());
        bail!(
            "nothing answers at {endpoint} ({error:#}): start the emulator first, LocalStack by `make up-localstack`"
        );
    }
    let tables = deploy::dynamodb(addresses).list_tables().limit(1).send().await;
    tables.map(|_| ()).with_context(|| format!("what answers at {endpoint} is no emulator of AWS: it lists no tables"))
}

/// Starts it in the background unless it runs, and waits until the API answers.
pub(super) async fn start(
    project: &Project,
    state: &StateDir,
    tools: &Tools,
    memory: &Memory,
    variables: &BTreeMap<String, String>,
    http: &reqwest::Client,
) -> anyhow::Result<()> {
    let port = memory.watch_port;
    if let Found::Running(process) = process::find(state, WATCH) {
        step(WATCH, format_args!("runs on 127.0.0.1:{port} (process {})", process.pid()));
    } else {
        step(WATCH, format_args!("cargo lambda watch on 127.0.0.1:{port} (log: {})", state.log(WATCH).display()));
        let command = command(project, tools, variables, port)?.into_std();
        let process = process::launch(state, WATCH, command)?;
        engine::ready(state, WATCH, process, &format!("{}/health", Addresses::of(memory).api), http).await?;
    }
    Ok(())
}
