//! `millrace local logs`.

use clap::Args;
use std::process::ExitCode;
use tokio::process::Command;

use super::{Place, addresses::Addresses, command::run_shown, deploy, engine::WATCH, tools::Tools};
use crate::project::Project;

/// Processes and tools with a log of their own.
const FILES: [&str; 4] = ["engine", "mailbox", "deploy", WATCH];

/// Which log.
#[derive(Args)]
pub(crate) struct Options {
    #[command(flatten)]
    place: Place,
    /// Go on printing what is added.
    #[arg(short, long)]
    follow: bool,
    /// A function (api, echo, newsletter-run, ...), or engine, mailbox, deploy or watch [default: all functions].
    name: Option<String>,
}

/// Prints logs.
pub(crate) async fn logs(project: &Project, options: &Options) -> anyhow::Result<ExitCode> {
    let state = options.place.existing(project)?;
    // Beside an emulator the API is run by the watch.
    let api = |name: &&str| *name == "api" && state.memory().endpoint.is_some();
    let name = options.name.as_deref().map(|name| if api(&name) { WATCH } else { name });
    if let Some(file) = name.filter(|name| FILES.contains(name)) {
        let mut tail = Command::new("tail");
        tail.args(["-n", "200"]);
        if options.follow {
            tail.arg("-F");
        }
        run_shown(tail.arg(state.log(file))).await?;
        return Ok(ExitCode::SUCCESS);
    }
    let (tools, memory) = (Tools::ensure(project).await?, state.memory());
    let mut sam = deploy::sam(&state, &tools, &Addresses::of(&memory));
    sam.args(["logs", "--stack-name", &memory.name]);
    if let Some(function) = name {
        sam.args(["--name", &logical_id(function)]);
    }
    if options.follow {
        sam.arg("--tail");
    }
    run_shown(&mut sam).await?;
    Ok(ExitCode::SUCCESS)
}

/// The function's name in the template: `newsletter-run` is `NewsletterRunFunction`.
fn logical_id(function: &str) -> String {
    let capital = |word: &str| word[..1].to_ascii_uppercase() + &word[1..];
    let words = function.split('-').filter(|word| word.is_ascii() && !word.is_empty());
    words.map(capital).chain(["Function".to_owned()]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_the_template() {
        assert_eq!(logical_id("api"), "ApiFunction");
        assert_eq!(logical_id("newsletter-run"), "NewsletterRunFunction");
        assert_eq!(logical_id("-"), "Function");
    }
}
