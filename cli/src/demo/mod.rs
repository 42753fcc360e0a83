//! `millrace demo`: the main job, end to end, on real input.

mod audience;
mod campaign;
mod mailbox;

use anyhow::{Context, bail};
use clap::Args;
use jiff::Timestamp;
use serde::Serialize;
use serde_json::json;
use std::{
    path::PathBuf,
    time::{Duration, Instant},
};

use crate::{
    api::{Api, Connection},
    jobs,
    print::{self, line, step},
    project::Project,
};
use audience::Reader;
use mailbox::Mailbox;

/// How long the welcome mail may take.
const WELCOME_PATIENCE: Duration = Duration::from_secs(60);

/// The demonstration.
#[derive(Args)]
pub(crate) struct Options {
    /// The mailbox [default: the local system's].
    #[arg(long, value_name = "URL", env = "MILLRACE_MAILBOX_URL")]
    mailbox_url: Option<String>,
    /// The audience: CSV with the columns email, name, time_zone, tags [default: events/audience.csv of the clone].
    #[arg(long, value_name = "FILE")]
    audience: Option<PathBuf>,
    /// The letter: HTML, a template [default: events/letter.html of the clone].
    #[arg(long, value_name = "FILE")]
    letter: Option<PathBuf>,
    /// Longest wait for the campaign's end.
    #[arg(long, value_name = "SECONDS", default_value_t = 600)]
    timeout: u64,
    /// Print the account as JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    connection: Connection,
}

/// What the campaign came to: by its own account, and counted in the mailbox.
#[derive(Serialize)]
struct Account {
    campaign: String,
    subscribers: usize,
    #[serde(flatten)]
    counts: campaign::Counts,
    mails: usize,
    exactly_one: usize,
    none: usize,
    several: usize,
    strangers: usize,
    seconds: f64,
}

/// Carries the demonstration out. An error unless each subscriber got exactly one mail.
pub(crate) async fn run(options: Options) -> anyhow::Result<()> {
    let api = options.connection.open()?;
    let mailbox = match &options.mailbox_url {
        Some(url) => Mailbox::new(url)?,
        None => {
            let mut local = options.connection.local()?;
            Mailbox::new(
                &local.remove("MILLRACE_MAILBOX_URL").context("local.env names no mailbox: `make up` writes it")?,
            )?
        }
    };
    let file = |given: &Option<PathBuf>, own: &str| match given {
        Some(path) => Ok(path.clone()),
        None => Project::find().map(|project| project.file(own)),
    };
    let audience = audience::read(&file(&options.audience, "events/audience.csv")?)?;
    let letter = file(&options.letter, "events/letter.html")?;
    let letter = std::fs::read_to_string(&letter).with_context(|| format!("{} cannot be read", letter.display()))?;

    register(&api, &mailbox).await?;
    let account = send_newsletter(&api, &mailbox, &audience, &letter, Duration::from_secs(options.timeout)).await?;
    show(&account, options.json)?;
    step("API", api.base());
    step("mailbox", format_args!("{} shows every mail in the browser", mailbox.url()));
    // The local system's key opens nothing but the local system. Any other key stays where it is.
    if let Ok(mut local) = options.connection.local()
        && let Some(key) = local.remove("MILLRACE_API_KEY").filter(|key| api.uses(key))
    {
        step("key", key);
    }
    let counts = &account.counts;
    let right = account.exactly_one == account.subscribers
        && account.strangers == 0
        && counts.total == account.subscribers as u64
        && counts.sent == counts.total;
    if !right {
        bail!("not every subscriber got exactly one mail, or the campaign's account does not say so");
    }
    Ok(())
}

/// A registration, and the mail that comes of it.
async fn register(api: &Api, mailbox: &Mailbox) -> anyhow::Result<()> {
    // A registered address gets no second welcome mail, so each run takes its own.
    let email = format!("ada.{}@example.com", Timestamp::now().as_millisecond());
    step("register", format_args!("POST {}/v1/users for {email}", api.base()));
    let body = json!({"email": email, "name": "Ada", "time_zone": "Europe/London"});
    let answer = api.post("/v1/users", &body).await?;
    step(
        "register",
        format_args!("answered {}: user {}, job {}", answer.status, answer.text("/user/id")?, answer.text("/job/id")?),
    );
    jobs::ended(api, answer.text("/job/id")?, WELCOME_PATIENCE).await?;
    let mail = mailbox.first_to(&email, WELCOME_PATIENCE).await?;
    step("register", "the mail as it arrived:");
    for text in
        [format!("From: {}", mail.from), format!("To: {}", mail.to.join(", ")), format!("Subject: {}", mail.subject)]
    {
        line(format_args!("  | {text}"))?;
    }
    line("  |")?;
    for text in mail.text.as_deref().unwrap_or("(no text part)").trim().lines() {
        line(format_args!("  | {text}"))?;
    }
    Ok(())
}

async fn send_newsletter(
    api: &Api,
    mailbox: &Mailbox,
    audience: &[Reader],
    letter: &str,
    patience: Duration,
) -> anyhow::Result<Account> {
    let newsletter = campaign::newsletter(api).await?;
    audience::import(api, &newsletter, audience).await?;
    let id = campaign::create(api, &newsletter, letter).await?;
    let begin = Instant::now();
    campaign::start(api, &id).await?;
    let counts = campaign::finished(api, &id, patience).await?;
    let seconds = begin.elapsed().as_secs_f64();
    step("campaign", "counting the mails of each address in the mailbox");
    let got = mailbox.counts("campaign", &id).await?;
    let of = |reader: &Reader| got.by_recipient.get(&reader.email.to_lowercase()).copied().unwrap_or(0);
    let with = |wanted: fn(usize) -> bool| audience.iter().filter(|reader| wanted(of(reader))).count();
    let (exactly_one, none, several) = (with(|n| n == 1), with(|n| n == 0), with(|n| n > 1));
    Ok(Account {
        campaign: id,
        subscribers: audience.len(),
        counts,
        mails: got.total,
        exactly_one,
        none,
        several,
        strangers: got.by_recipient.len() - (exactly_one + several),
        seconds: (seconds * 10.0).round() / 10.0,
    })
}

fn show(account: &Account, json: bool) -> anyhow::Result<()> {
    if json {
        return print::json(account).context("standard output");
    }
    let Account { campaign, subscribers, counts, mails, exactly_one, none, several, strangers, seconds } = account;
    line(format_args!("\nCampaign {campaign}: {seconds} s from its start to its end"))?;
    line(format_args!("  total {:>6}   of {subscribers} subscribers", counts.total))?;
    line(format_args!("  sent {:>7}   suppressed {}   skipped {}", counts.sent, counts.suppressed, counts.skipped))?;
    line(format_args!("  failed {:>5}   unknown {}", counts.failed, counts.unknown))?;
    line(format_args!("In the mailbox: {mails} mails of this campaign"))?;
    line(format_args!(
        "  {exactly_one} addresses got exactly one, {none} none, {several} several; {strangers} got one without subscribing"
    ))?;
    Ok(())
}
