//! `millrace local status`.

use serde::Serialize;
use std::{process::ExitCode, time::Duration};

use super::{
    addresses::Addresses,
    engine::{ENGINE, MAILBOX},
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
    let (engine, mailbox) = (pid(ENGINE), pid(MAILBOX));
    let mut parts = Vec::new();
    for (name, url, path, pid, runs) in [
        (ENGINE, &addresses.engine, "_ministack/ready", engine, engine.is_some()),
        (MAILBOX, &addresses.mailbox, "health", mailbox, mailbox.is_some()),
        // Another program may have taken the port of an engine that was stopped.
        ("api", &addresses.api, "health", None, engine.is_some() && memory.deployed.is_some()),
    ] {
        let asked = async || http.get(format!("{url}/{path}")).send().await.is_ok_and(|a| a.status().is_success());
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
