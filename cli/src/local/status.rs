//! `millrace local status`.

use reqwest::StatusCode;
use serde::Serialize;
use std::{process::ExitCode, time::Duration};

use super::{
    addresses::Addresses,
    engine::{ENGINE, MAILBOX, WATCH},
    process::{self, Found},
    state::StateDir,
};
use crate::print::{self, line};

#[derive(Serialize)]
struct Status {
    stack: String,
    parts: Vec<Part>,
}

#[derive(Serialize)]
struct Part {
    name: &'static str,
    url: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pid: Option<i32>,
    answers: bool,
}

/// Shows what runs. Fails unless everything does.
pub(crate) async fn status(state: &StateDir, json: bool) -> anyhow::Result<ExitCode> {
    let memory = state.memory();
    let addresses = Addresses::of(&memory);
    let http = reqwest::Client::builder().no_proxy().timeout(Duration::from_secs(5)).build()?;
    let pid = |name| match process::find(state, name) {
        Found::Running(process) => Some(process.pid()),
        Found::Gone | Found::None => None,
    };
    let (engine, mailbox, watch) = (pid(ENGINE), pid(MAILBOX), pid(WATCH));
    // An emulator was not started by us, and has another page than the engine for this.
    let (first, path, up) = match addresses.emulator {
        true => ("emulator", "", true),
        false => (ENGINE, "_ministack/ready", engine.is_some()),
    };
    // Another program may have taken the port of an engine or a watch that was stopped.
    let serves = memory.deployed.is_some() && if addresses.emulator { watch.is_some() } else { engine.is_some() };
    let mut parts = Vec::new();
    for (name, url, path, pid, runs) in [
        (first, &addresses.engine, path, engine, up),
        (MAILBOX, &addresses.mailbox, "health", mailbox, mailbox.is_some()),
        ("api", &addresses.api, "health", watch, serves),
    ] {
        let well = |status: StatusCode| status.is_success() || path.is_empty();
        let asked = async || http.get(format!("{url}/{path}")).send().await.is_ok_and(|answer| well(answer.status()));
        parts.push(Part { name, url: url.clone(), pid, answers: runs && asked().await });
    }
    let status = Status { stack: memory.name, parts };
    if json {
        print::json(&status)?;
    } else {
        line(format_args!("stack    {}", status.stack))?;
        for part in &status.parts {
            let is = if part.answers { "up  " } else { "down" };
            let pid = part.pid.map(|pid| format!(" (process {pid})")).unwrap_or_default();
            line(format_args!("{:<8} {is} {}{pid}", part.name, part.url))?;
        }
    }
    let all = status.parts.iter().all(|part| part.answers);
    Ok(if all { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
