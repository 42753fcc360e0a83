//! `millrace jobs`: submit a job, look at one or at many, cancel one, retry one or many.

mod retry;

use anyhow::{Context, bail};
use clap::{Args, Subcommand, ValueEnum};
use serde_json::{Map, Value, json};
use std::{fs, time::Duration};
use tokio::time::{Instant, sleep};

use crate::{
    api::{Api, Connection, query},
    print::{self, line},
};

/// What to do with jobs.
#[derive(Subcommand)]
pub(crate) enum Command {
    /// Submit a job.
    Submit(Submit),
    /// Show a job.
    Show(Show),
    /// List jobs, the newest first.
    List(List),
    /// Cancel a job: one that waits at once, one that runs within seconds.
    Cancel(Cancel),
    /// Try a dead or cancelled job again, with all its attempts; or, with --all, every dead job that fits.
    Retry(retry::Retry),
}

/// A new job.
#[derive(Args)]
pub(crate) struct Submit {
    /// What kind of job, for example echo.
    kind: String,
    /// What it works on: a JSON object, or @FILE to read it from a file.
    #[arg(long, value_name = "JSON|@FILE", default_value = "{}", value_parser = object)]
    payload: Map<String, Value>,
    /// Submitting again with the same key gives the same job.
    #[arg(long, value_name = "KEY")]
    idempotency_key: Option<String>,
    /// Which lane it takes, if its kind has it [default: normal].
    #[arg(long, value_parser = ["high", "normal", "low"])]
    priority: Option<String>,
    /// It runs after the jobs of its kind that were submitted before with this key, and not beside them.
    #[arg(long, value_name = "KEY", conflicts_with_all = ["priority", "delay"])]
    ordering_key: Option<String>,
    /// Seconds before it may start.
    #[arg(long, value_name = "SECONDS")]
    delay: Option<u32>,
    /// Wait for its end. Exit code 1 unless it succeeds.
    #[arg(long)]
    wait: bool,
    /// Longest wait.
    #[arg(long, value_name = "SECONDS", default_value_t = 300, requires = "wait")]
    timeout: u64,
    /// Print the job as JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    connection: Connection,
}

/// A job to look at.
#[derive(Args)]
pub(crate) struct Show {
    /// The job's id.
    id: String,
    /// Show this as well.
    #[arg(long, value_enum)]
    include: Option<Include>,
    /// Print the job as JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    connection: Connection,
}

/// Which jobs to list.
#[derive(Args)]
pub(crate) struct List {
    /// Only jobs in this state: scheduled, queued, running, succeeded, dead or cancelled.
    #[arg(long)]
    state: Option<String>,
    /// Only jobs of this kind.
    #[arg(long)]
    kind: Option<String>,
    /// Only jobs with this tag.
    #[arg(long)]
    tag: Option<String>,
    /// At most so many.
    #[arg(long, value_name = "NUMBER", default_value_t = 50, value_parser = clap::value_parser!(u16).range(1..))]
    limit: u16,
    /// Print the jobs as a JSON array.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    connection: Connection,
}

/// A job that is not wanted any more.
#[derive(Args)]
pub(crate) struct Cancel {
    /// The job's id.
    id: String,
    /// Print the job as JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    connection: Connection,
}

#[derive(Clone, Copy, ValueEnum)]
enum Include {
    /// What it works on.
    Payload,
}

pub(crate) fn object(text: &str) -> Result<Map<String, Value>, String> {
    let read = match text.strip_prefix('@') {
        None => text.to_owned(),
        Some(path) => fs::read_to_string(path).map_err(|error| format!("{path} cannot be read: {error}"))?,
    };
    match serde_json::from_str(&read).map_err(|error| format!("not JSON: {error}"))? {
        Value::Object(object) => Ok(object),
        _ => Err("not a JSON object".to_owned()),
    }
}

/// Carries the command out.
pub(crate) async fn run(command: Command) -> anyhow::Result<()> {
    match command {
        Command::Submit(options) => submit(&options).await,
        Command::Show(options) => {
            let query = match options.include {
                Some(Include::Payload) => "?include=payload",
                None => "",
            };
            let path = job_path(&options.id)?;
            let job = options.connection.open()?.get(&format!("{path}{query}")).await?.body;
            show(&job, options.json)
        }
        Command::List(options) => list(&options).await,
        Command::Cancel(options) => {
            let path = format!("{}/cancel", job_path(&options.id)?);
            let job = options.connection.open()?.post(&path, &json!({})).await?.body;
            show(&job, options.json)
        }
        Command::Retry(options) => retry::run(&options).await,
    }
}

