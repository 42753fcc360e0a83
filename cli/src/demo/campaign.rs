//! A newsletter and a campaign, from draft to end.

use anyhow::{Context, bail, ensure};
use indicatif::{ProgressBar, ProgressStyle};
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::{Value, json};
use std::{collections::BTreeMap, io::IsTerminal, time::Duration};
use tokio::time::{Instant, sleep};

use crate::{api::Api, print::step};

const TITLE: &str = "The Mill Wheel";
/// How often the campaign is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(300);

/// A campaign, as far as it is shown.
#[derive(Deserialize)]
pub(crate) struct Campaign {
    pub(crate) id: String,
    state: String,
    frozen: bool,
    pub(crate) total: u64,
    /// The recipients by state.
    pub(crate) counts: BTreeMap<String, u64>,
}

impl Campaign {
    async fn get(api: &Api, id: &str) -> anyhow::Result<Self> {
        let answer = api.get(&format!("/v1/campaigns/{id}")).await?;
        serde_json::from_value(answer.body).context("the answer is no campaign")
    }

    /// How many recipients are in these states.
    fn count(&self, states: &[&str]) -> u64 {
        states.iter().filter_map(|state| self.counts.get(*state)).sum()
    }

    /// How many mails SES has accepted.
    pub(crate) fn accepted(&self) -> u64 {
        self.count(&["sent", "delivered", "bounced", "complained"])
    }
}

/// Makes a newsletter. Its id.
pub(crate) async fn newsletter(api: &Api) -> anyhow::Result<String> {
    let name = format!("{TITLE} of {}", Timestamp::now().strftime("%F %T"));
    let body = json!({
        "name": name,
        "from": format!("{TITLE} <news@example.com>"),
        "postal_address": "1 Mill Lane, Watermouth",
        "time_zone": "Europe/Berlin",
        "send_at": "10:00",
    });
    let answer = api.post("/v1/newsletters", &body).await?;
    let id = answer.text("/id")?.to_owned();
    step("newsletter", format_args!("{id} ({name})"));
    Ok(id)
}

/// Makes a campaign of the letter, a draft. Its id.
pub(crate) async fn create(api: &Api, newsletter: &str, letter: &str) -> anyhow::Result<String> {
    let body = json!({
        "newsletter": newsletter,
        "subject": "What the water brought",
        "body": {"html": letter},
        "send": {"when": "now"},
    });
    let answer = api.post("/v1/campaigns", &body).await?;
    let id = answer.text("/id")?.to_owned();
    step("campaign", format_args!("{id}, a letter of {} bytes, is a draft", letter.len()));
    Ok(id)
}

/// Starts the campaign.
pub(crate) async fn start(api: &Api, id: &str) -> anyhow::Result<()> {
    let answer = api.post(&format!("/v1/campaigns/{id}/start"), &json!({})).await?;
    step("campaign", format_args!("started: {}", answer.text("/state")?));
    Ok(())
}

/// Has it send at most so many mails a second.
pub(crate) async fn rate(api: &Api, id: &str, rate: f64) -> anyhow::Result<()> {
    api.post(&format!("/v1/campaigns/{id}/rate"), &json!({ "rate": rate })).await?;
    step("campaign", format_args!("at most {rate} mails a second, so that there is time to look"));
    Ok(())
}

/// Pauses it once so many mails were accepted, and waits until what was begun is written down.
pub(crate) async fn pause_after(api: &Api, id: &str, mails: u64, patience: Duration) -> anyhow::Result<()> {
    let end = Instant::now() + patience;
    while Campaign::get(api, id).await?.accepted() < mails {
        ensure!(Instant::now() < end, "{mails} mails were not sent within {} s", patience.as_secs());
        sleep(LOOK_EVERY).await;
    }
    api.post(&format!("/v1/campaigns/{id}/pause"), &json!({})).await?;
    loop {
        let campaign = Campaign::get(api, id).await?;
        if campaign.count(&["sending"]) == 0 {
            step(
                "campaign",
                format_args!("paused: {} sent, {} not", campaign.accepted(), campaign.count(&["pending"])),
            );
            return Ok(());
        }
        ensure!(Instant::now() < end, "the campaign still sends {} s after its pause", patience.as_secs());
        sleep(LOOK_EVERY).await;
    }
}

/// Lets it go on.
pub(crate) async fn resume(api: &Api, id: &str) -> anyhow::Result<()> {
    let answer = api.post(&format!("/v1/campaigns/{id}/resume"), &json!({})).await?;
    step("campaign", format_args!("resumed: {}", answer.text("/state")?));
    Ok(())
}

/// The addresses of recipients in a state, up to 1,000.
pub(crate) async fn recipients(api: &Api, id: &str, state: &str) -> anyhow::Result<Vec<(String, String)>> {
    let page = api.get(&format!("/v1/campaigns/{id}/recipients?state={state}&limit=1000")).await?;
    let text = |one: &Value, name: &str| one[name].as_str().unwrap_or_default().to_owned();
    let found = page.body["recipients"].as_array().context("the answer has no recipients")?;
    Ok(found.iter().map(|one| (text(one, "email"), text(one, "reason"))).collect())
}

/// Shows the campaign's progress until it is finished and SES has told of every mail what became of it.
pub(crate) async fn finished(api: &Api, id: &str, patience: Duration) -> anyhow::Result<Campaign> {
    let (end, mut bar) = (Instant::now() + patience, None);
    loop {
        let campaign = Campaign::get(api, id).await?;
        if campaign.frozen {
            let settled = campaign.accepted() + campaign.count(&["suppressed", "skipped", "failed"]);
            bar.get_or_insert_with(|| progress(campaign.total)).at(settled);
        }
        match campaign.state.as_str() {
            "finished" if campaign.count(&["sent"]) == 0 => {
                if let Some(bar) = bar {
                    bar.end();
                }
                return Ok(campaign);
            }
            state @ ("cancelled" | "halted") => bail!("the campaign was {state}"),
            state if Instant::now() >= end => {
                bail!(
                    "the campaign is still {state} after {} s: `millrace local logs newsletter` may say why",
                    patience.as_secs()
                )
            }
            _ => sleep(LOOK_EVERY).await,
        }
    }
}

/// Progress on a terminal as a bar, elsewhere as a line for each tenth.
pub(crate) struct Progress {
    bar: Option<ProgressBar>,
    total: u64,
    told: u64,
}

/// Progress towards `total`.
pub(crate) fn progress(total: u64) -> Progress {
    let bar = std::io::stderr().is_terminal().then(|| {
        let style = ProgressStyle::with_template("  [{bar:40}] {pos}/{len}  {elapsed}");
        ProgressBar::new(total).with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
    });
    Progress { bar, total, told: 0 }
}

impl Progress {
    /// So much is done.
    pub(crate) fn at(&mut self, done: u64) {
        if let Some(bar) = &self.bar {
            bar.set_position(done);
            return;
        }
        let tenth = (done * 10).checked_div(self.total).unwrap_or(10);
        if tenth > self.told {
            self.told = tenth;
            eprintln!("  {done}/{}", self.total);
        }
    }

    /// All is done.
    pub(crate) fn end(self) {
        if let Some(bar) = self.bar {
            bar.finish();
        }
    }
}
