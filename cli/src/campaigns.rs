//! `millrace campaigns`: list, show, preview, test, preflight and start campaigns.

use anyhow::{Context, bail};
use clap::{Args, Subcommand, ValueEnum};
use serde_json::{Value, json};

use crate::{
    api::{Connection, query},
    print::{self, line},
};

/// What to do with campaigns.
#[derive(Subcommand)]
pub(crate) enum Command {
    /// List campaigns, the newest first.
    List(List),
    /// Show a campaign and how far it is.
    Show(One),
    /// Show a campaign's letter as a reader would get it.
    Preview(Preview),
    /// Send a campaign's letter to one address.
    Test(Test),
    /// Look for what must be mended before a campaign starts. Exit code 1 when there is something.
    Preflight(One),
    /// Start a campaign. It is refused when its preflight finds errors.
    Start(One),
}

/// One campaign.
#[derive(Args)]
pub(crate) struct One {
    /// The campaign's id.
    id: String,
    /// Print the answer as JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    connection: Connection,
}

/// Which campaigns to list.
#[derive(Args)]
pub(crate) struct List {
    /// Only this newsletter's.
    #[arg(long, value_name = "ID")]
    newsletter: Option<String>,
    /// Only campaigns in this state.
    #[arg(long)]
    state: Option<String>,
    /// At most so many.
    #[arg(long, value_name = "NUMBER", default_value_t = 50, value_parser = clap::value_parser!(u16).range(1..=100))]
    limit: u16,
    /// Print the campaigns as a JSON array.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    connection: Connection,
}

/// As whom, and what of it.
#[derive(Args)]
pub(crate) struct Preview {
    /// The campaign's id.
    id: String,
    /// As this subscriber of its newsletter [default: as an invented one].
    #[arg(long, value_name = "ID")]
    subscriber: Option<String>,
    /// Print only this part, as it is.
    #[arg(long, value_enum)]
    part: Option<Part>,
    /// Print the answer as JSON.
    #[arg(long, conflicts_with = "part")]
    json: bool,
    #[command(flatten)]
    connection: Connection,
}

/// Where to, and as whom.
#[derive(Args)]
pub(crate) struct Test {
    /// The campaign's id.
    id: String,
    /// The address.
    #[arg(long, value_name = "ADDRESS")]
    to: String,
    /// As this subscriber of its newsletter [default: as the address's own].
    #[arg(long, value_name = "ID")]
    subscriber: Option<String>,
    /// Print the job as JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    connection: Connection,
}

/// A part of a letter.
#[derive(Clone, Copy, ValueEnum)]
pub(crate) enum Part {
    /// The subject.
    Subject,
    /// The HTML part.
    Html,
    /// The text part.
    Text,
}

/// Carries the command out.
pub(crate) async fn run(command: Command) -> anyhow::Result<()> {
    match command {
        Command::List(options) => list(&options).await,
        Command::Show(options) => {
            let campaign = options.connection.open()?.get(&path(&options.id, "")?).await?.body;
            show(&campaign, options.json)
        }
        Command::Preview(options) => preview(&options).await,
        Command::Test(options) => {
            let mut body = json!({ "to": options.to });
            if let Some(subscriber) = &options.subscriber {
                body["subscriber"] = subscriber.as_str().into();
            }
            let job = options.connection.open()?.post(&path(&options.id, "/test")?, &body).await?.body;
            if options.json {
                return print::json(&job).context("standard output");
            }
            let id = job["id"].as_str().unwrap_or_default();
            Ok(line(format_args!("{id}  sends it to {}: `millrace jobs show {id}` shows how far it is", options.to))?)
        }
        Command::Preflight(options) => preflight(&options).await,
        Command::Start(options) => {
            let campaign = options.connection.open()?.post(&path(&options.id, "/start")?, &json!({})).await?.body;
            show(&campaign, options.json)
        }
    }
}