async fn submit(options: &Submit) -> anyhow::Result<()> {
    let api = options.connection.open()?;
    let mut body = json!({"kind": options.kind, "payload": options.payload});
    for (name, value) in [("priority", &options.priority), ("ordering_key", &options.ordering_key)] {
        if let Some(value) = value {
            body[name] = value.as_str().into();
        }
    }
    if let Some(delay) = options.delay {
        body["delay_seconds"] = delay.into();
    }
    let answer = match &options.idempotency_key {
        Some(key) => api.post_once("/v1/jobs", &body, key).await?,
        None => api.post("/v1/jobs", &body).await?,
    };
    if !options.wait {
        return show(&answer.body, options.json);
    }
    let job = ended(&api, answer.text("/id")?, Duration::from_secs(options.timeout)).await?;
    show(&job, options.json)?;
    match state(&job) {
        "succeeded" => Ok(()),
        other => bail!("the job ended {other}"),
    }
}

async fn list(options: &List) -> anyhow::Result<()> {
    let api = options.connection.open()?;
    let limit = usize::from(options.limit);
    let (mut jobs, mut cursor) = (Vec::new(), None::<String>);
    loop {
        let page = (limit - jobs.len()).min(100).to_string();
        let given = [
            ("state", options.state.as_deref()),
            ("kind", options.kind.as_deref()),
            ("tag", options.tag.as_deref()),
            ("limit", Some(page.as_str())),
            ("cursor", cursor.as_deref()),
        ];
        let mut answer = api.get(&format!("/v1/jobs?{}", query(&given)?)).await?.body;
        if let Value::Array(found) = answer["jobs"].take() {
            jobs.extend(found);
        }
        cursor = answer["next_cursor"].as_str().map(str::to_owned);
        if cursor.is_none() || jobs.len() >= limit {
            break;
        }
    }
    if options.json {
        return print::json(&jobs).context("standard output");
    }
    for job in &jobs {
        let text = |name: &str| job[name].as_str().unwrap_or_default();
        line(format_args!("{}  {:<9}  {:<10}  {}", text("id"), state(job), text("kind"), text("created_at")))?;
    }
    Ok(())
}

/// The job, once it is in a final state.
pub(crate) async fn ended(api: &Api, id: &str, patience: Duration) -> anyhow::Result<Value> {
    let (path, end) = (job_path(id)?, Instant::now() + patience);
    loop {
        let job = api.get(&path).await?.body;
        match state(&job) {
            "succeeded" | "dead" | "cancelled" => return Ok(job),
            now if Instant::now() >= end => bail!("job {id} is still {now}: `millrace jobs show {id}` shows it later"),
            _ => sleep(Duration::from_millis(300)).await,
        }
    }
}

fn job_path(id: &str) -> anyhow::Result<String> {
    if id.is_empty() || !id.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-')) {
        bail!("{id:?} is no job id");
    }
    Ok(format!("/v1/jobs/{id}"))
}

fn state(job: &Value) -> &str {
    job["state"].as_str().unwrap_or("in no known state")
}

fn show(job: &Value, json: bool) -> anyhow::Result<()> {
    if json {
        return print::json(job).context("standard output");
    }
    let id = job["id"].as_str().context("the answer is no job")?;
    line(format_args!("{id}  {}", state(job)))?;
    for (name, value) in
        job.as_object().into_iter().flatten().filter(|(name, _)| !matches!(name.as_str(), "id" | "state"))
    {
        match value {
            Value::String(text) => line(format_args!("  {name:<14} {text}"))?,
            other => line(format_args!("  {name:<14} {other}"))?,
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_payload_is_an_object_given_or_in_a_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("payload.json");
        fs::write(&path, r#"{"message": 1}"#).unwrap();
        assert_eq!(object(&format!("@{}", path.display())).unwrap(), object(r#"{"message":1}"#).unwrap());
        for wrong in ["", "[]", "1", "{", "@/nowhere"] {
            assert!(object(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn an_id_cannot_lead_elsewhere() {
        assert_eq!(job_path("job_1a-b").unwrap(), "/v1/jobs/job_1a-b");
        for wrong in ["", "../users", "a?b", "a/b"] {
            assert!(job_path(wrong).is_err(), "{wrong}");
        }
    }
}
