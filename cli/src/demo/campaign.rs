//! A newsletter and a campaign, from draft to end.

use anyhow::{Context, bail};
use indicatif::{ProgressBar, ProgressStyle};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::{io::IsTerminal, time::Duration};
use tokio::time::{Instant, sleep};

use crate::{api::Api, print::step};

const TITLE: &str = "The Mill Wheel";

/// A campaign's own account.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Counts {
    pub(crate) total: u64,
    pub(crate) sent: u64,
    pub(crate) suppressed: u64,
    pub(crate) skipped: u64,
    pub(crate) failed: u64,
    pub(crate) unknown: u64,
}

#[derive(Deserialize)]
struct Campaign {
    state: String,
    frozen: bool,
    total: u64,
    counts: States,
}

#[derive(Deserialize)]
struct States {
    sent: u64,
    unknown: u64,
    failed: u64,
    suppressed: u64,
    skipped: u64,
}

impl From<&Campaign> for Counts {
    fn from(campaign: &Campaign) -> Self {
        let States { sent, unknown, failed, suppressed, skipped } = campaign.counts;
        Self { total: campaign.total, sent, suppressed, skipped, failed, unknown }
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

/// Shows the campaign's progress until it is finished.
pub(crate) async fn finished(api: &Api, id: &str, patience: Duration) -> anyhow::Result<Counts> {
    let (end, mut bar) = (Instant::now() + patience, None);
    loop {
        let answer = api.get(&format!("/v1/campaigns/{id}")).await?;
        let campaign: Campaign = serde_json::from_value(answer.body).context("the answer is no campaign")?;
        let counts = Counts::from(&campaign);
        if campaign.frozen {
            let settled = counts.sent + counts.suppressed + counts.skipped + counts.failed;
            bar.get_or_insert_with(|| progress(campaign.total)).at(settled);
        }
        match campaign.state.as_str() {
            "finished" => {
                if let Some(bar) = bar {
                    bar.end();
                }
                return Ok(counts);
            }
            state @ ("cancelled" | "halted") => bail!("the campaign was {state}"),
            state if Instant::now() >= end => {
                bail!(
                    "the campaign is still {state} after {} s: `millrace local logs newsletter` may say why",
                    patience.as_secs()
                )
            }
            _ => sleep(Duration::from_millis(300)).await,
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
