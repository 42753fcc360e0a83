//! `millrace subscribers`: list them, take in a list, write one.

use anyhow::{Context, bail, ensure};
use clap::{Args, Subcommand, ValueEnum};
use jiff::Timestamp;
use serde_json::{Value, json};
use std::{fs, path::PathBuf, time::Duration};

use crate::{
    api::{Api, Connection, query},
    jobs::ended,
    print::{self, line},
};

/// What to do with subscribers.
#[derive(Subcommand)]
pub(crate) enum Command {
    /// List a newsletter's subscribers, or one address on all newsletters.
    List(List),
    /// Import a CSV file: email, name, time_zone, tags.
    Import(Import),
    /// Export a newsletter's subscribers to a CSV file.
    Export(Export),
}

/// A subscriber's standing.
#[derive(Clone, Copy, ValueEnum)]
enum Status {
    /// Waits for its confirmation.
    Pending,
    /// Gets letters.
    Active,
    /// Does not want letters any more.
    Unsubscribed,
}

impl Status {
    fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Active => "active",
            Self::Unsubscribed => "unsubscribed",
        }
    }
}

/// Which subscribers to list.
#[derive(Args)]
pub(crate) struct List {
    /// The newsletter's id.
    #[arg(long, value_name = "ID", required_unless_present = "email")]
    newsletter: Option<String>,
    /// Only this address.
    #[arg(long, value_name = "ADDRESS")]
    email: Option<String>,
    /// Only addresses that begin so.
    #[arg(long, value_name = "TEXT", conflicts_with = "email")]
    email_prefix: Option<String>,
    /// Only those of this standing.
    #[arg(long, value_enum)]
    status: Option<Status>,
    /// Only those with this tag.
    #[arg(long)]
    tag: Option<String>,
    /// At most so many.
    #[arg(long, value_name = "NUMBER", default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..))]
    limit: u32,
    /// Print them as a JSON array.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    connection: Connection,
}

/// A list to take in.
#[derive(Args)]
pub(crate) struct Import {
    /// The CSV file.
    file: PathBuf,
    /// The newsletter's id.
    #[arg(long, value_name = "ID")]
    newsletter: String,
    /// Where everybody on the list gave their consent, as a form's address or the name of a list.
    #[arg(long, value_name = "TEXT")]
    consent_source: String,
    /// When, for example 2026-03-01T09:30:00Z [default: now].
    #[arg(long, value_name = "TIME")]
    consent_at: Option<Timestamp>,
    /// Give subscribers that are there the name, the time zone and the tags that their line has.
    #[arg(long)]
    update: bool,
    /// Write the report of the lines that are not in the list there.
    #[arg(long, value_name = "FILE")]
    report: Option<PathBuf>,
    /// Longest wait.
    #[arg(long, value_name = "SECONDS", default_value_t = 3600)]
    timeout: u64,
    /// Print the job as JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    connection: Connection,
}

/// A list to write.
#[derive(Args)]
pub(crate) struct Export {
    /// The newsletter's id.
    #[arg(long, value_name = "ID")]
    newsletter: String,
    /// The file to write.
    file: PathBuf,
    /// Only those of this standing.
    #[arg(long, value_enum)]
    status: Option<Status>,
    /// Only those with this tag.
    #[arg(long)]
    tag: Option<String>,
    /// Longest wait.
    #[arg(long, value_name = "SECONDS", default_value_t = 3600)]
    timeout: u64,
    #[command(flatten)]
    connection: Connection,
}

/// Carries the command out.
pub(crate) async fn run(command: Command) -> anyhow::Result<()> {
    match command {
        Command::List(options) => list(&options).await,
        Command::Import(options) => import(&options).await,
        Command::Export(options) => export(&options).await,
    }
}

async fn list(options: &List) -> anyhow::Result<()> {
    let api = options.connection.open()?;
    let limit = usize::try_from(options.limit)?;
    let (mut found, mut cursor) = (Vec::new(), None::<String>);
    loop {
        let page = (limit - found.len()).min(100).to_string();
        let given = [
            ("newsletter", options.newsletter.as_deref()),
            ("email", options.email.as_deref()),
            ("email_prefix", options.email_prefix.as_deref()),
            ("status", options.status.map(Status::as_str)),
            ("tag", options.tag.as_deref()),
            ("limit", Some(page.as_str())),
            ("cursor", cursor.as_deref()),
        ];
        let mut answer = api.get(&format!("/v1/subscribers?{}", query(&given)?)).await?.body;
        if let Value::Array(some) = answer["subscribers"].take() {
            found.extend(some);
        }
        cursor = answer["next_cursor"].as_str().map(str::to_owned);
        if cursor.is_none() || found.len() >= limit {
            break;
        }
    }
    if options.json {
        return print::json(&found).context("standard output");
    }
    for one in &found {
        let text = |name: &str| one[name].as_str().unwrap_or_default();
        line(format_args!("{}  {:<12}  {}", text("id"), text("status"), text("email")))?;
    }
    Ok(())
}

async fn import(options: &Import) -> anyhow::Result<()> {
    let body = fs::read(&options.file).with_context(|| format!("{} cannot be read", options.file.display()))?;
    let api = options.connection.open()?;
    let at = options.consent_at.unwrap_or_else(Timestamp::now).to_string();
    let request = json!({
        "newsletter": options.newsletter,
        "consent": {"source": options.consent_source, "at": at},
        "existing": if options.update { "update" } else { "keep" },
    });
    let answer = api.post("/v1/subscribers/import", &request).await?;
    api.upload(answer.text("/upload/url")?, body).await?;
    let job = done(&api, answer.text("/job/id")?, options.timeout).await?;
    if let (Some(path), Some(url)) = (&options.report, job["file_url"].as_str()) {
        fs::write(path, api.download(url).await?).with_context(|| format!("{} cannot be written", path.display()))?;
    }
    if options.json {
        return print::json(&job).context("standard output");
    }
    for (name, number) in job["result"].as_object().into_iter().flatten().filter(|(_, value)| value.is_u64()) {
        line(format_args!("{name:<12} {number}"))?;
    }
    Ok(())
}

async fn export(options: &Export) -> anyhow::Result<()> {
    let api = options.connection.open()?;
    let mut request = json!({ "newsletter": options.newsletter });
    if let Some(status) = options.status {
        request["status"] = status.as_str().into();
    }
    if let Some(tag) = &options.tag {
        request["tag"] = tag.as_str().into();
    }
    let answer = api.post("/v1/subscribers/export", &request).await?;
    let job = done(&api, answer.text("/id")?, options.timeout).await?;
    let url = job["file_url"].as_str().context("the job made no file")?;
    let path = &options.file;
    fs::write(path, api.download(url).await?).with_context(|| format!("{} cannot be written", path.display()))?;
    line(format_args!("{} subscribers in {}", job["result"]["subscribers"], path.display()))?;
    Ok(())
}

/// The job at its good end.
async fn done(api: &Api, id: &str, timeout: u64) -> anyhow::Result<Value> {
    ensure!(timeout > 0, "there must be some time");
    let job = ended(api, id, Duration::from_secs(timeout)).await?;
    if job["state"] != "succeeded" {
        bail!("job {id} ended {}: {}", job["state"], job["error"]["message"].as_str().unwrap_or("no reason is known"));
    }
    Ok(job)
}
