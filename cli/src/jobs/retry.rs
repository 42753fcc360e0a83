//! `millrace jobs retry`: one job, or all that fit.

use anyhow::{Context, bail};
use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::{Map, Value, json};
use std::time::Duration;
use tokio::time::{Instant, sleep};

use super::{job_path, object, show, state};
use crate::{
    api::{Api, Connection},
    print::{self, line},
};

/// Jobs that are wanted after all.
#[derive(Args)]
pub(crate) struct Retry {
    /// The job's id.
    #[arg(required_unless_present = "all", conflicts_with = "all")]
    id: Option<String>,
    /// What it works on from now: a JSON object, or @FILE to read it from a file [default: as before].
    #[arg(long, value_name = "JSON|@FILE", value_parser = object, conflicts_with = "all")]
    payload: Option<Map<String, Value>>,
    /// Every dead job that fits the options below, as one operation that tells its progress and can be cancelled.
    #[arg(long)]
    all: bool,
    /// Only jobs of this kind.
    #[arg(long, requires = "all", conflicts_with = "id")]
    kind: Option<String>,
    /// Only jobs with this tag.
    #[arg(long, requires = "all", conflicts_with = "id")]
    tag: Option<String>,
    /// Only jobs whose last error has this in it.
    #[arg(long, value_name = "TEXT", requires = "all", conflicts_with = "id")]
    error_contains: Option<String>,
    /// At most so many, the longest dead first.
    #[arg(long, value_name = "NUMBER", requires = "all", conflicts_with = "id")]
    limit: Option<u64>,
    /// Wait for the operation's end. Exit code 1 unless it succeeds.
    #[arg(long, requires = "all", conflicts_with = "id")]
    wait: bool,
    /// Longest wait.
    #[arg(long, value_name = "SECONDS", default_value_t = 3_600, requires = "wait")]
    timeout: u64,
    /// Print the job as JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    connection: Connection,
}

/// Carries the command out.
pub(super) async fn run(options: &Retry) -> anyhow::Result<()> {
    let api = options.connection.open()?;
    let Some(id) = &options.id else { return all(&api, options).await };
    let path = format!("{}/retry", job_path(id)?);
    let body = options.payload.as_ref().map_or(json!({}), |payload| json!({ "payload": payload }));
    show(&api.post(&path, &body).await?.body, options.json)
}

async fn all(api: &Api, options: &Retry) -> anyhow::Result<()> {
    let accepted = api.post("/v1/jobs/retry", &wanted(options)).await?;
    if !options.wait {
        return show(&accepted.body, options.json);
    }
    let job = watched(api, accepted.text("/id")?, Duration::from_secs(options.timeout)).await?;
    if options.json {
        print::json(&job).context("standard output")?;
    } else {
        let count = |name: &str| job["result"][name].as_u64().unwrap_or_default();
        let (matched, retried, refused) = (count("matched"), count("retried"), count("refused"));
        line(format_args!("{}  {}", job["id"].as_str().unwrap_or_default(), state(&job)))?;
        line(format_args!("  {matched} dead jobs fitted: {retried} retried, {refused} refused"))?;
    }
    match state(&job) {
        "succeeded" => Ok(()),
        other => bail!("the operation ended {other}"),
    }
}

/// What is asked of the API.
fn wanted(options: &Retry) -> Value {
    let mut body = json!({"state": "dead"});
    let texts = [("kind", &options.kind), ("tag", &options.tag), ("error_contains", &options.error_contains)];
    for (name, text) in texts {
        if let Some(text) = text {
            body[name] = text.as_str().into();
        }
    }
    if let Some(limit) = options.limit {
        body["limit"] = limit.into();
    }
    body
}

/// The job at its end; until then a bar on standard error shows how far it is.
async fn watched(api: &Api, id: &str, patience: Duration) -> anyhow::Result<Value> {
    let (path, end) = (job_path(id)?, Instant::now() + patience);
    let bar = ProgressBar::new(100);
    bar.set_style(ProgressStyle::with_template("{bar:40} {pos:>3} % {msg}")?);
    loop {
        let job = api.get(&path).await?.body;
        if let Some(percent) = job["progress"]["percent"].as_u64() {
            bar.set_position(percent);
            bar.set_message(job["progress"]["note"].as_str().unwrap_or_default().to_owned());
        }
        match state(&job) {
            "succeeded" | "dead" | "cancelled" => {
                bar.finish_and_clear();
                return Ok(job);
            }
            now if Instant::now() >= end => {
                bail!("operation {id} is still {now}: `millrace jobs show {id}` shows it later")
            }
            _ => sleep(Duration::from_millis(500)).await,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Cli {
        #[command(flatten)]
        retry: Retry,
    }

    fn parsed(arguments: &[&str]) -> Result<Retry, clap::Error> {
        Cli::try_parse_from([&["retry"], arguments].concat()).map(|cli| cli.retry)
    }

    #[test]
    fn one_job_or_all_that_fit_and_never_both() {
        assert!(parsed(&["job_1", "--payload", "{}"]).is_ok());
        let all = parsed(&["--all", "--kind", "echo", "--error-contains", "refused", "--limit", "5"]).unwrap();
        let expected = json!({"state": "dead", "kind": "echo", "error_contains": "refused", "limit": 5});
        assert_eq!(wanted(&all), expected);
        assert_eq!(wanted(&parsed(&["--all"]).unwrap()), json!({"state": "dead"}));
        for wrong in [
            &[][..],
            &["job_1", "--all"],
            &["job_1", "--kind", "echo"],
            &["job_1", "--wait"],
            &["--all", "--payload", "{}"],
        ] {
            assert!(parsed(wrong).is_err(), "{wrong:?}");
        }
    }
}
