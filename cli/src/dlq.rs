//! `millrace dlq`: what no worker could read, in any account.

use anyhow::{Context, bail};
use clap::{Args, Subcommand};
use indicatif::ProgressBar;
use jiff::Timestamp;
use millrace::{
    aws::{Aws, SqsDeadLetters},
    domain::lane::Lane,
    ports::{DeadLetter, Queue},
    redrive::{Filter, Then, go_through, kind, why},
};
use serde_json::{Value, json};
use std::sync::Arc;

use crate::print::{self, line};

/// What to do with dead letters.
#[derive(Subcommand)]
pub(crate) enum Command {
    /// List dead letters.
    List(List),
    /// Send dead letters back to their workers. One is deleted only after it was sent, as it came and with its group.
    Redrive(Redrive),
}

/// Which dead letters. The account is that of the AWS environment variables or profile; for the local system, source its
/// local.env first.
#[derive(Args)]
struct Which {
    /// Only those of this worker, for example echo.
    #[arg(long)]
    worker: Option<String>,
    /// Only those that SQS moved from this lane: high, normal, low or ordered.
    #[arg(long, value_parser = lane)]
    lane: Option<Lane>,
    /// Only those that name this kind.
    #[arg(long)]
    kind: Option<String>,
    /// Only those whose body has this in it.
    #[arg(long, value_name = "TEXT")]
    contains: Option<String>,
    /// At most so many of each queue.
    #[arg(long, value_name = "NUMBER")]
    limit: Option<usize>,
    /// The deployed stack.
    #[arg(long, env = "MILLRACE_STACK", default_value = "millrace")]
    stack: String,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// Dead letters to look at.
#[derive(Args)]
pub(crate) struct List {
    #[command(flatten)]
    which: Which,
    /// Show the bodies too. They may hold what is nobody's business.
    #[arg(long)]
    bodies: bool,
}

/// Dead letters to be worked on after all.
#[derive(Args)]
pub(crate) struct Redrive {
    #[command(flatten)]
    which: Which,
    /// Show what would be sent, and send nothing.
    #[arg(long)]
    dry_run: bool,
}

fn lane(text: &str) -> Result<Lane, String> {
    let found = Lane::ALL.into_iter().find(|lane| lane.as_str() == text);
    found.ok_or_else(|| format!("a lane is one of {}", Lane::ALL.map(Lane::as_str).join(", ")))
}

/// Carries the command out.
pub(crate) async fn run(command: Command) -> anyhow::Result<()> {
    match command {
        Command::List(options) => pass(&options.which, options.bodies, false).await,
        Command::Redrive(options) => pass(&options.which, false, !options.dry_run).await,
    }
}

/// A queue of dead letters, and where its letters go by default.
#[derive(Debug, PartialEq)]
struct Dead {
    worker: String,
    /// What comes before a queue's name in its URL, with the stack's name and a hyphen.
    prefix: String,
    fifo: bool,
}

impl Dead {
    fn of(url: &str, stack: &str) -> Option<Self> {
        let (folder, name) = url.rsplit_once('/')?;
        let name = name.strip_prefix(stack)?.strip_prefix('-')?;
        let fifo = name.ends_with(".fifo");
        let worker = name.trim_end_matches(".fifo").strip_suffix("-dead")?.to_owned();
        Some(Self { worker, prefix: format!("{folder}/{stack}-"), fifo })
    }

    /// The name of a lane's queue, after the stack's.
    fn queue(&self, lane: Lane) -> String {
        match lane {
            Lane::Normal => self.worker.clone(),
            Lane::Ordered => format!("{}-ordered.fifo", self.worker),
            other => format!("{}-{}", self.worker, other.as_str()),
        }
    }