async fn list(options: &List) -> anyhow::Result<()> {
    let limit = options.limit.to_string();
    let given = [
        ("newsletter", options.newsletter.as_deref()),
        ("state", options.state.as_deref()),
        ("limit", Some(limit.as_str())),
    ];
    let answer = options.connection.open()?.get(&format!("/v1/campaigns?{}", query(&given)?)).await?.body;
    if options.json {
        return print::json(&answer["campaigns"]).context("standard output");
    }
    for campaign in answer["campaigns"].as_array().into_iter().flatten() {
        let text = |name: &str| campaign[name].as_str().unwrap_or_default();
        let count = |state: &str| campaign["counts"][state].as_u64().unwrap_or(0);
        let sent: u64 = ["sent", "delivered", "bounced", "complained"].map(count).iter().sum();
        let total = &campaign["total"];
        line(format_args!("{}  {:<9}  {sent}/{total}  {}", text("id"), text("state"), text("subject")))?;
    }
    Ok(())
}

async fn preview(options: &Preview) -> anyhow::Result<()> {
    let given = query(&[("subscriber", options.subscriber.as_deref())])?;
    let path = format!("{}?{given}", path(&options.id, "/preview")?);
    let letter = options.connection.open()?.get(&path).await?.body;
    if options.json {
        return print::json(&letter).context("standard output");
    }
    let text = |name: &str| letter[name].as_str().unwrap_or_default();
    match options.part {
        Some(Part::Subject) => line(text("subject"))?,
        Some(Part::Html) => line(text("html"))?,
        Some(Part::Text) => line(text("text"))?,
        None => {
            for name in ["from", "reply_to", "to", "subject"].into_iter().filter(|name| !text(name).is_empty()) {
                line(format_args!("{name}: {}", text(name)))?;
            }
            line(format_args!("\n{}", text("text")))?;
        }
    }
    Ok(())
}

async fn preflight(options: &One) -> anyhow::Result<()> {
    let answer = options.connection.open()?.get(&path(&options.id, "/preflight")?).await?.body;
    if options.json {
        print::json(&answer).context("standard output")?;
    } else {
        for finding in answer["findings"].as_array().into_iter().flatten() {
            let text = |name: &str| finding[name].as_str().unwrap_or_default();
            line(format_args!("{}  {}  {}", text("severity"), text("pointer"), text("detail")))?;
        }
    }
    if answer["ready"] == json!(true) {
        if !options.json {
            line(format_args!("ready; the letter was rendered for {} readers", answer["readers"]))?;
        }
        return Ok(());
    }
    bail!("the campaign is not ready")
}

fn path(id: &str, action: &str) -> anyhow::Result<String> {
    if id.is_empty() || !id.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-')) {
        bail!("{id:?} is no campaign id");
    }
    Ok(format!("/v1/campaigns/{id}{action}"))
}

fn show(campaign: &Value, json: bool) -> anyhow::Result<()> {
    if json {
        return print::json(campaign).context("standard output");
    }
    let text = |name: &str| campaign[name].as_str().unwrap_or_default();
    line(format_args!("{}  {}  {}", text("id"), text("state"), text("subject")))?;
    let counts = campaign["counts"].as_object().into_iter().flatten();
    let counts: Vec<_> =
        counts.filter(|(_, count)| **count != json!(0)).map(|(name, count)| format!("{name} {count}")).collect();
    line(format_args!("  recipients     {} ({})", campaign["total"], counts.join(", ")))?;
    for name in ["opens", "clicks"].into_iter().filter(|name| campaign[*name].is_object()) {
        let hits = &campaign[name];
        line(format_args!("  {name:<14} people {}, machines {}", hits["people"], hits["machines"]))?;
    }
    for name in ["newsletter", "created_at", "started_at", "opens_at", "finished_at"] {
        if !text(name).is_empty() {
            line(format_args!("  {name:<14} {}", text(name)))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_cannot_lead_elsewhere() {
        assert_eq!(path("cmp_1a-b", "/start").unwrap(), "/v1/campaigns/cmp_1a-b/start");
        for wrong in ["", "../users", "a?b", "a/b"] {
            assert!(path(wrong, "").is_err(), "{wrong}");
        }
    }
}
