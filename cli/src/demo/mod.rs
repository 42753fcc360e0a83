//! `millrace demo`: the main job, end to end, on real input.

mod account;
mod audience;
mod campaign;
mod mailbox;
mod sign_up;

use anyhow::Context;
use clap::Args;
use jiff::Timestamp;
use serde_json::json;
use std::{
    path::PathBuf,
    time::{Duration, Instant},
};

use crate::{
    api::{Api, Connection},
    jobs,
    print::{line, step},
    project::Project,
};
use account::Account;
use audience::Reader;
use mailbox::Mailbox;

/// How long the welcome mail may take.
const WELCOME_PATIENCE: Duration = Duration::from_secs(60);

/// Addresses of SES's simulator among the readers, and what becomes of them and of the one who leaves.
const SIMULATED: [&str; 5] = ["success", "bounce", "suppressionlist", "ooto", "complaint"];
const EXPECTED: [(&str, u64); 5] =
    [("bounced", 3), ("complained", 1), ("suppressed", 1), ("failed", 0), ("unknown", 0)];
/// So many readers, the one who signs up among them, have a letter before the campaign.
const FIRST: usize = 5;
/// Mails a second of the campaign.
const RATE: f64 = 60.0;
/// Mails before its pause.
const BEFORE_PAUSE: u64 = 100;

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

/// Carries the demonstration out. An error unless the account adds up and each subscriber got exactly one mail, but who left.
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
    let demo = Demo { api: &api, mailbox: &mailbox, letter: &letter, patience: Duration::from_secs(options.timeout) };
    let account = demo.newsletter(audience).await?;
    account.show(options.json)?;
    step("API", api.base());
    step("mailbox", format_args!("{} shows every mail in the browser", mailbox.url()));
    // The local system's key opens nothing but the local system. Any other key stays where it is.
    if let Ok(mut local) = options.connection.local()
        && let Some(key) = local.remove("MILLRACE_API_KEY").filter(|key| api.uses(key))
    {
        step("key", key);
    }
    account.check(&EXPECTED)
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

/// What a newsletter is shown with.
struct Demo<'a> {
    api: &'a Api,
    mailbox: &'a Mailbox,
    letter: &'a str,
    patience: Duration,
}

impl Demo<'_> {
    /// A newsletter from its first reader to the account of a campaign that was paused, with one who leaves in between.
    async fn newsletter(&self, mut audience: Vec<Reader>) -> anyhow::Result<Account> {
        let Self { api, mailbox, .. } = *self;
        let newsletter = campaign::newsletter(api).await?;
        let signed_up = sign_up::sign_up(api, mailbox, &newsletter).await?;
        let run = Timestamp::now().as_millisecond();
        audience.extend(SIMULATED.map(|local| Reader::new(format!("{local}+{run}@simulator.amazonses.com"))));

        // The first readers have a letter, and with it a link, before the campaign that is looked at.
        let first: Vec<Reader> = (1..FIRST).map(|i| Reader::new(format!("early-{i}.{run}@example.com"))).collect();
        audience::import(api, &newsletter, &first).await?;
        let issue = campaign::create(api, &newsletter, self.letter).await?;
        campaign::start(api, &issue).await?;
        campaign::finished(api, &issue, self.patience).await?;
        audience::import(api, &newsletter, &audience).await?;

        let id = campaign::create(api, &newsletter, self.letter).await?;
        campaign::rate(api, &id, RATE).await?;
        let begin = Instant::now();
        campaign::start(api, &id).await?;
        campaign::pause_after(api, &id, BEFORE_PAUSE, self.patience).await?;
        let mut addresses: Vec<String> = first.iter().map(|reader| reader.email.clone()).collect();
        addresses.push(signed_up);
        let left = self.leave(&id, &addresses).await?;
        campaign::resume(api, &id).await?;
        let campaign = campaign::finished(api, &id, self.patience).await?;
        let seconds = begin.elapsed().as_secs_f64();
        for state in ["bounced", "complained", "suppressed"] {
            for (email, reason) in campaign::recipients(api, &id, state).await? {
                step("campaign", format_args!("{state}: {email} ({reason})"));
            }
        }
        step("campaign", "counting the mails of each address in the mailbox");
        let got = mailbox.counts("campaign", &id).await?;
        addresses.extend(audience.iter().map(|reader| reader.email.clone()));
        Ok(Account::new(campaign, &addresses, left, &got, seconds))
    }

    /// Has one of these unsubscribe who has not got the campaign's letter yet, by the link in an earlier one.
    async fn leave(&self, campaign: &str, addresses: &[String]) -> anyhow::Result<String> {
        let got = self.mailbox.counts("campaign", campaign).await?;
        let waits = addresses.iter().find(|email| !got.by_recipient.contains_key(&email.to_lowercase()));
        let email = waits.context("all of the first readers have their letter already")?;
        let mail = self.mailbox.newest_to(email).await?;
        let link = mail.unsubscribe_link().context("the letter has no link to unsubscribe by")?;
        self.api.submit(link, &[("List-Unsubscribe", Some("One-Click"))]).await?;
        step("unsubscribe", format_args!("{email} leaves with one click, by the link in the letter before"));
        Ok(email.clone())
    }
}