    /// The URL of the queue that a letter goes back to: the one it came from, else the one of the usual lane.
    fn target(&self, letter: &DeadLetter, stack: &str) -> String {
        let own = letter.source.as_ref().and_then(|source| source.strip_prefix(stack)?.strip_prefix('-'));
        let usual = self.queue(if self.fifo { Lane::Ordered } else { Lane::Normal });
        format!("{}{}", self.prefix, own.unwrap_or(&usual))
    }
}

async fn pass(which: &Which, bodies: bool, redrive: bool) -> anyhow::Result<()> {
    let (aws, stack, now) = (Aws::load().await, which.stack.as_str(), Timestamp::now());
    let found = aws.dead_letters(stack).await.with_context(|| {
        format!("the queues of stack {stack} could not be listed: are region and credentials those of its account?")
    })?;
    let found = found.into_iter().filter_map(|(url, letters)| Some((Dead::of(&url, stack)?, letters)));
    let queues: Vec<(Dead, SqsDeadLetters)> =
        found.filter(|(dead, _)| which.worker.as_ref().is_none_or(|worker| dead.worker == *worker)).collect();
    if queues.is_empty() {
        bail!("stack {stack} has no such dead-letter queue: name the stack with --stack");
    }
    let (mut shown, mut sent, bar) = (Vec::new(), 0, ProgressBar::new_spinner());
    for (dead, letters) in &queues {
        let filter = Filter {
            kind: which.kind.clone(),
            contains: which.contains.clone(),
            source: which.lane.map(|lane| format!("{stack}-{}", dead.queue(lane))),
            limit: which.limit,
        };
        let to = |letter: &DeadLetter| Arc::new(aws.queue_at(dead.target(letter, stack))) as Arc<dyn Queue>;
        let then = if redrive { Then::Redrive(&to) } else { Then::Look };
        let step = |fitting| bar.set_message(format!("{}: {fitting} letters", dead.worker));
        let passed = go_through(letters, &filter, then, now, step).await?;
        sent += passed.sent;
        for letter in &passed.letters {
            let view = view(dead, letter, bodies);
            if !which.json {
                show(&view)?;
            }
            shown.push(view);
        }
        if let Some(error) = passed.failed {
            bar.finish_and_clear();
            bail!(
                "a letter of {} could not be sent, it stays where it was: {error} ({sent} were sent before)",
                dead.worker
            );
        }
    }
    bar.finish_and_clear();
    if which.json {
        return print::json(&json!({ "letters": shown, "sent": sent })).context("standard output");
    }
    match (shown.len(), redrive) {
        (fitting, true) => line(format_args!("{sent} of {fitting} dead letters were sent back."))?,
        (fitting, false) => line(format_args!("{fitting} dead letters."))?,
    }
    Ok(())
}

fn view(dead: &Dead, letter: &DeadLetter, bodies: bool) -> Value {
    let mut view = json!({
        "worker": dead.worker,
        "id": letter.id,
        "sent_at": letter.sent_at,
        "kind": kind(&letter.body),
        "bytes": letter.body.len(),
        "why": why(&letter.body),
        "source": letter.source,
    });
    if bodies {
        view["body"] = letter.body.as_str().into();
    }
    view
}

fn show(view: &Value) -> anyhow::Result<()> {
    let text = |name: &str| view[name].as_str().unwrap_or("-");
    let (worker, id, kind, at) = (text("worker"), text("id"), text("kind"), text("sent_at"));
    line(format_args!("{worker}  {id}  {kind}  {at}  {} bytes  {}", view["bytes"], text("why")))?;
    if let Some(body) = view["body"].as_str() {
        line(format_args!("  {body}"))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn letter(source: Option<&str>) -> DeadLetter {
        let (id, body) = ("m".to_owned(), "{{".to_owned());
        let source = source.map(str::to_owned);
        DeadLetter { receipt: id.clone(), id, body, group: None, sent_at: Timestamp::UNIX_EPOCH, source }
    }

    #[test]
    fn a_letter_goes_back_to_where_it_came_from_or_to_the_usual_lane() {
        let base = "https://sqs.us-east-1.amazonaws.com/1/";
        let dead = Dead::of(&format!("{base}millrace-newsletter-run-dead"), "millrace").unwrap();
        assert_eq!((dead.worker.as_str(), dead.fifo), ("newsletter-run", false));
        let target = |dead: &Dead, source| dead.target(&letter(source), "millrace");
        assert_eq!(target(&dead, None), format!("{base}millrace-newsletter-run"));
        assert_eq!(target(&dead, Some("millrace-newsletter-run-low")), format!("{base}millrace-newsletter-run-low"));
        assert_eq!(target(&dead, Some("somebody-elses")), format!("{base}millrace-newsletter-run"));
        let fifo = Dead::of(&format!("{base}millrace-echo-dead.fifo"), "millrace").unwrap();
        assert_eq!(target(&fifo, None), format!("{base}millrace-echo-ordered.fifo"));
        assert_eq!(fifo.queue(Lane::High), "echo-high");
        for other in ["millrace-echo", "other-echo-dead", "millraceecho-dead"] {
            assert_eq!(Dead::of(&format!("{base}{other}"), "millrace"), None, "{other}");
        }
    }

    #[test]
    fn a_body_is_shown_only_when_it_is_asked_for() {
        let dead = Dead::of("http://x/0/m-echo-dead", "m").unwrap();
        assert!(view(&dead, &letter(None), false).get("body").is_none());
        assert_eq!(view(&dead, &letter(None), true)["body"], "{{");
    }
}
