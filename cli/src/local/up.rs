//! Bringing a local system up, and taking it down.

use anyhow::{Context, bail};
use std::{collections::BTreeMap, fs};

use super::{
    UpOptions,
    addresses::{Addresses, free_port, is_free},
    build::build,
    deploy, engine, env_file,
    process::{self, Found},
    state::{Memory, StateDir},
    tools::Tools,
    watch,
};
use crate::{infra::Table, print::step, project::Project};

/// The variable with the API key.
const KEY: &str = "MILLRACE_API_KEY";

/// Ports that are taken when none are asked for.
const ENGINE_PORT: u16 = 4566;
const MAILBOX_PORT: u16 = 4567;
const WATCH_PORT: u16 = 9000;

/// Brings the system up, or up to date. What `local.env` holds.
pub(crate) async fn up(
    project: &Project,
    state: &StateDir,
    options: &UpOptions,
) -> anyhow::Result<BTreeMap<String, String>> {
    let http = reqwest::Client::builder().no_proxy().build()?;
    let mut memory = plan(state, options)?;
    engine::check_ports(state, &memory)?;
    let addresses = Addresses::of(&memory);
    if addresses.emulator {
        watch::emulator_answers(&http, &addresses).await?;
    }
    state.remember(&memory)?;
    let tools = Tools::ensure(project).await?;
    let build = build(project, &tools).await?;

    let dynamodb = deploy::dynamodb(&addresses);
    let lost = if addresses.emulator {
        match memory.outputs.get(deploy::JOBS_TABLE) {
            Some(table) => !deploy::has_table(&dynamodb, table).await?,
            None => true,
        }
    } else {
        engine::start_proxy(state, &build.proxy, &memory, &http).await?;
        if std::mem::take(&mut memory.watched) {
            engine::stop_engine(state).await?;
        }
        engine::start_engine(state, &tools, &memory, BTreeMap::new(), &http).await?
    };
    if lost && memory.deployed.take().is_some() {
        step(
            if addresses.emulator { "emulator" } else { engine::ENGINE },
            "has lost what it had: the stack is deployed anew",
        );
    }
    if memory.mailbox.as_ref() != Some(&build.mailbox_fingerprint) {
        engine::stop_mailbox(state).await?;
    }
    engine::start_mailbox(state, &build.mailbox, &memory, &http).await?;
    memory.mailbox = Some(build.mailbox_fingerprint);

    let parameters = deploy::parameters(&addresses, &options.param);
    let deployment = deploy::deployment(project, &build.functions, &parameters)?;
    if memory.deployed.as_ref() == Some(&deployment) {
        step("deploy", format_args!("stack {} is up to date", memory.name));
    } else {
        memory.deployed = None;
        state.remember(&memory)?;
        engine::stop_watch(state).await?;
        memory.outputs = deploy::deploy(project, state, &tools, &memory, &parameters).await?;
        deploy::complete(&dynamodb, &memory.outputs).await?;
        memory.deployed = Some(deployment);
    }
    state.remember(&memory)?;
    let table = Table::read(project)?;
    let mut variables = variables(state, &memory, &addresses);
    variables.extend(deploy::function_variables(&table.variables, &memory.outputs, &parameters));
    if addresses.emulator {
        watch::start(project, state, &tools, &memory, &variables, &http).await?;
    } else {
        deploy::api_answers(&http, &addresses, state).await?;
        engine::check_log(state)?;
    }

    let known = env_file::read(&state.env_file()).unwrap_or_default().remove(KEY);
    let key = match known {
        Some(key) if deploy::key_opens(&http, &addresses, &key).await? => key,
        _ => {
            step("key", "making an API key");
            deploy::make_key(dynamodb, &memory.outputs).await?
        }
    };
    variables.insert(KEY.to_owned(), key);
    env_file::write(&state.env_file(), &variables).context("local.env cannot be written")?;
    Ok(variables)
}

