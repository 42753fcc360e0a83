//! `millrace schedules`: recurring jobs.

use anyhow::Context;
use clap::{Args, Subcommand};
use serde_json::{Map, Value, json};

use crate::{
    api::{Connection, query},
    jobs::object,
    print::{self, line},
};

/// What to do with recurring jobs.
#[derive(Subcommand)]
pub(crate) enum Command {
    /// List the schedules, the latest made first.
    List(List),
    /// Make a schedule, or replace the one of this name.
    Set(Set),
    /// Delete a schedule. A job that it has made already, which is up to 90 seconds ahead, stays.
    Remove(Remove),
}

/// All schedules.
#[derive(Args)]
pub(crate) struct List {
    /// Print the schedules as a JSON array.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    connection: Connection,
}

/// A schedule as it is wanted.
#[derive(Args)]
pub(crate) struct Set {
    /// Its name: 1 to 64 letters, digits, _ and -.
    name: String,
    /// When: minute, hour, day of the month, month, day of the week. For example "30 9 * * mon-fri".
    cron: String,
    /// What kind of job, for example echo.
    kind: String,
    /// The IANA time zone whose wall clock counts.
    #[arg(long, value_name = "ZONE", default_value = "UTC")]
    time_zone: String,
    /// What its jobs work on: a JSON object, or @FILE to read it from a file.
    #[arg(long, value_name = "JSON|@FILE", default_value = "{}", value_parser = object)]
    payload: Map<String, Value>,
    /// How often each job is tried [default: the kind's].
    #[arg(long, value_name = "NUMBER")]
    max_attempts: Option<u32>,
    /// Who is called when one of its jobs is over.
    #[arg(long, value_name = "URL")]
    callback_url: Option<String>,
    /// A label of its jobs. May be given several times.
    #[arg(long, value_name = "TAG")]
    tag: Vec<String>,
    /// Print the schedule as JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    connection: Connection,
}

/// A schedule that is not wanted any more.
#[derive(Args)]
pub(crate) struct Remove {
    /// Its name.
    name: String,
    #[command(flatten)]
    connection: Connection,
}

/// Carries the command out.
pub(crate) async fn run(command: Command) -> anyhow::Result<()> {
    match command {
        Command::List(options) => list(&options).await,
        Command::Set(options) => {
            let path = path(&options.name)?;
            let mut job = json!({"kind": options.kind, "payload": options.payload});
            if let Some(attempts) = options.max_attempts {
                job["max_attempts"] = attempts.into();
            }
            if let Some(url) = options.callback_url {
                job["callback_url"] = url.into();
            }
            if !options.tag.is_empty() {
                job["tags"] = options.tag.into();
            }
            let body = json!({"cron": options.cron, "time_zone": options.time_zone, "job": job});
            let schedule = options.connection.open()?.put(&path, &body).await?.body;
            if options.json { print::json(&schedule).context("standard output") } else { show(&schedule) }
        }
        Command::Remove(options) => {
            let path = path(&options.name)?;
            options.connection.open()?.delete(&path).await?;
            Ok(())
        }
    }
}

async fn list(options: &List) -> anyhow::Result<()> {
    let api = options.connection.open()?;
    let (mut schedules, mut cursor) = (Vec::new(), None::<String>);
    loop {
        let query = query(&[("limit", Some("100")), ("cursor", cursor.as_deref())])?;
        let mut page = api.get(&format!("/v1/schedules?{query}")).await?.body;
        if let Value::Array(found) = page["schedules"].take() {
            schedules.extend(found);
        }
        cursor = page["next_cursor"].as_str().map(str::to_owned);
        if cursor.is_none() {
            break;
        }
    }
    if options.json {
        return print::json(&schedules).context("standard output");
    }
    schedules.iter().try_for_each(show)
}

fn show(schedule: &Value) -> anyhow::Result<()> {
    let text = |pointer: &str| schedule.pointer(pointer).and_then(Value::as_str).unwrap_or("-");
    let (name, cron, zone, kind) = (text("/name"), text("/cron"), text("/time_zone"), text("/job/kind"));
    line(format_args!("{name}  {cron}  {zone}  {kind}"))?;
    let (next, last, job) = (text("/next_run_at"), text("/last_run_at"), text("/last_job_id"));
    line(format_args!("  next {next}  last {last}  {job}"))?;
    Ok(())
}

fn path(name: &str) -> anyhow::Result<String> {
    let named = millrace::domain::schedule::ScheduleName::parse(name);
    let name = named.map_err(|_| anyhow::anyhow!("{name:?} is no name: 1 to 64 letters, digits, _ and -"))?;
    Ok(format!("/v1/schedules/{name}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_cannot_lead_elsewhere() {
        assert_eq!(path("nightly_1").unwrap(), "/v1/schedules/nightly_1");
        for wrong in ["", "../jobs", "a?b", "a/b", "a b"] {
            assert!(path(wrong).is_err(), "{wrong}");
        }
    }
}
