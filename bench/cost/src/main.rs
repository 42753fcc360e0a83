//! `bench-cost`: what each path of a job costs at AWS, counted on the deployed template and held to `contract.json`.

mod paths;
mod poller;
mod price;
mod usage;

use anyhow::Context as _;
use clap::Parser;
use millrace_tests::stack::{Inside, Stack};
use paths::{Walked, Walker};
use price::dollars;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::process::ExitCode;
use usage::Usage;

/// Counts what each path of a job asks of AWS, on a system of its own: `make bench-cost`. Prints a table for one job, and
/// dollars for a million.
///
/// Exit codes: 0 within the contract, 1 over it or failed.
#[derive(Parser)]
struct Options {
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// The most that a path may use.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Limit {
    api_requests: f64,
    lambda_requests: f64,
    sqs_requests: f64,
    write_units: f64,
    /// With room: what the clock and the limits read goes by time, not by jobs.
    read_units: f64,
    #[serde(default)]
    s3_requests: f64,
    /// Of the outbox, apart and with room: how many stream records it gets at once is the load's doing.
    outbox_write_units: f64,
    /// For a million jobs.
    dollars: f64,
}

impl Limit {
    /// What is over it, in words.
    fn exceeded(&self, walked: &Walked) -> Vec<String> {
        let most = Usage {
            api_requests: self.api_requests,
            lambda_requests: self.lambda_requests,
            sqs_requests: self.sqs_requests,
            write_units: self.write_units,
            read_units: self.read_units,
            s3_requests: self.s3_requests,
        };
        let limits = most.fields().into_iter().zip(walked.usage.fields());
        let mut limits: Vec<_> = limits.map(|((name, most), (_, used))| (name, most, used)).collect();
        limits.push(("outbox write units", self.outbox_write_units, walked.outbox.write_units));
        limits.push(("dollars", self.dollars, dollars(&walked.usage)));
        let over = limits.into_iter().filter(|(_, most, used)| *used > most + 1e-6);
        over.map(|(name, most, used)| format!("{}: {used:.3} {name}, at most {most}", walked.name)).collect()
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    match run(&Options::parse()).await {
        Ok(over) if over.is_empty() => ExitCode::SUCCESS,
        Ok(over) => {
            over.iter().for_each(|line| eprintln!("over the contract: {line}"));
            ExitCode::FAILURE
        }
        Err(error) => {
            eprintln!("bench-cost: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn run(options: &Options) -> anyhow::Result<Vec<String>> {
    let contract: BTreeMap<String, Limit> =
        serde_json::from_str(include_str!("../contract.json")).context("contract.json")?;
    let (stack, inside) = (Stack::from_env(), Inside::from_env().await);
    let walked = Walker::new(&stack, &inside).await?.all(|path| eprintln!("counting: {path}")).await?;
    if options.json {
        print_json(&walked);
    } else {
        print_table(&walked);
    }
    let mut over = Vec::new();
    for one in &walked {
        let limit = contract.get(one.name).with_context(|| format!("contract.json has no \"{}\"", one.name))?;
        over.extend(limit.exceeded(one));
    }
    Ok(over)
}

#[allow(clippy::print_stdout, reason = "the table is what was asked for")]
fn print_table(walked: &[Walked]) {
    println!(
        "| a job that is | API | Lambda | SQS | write units | read units | S3 | outbox write units | $ per million |"
    );
    println!("|---|---|---|---|---|---|---|---|---|");
    for one in walked {
        let fields: Vec<String> = one.usage.fields().iter().map(|(_, value)| format!("{value:.2}")).collect();
        let (outbox, price) = (one.outbox.write_units, dollars(&one.usage));
        println!("| {} | {} | {outbox:.2} | {price:.2} |", one.name, fields.join(" | "));
    }
}

#[allow(clippy::print_stdout, reason = "the JSON is what was asked for")]
fn print_json(walked: &[Walked]) {
    let paths = walked.iter().map(|one| {
        let dollars = dollars(&one.usage);
        (one.name, serde_json::json!({"usage": one.usage, "outbox": one.outbox, "dollars_per_million": dollars}))
    });
    println!("{}", serde_json::json!(paths.collect::<BTreeMap<_, _>>()));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::paths::NAMES;

    #[test]
    fn every_path_has_a_limit_and_what_is_over_it_is_named() {
        let contract: BTreeMap<String, Limit> = serde_json::from_str(include_str!("../contract.json")).unwrap();
        assert!(NAMES.iter().all(|name| contract.contains_key(*name)) && contract.len() == NAMES.len());
        let limit = &contract[NAMES[0]];
        let usage = Usage { write_units: limit.write_units, ..Usage::default() };
        let walked = Walked { name: NAMES[0], usage, outbox: Usage::default() };
        assert_eq!(limit.exceeded(&walked), Vec::<String>::new());
        let usage = Usage { write_units: limit.write_units + 1.0, ..Usage::default() };
        let over = limit.exceeded(&Walked { usage, ..walked });
        assert!(over.len() == 1 && over[0].contains("write units"), "{over:?}");
    }
}