/// Name, place and ports: what runs, else what was asked for, else what it had before, else the defaults.
pub(super) fn plan(state: &StateDir, options: &UpOptions) -> anyhow::Result<Memory> {
    let mut memory = state.memory();
    let runs = |name| matches!(process::find(state, name), Found::Running(_));
    let running = runs(engine::ENGINE) || runs(engine::MAILBOX) || runs(engine::WATCH);
    let place = (&options.endpoint, &options.ses_address);
    let elsewhere = place != (&memory.endpoint, &memory.ses_address);
    let mut differs = running && (memory.name != options.name || elsewhere);
    let ports = [
        (&mut memory.engine_port, options.engine_port, ENGINE_PORT),
        (&mut memory.mailbox_port, options.mailbox_port, MAILBOX_PORT),
    ];
    for (port, asked, default) in ports {
        match asked {
            _ if running && (asked == 0 || asked == *port) => {}
            _ if running => differs = true,
            0 if options.free_ports => {
                if *port == 0 || !is_free(*port) {
                    *port = free_port().context("no port of 127.0.0.1 is free")?;
                }
            }
            0 if *port != 0 => {}
            0 => *port = default,
            asked => *port = asked,
        }
    }
    if differs {
        bail!("the system that runs has another name, place or other ports: `millrace local down` first");
    }
    match options.watch_port {
        0 if memory.watch_port != 0 && (runs(engine::WATCH) || !options.free_ports || is_free(memory.watch_port)) => {}
        0 if options.free_ports => memory.watch_port = free_port().context("no port of 127.0.0.1 is free")?,
        0 => memory.watch_port = WATCH_PORT,
        asked if runs(engine::WATCH) && asked != memory.watch_port => {
            bail!("cargo lambda watch runs on port {}: `millrace local down` first", memory.watch_port);
        }
        asked => memory.watch_port = asked,
    }
    if options.proxy && memory.proxy_port == 0 {
        if running {
            bail!("the system that runs has no proxy: `millrace local down` first");
        }
        memory.proxy_port = free_port().context("no port of 127.0.0.1 is free")?;
    }
    if memory.name != options.name || elsewhere {
        memory.name.clone_from(&options.name);
        memory.endpoint.clone_from(&options.endpoint);
        memory.ses_address = options.ses_address;
        memory.deployed = None;
    }
    Ok(memory)
}

fn variables(state: &StateDir, memory: &Memory, addresses: &Addresses) -> BTreeMap<String, String> {
    let mut variables = addresses.aws();
    let own = [
        ("MILLRACE_API_URL", addresses.api.clone()),
        ("MILLRACE_MAILBOX_URL", addresses.mailbox.clone()),
        ("MILLRACE_STACK", memory.name.clone()),
        ("MILLRACE_STATE_DIR", state.root().to_string_lossy().into_owned()),
    ];
    variables.extend(own.map(|(name, value)| (name.to_owned(), value)));
    if memory.proxy_port != 0 {
        variables.insert("MILLRACE_PROXY_URL".to_owned(), addresses.functions.clone());
    }
    variables
}

/// Stops what runs; what it had stays.
pub(crate) async fn down(state: &StateDir) -> anyhow::Result<()> {
    engine::stop(state).await?;
    // What tools and functions left in their temporary folder.
    let tmp = state.path("tmp");
    fs::remove_dir_all(&tmp).and_then(|()| fs::create_dir_all(&tmp)).context("the temporary folder")
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        options: UpOptions,
    }

    fn planned(state: &StateDir, line: &[&str]) -> anyhow::Result<Memory> {
        plan(state, &Line::try_parse_from([&["up"], line].concat())?.options)
    }

    #[test]
    fn ports_are_asked_for_kept_or_default() {
        let folder = tempfile::tempdir().unwrap();
        let state = StateDir::create(folder.path()).unwrap();
        let first = planned(&state, &[]).unwrap();
        assert_eq!((first.engine_port, first.mailbox_port), (ENGINE_PORT, MAILBOX_PORT));
        assert_eq!(planned(&state, &["--engine-port", "5000"]).unwrap().engine_port, 5000);

        let free = planned(&state, &["--free-ports"]).unwrap();
        assert!(free.engine_port != 0 && free.engine_port != free.mailbox_port);
        state.remember(&free).unwrap();
        assert_eq!(planned(&state, &["--free-ports"]).unwrap(), free);
        assert_eq!(planned(&state, &[]).unwrap(), free);
    }

    #[test]
    fn another_name_is_another_deployment() {
        let folder = tempfile::tempdir().unwrap();
        let state = StateDir::create(folder.path()).unwrap();
        let deployed = Some("x".to_owned());
        state.remember(&Memory { deployed, ..planned(&state, &["--name", "one"]).unwrap() }).unwrap();
        assert!(planned(&state, &["--name", "one"]).unwrap().deployed.is_some());
        assert!(planned(&state, &["--name", "two"]).unwrap().deployed.is_none());
    }

    #[test]
    fn another_place_is_another_deployment() {
        let folder = tempfile::tempdir().unwrap();
        let state = StateDir::create(folder.path()).unwrap();
        let (deployed, place) = (Some("x".to_owned()), ["--endpoint", "http://127.0.0.1:4566"]);
        state.remember(&Memory { deployed, ..planned(&state, &place).unwrap() }).unwrap();
        let again = planned(&state, &place).unwrap();
        assert_eq!((again.endpoint.as_deref(), again.watch_port), (Some(place[1]), WATCH_PORT));
        assert!(again.deployed.is_some());
        assert!(planned(&state, &[]).unwrap().deployed.is_none());
        let for_containers = [place.as_slice(), &["--ses-address", "172.31.87.1"]].concat();
        assert!(planned(&state, &for_containers).unwrap().deployed.is_none());
        assert!(planned(&state, &["--ses-address", "172.31.87.1"]).is_err(), "the engine's functions need none");
    }
}
