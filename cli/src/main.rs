//! The command line of Millrace: the local system, the template, API keys, jobs and the demonstration.

mod api;
mod campaigns;
mod demo;
mod dlq;
mod doctor;
mod infra;
mod jobs;
mod keys;
mod limits;
mod local;
mod new_worker;
mod preflight;
mod print;
mod project;
mod schedules;
mod stack;
mod stats;
mod subscribers;
mod webhooks;

use clap::{Parser, Subcommand};
use std::process::ExitCode;

/// Background work on AWS: the local system, API keys, jobs and a demonstration.
///
/// Exit codes: 0 done, 1 failed (the reason is on standard error), 2 wrong usage.
#[derive(Parser)]
#[command(name = "millrace", version, propagate_version = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// The whole system on this machine: engine, mailbox and the deployed template.
    #[command(subcommand)]
    Local(local::Command),
    /// API keys.
    #[command(subcommand)]
    Keys(keys::Command),
    /// Jobs: submit one, look at one.
    #[command(subcommand)]
    Jobs(jobs::Command),
    /// The template that is deployed.
    #[command(subcommand)]
    Infra(infra::Command),
    NewWorker(new_worker::Options),
    /// Dead letters, which no worker could read: list them, send them back.
    #[command(subcommand)]
    Dlq(dlq::Command),
    /// Recurring jobs: list them, set or remove one.
    #[command(subcommand)]
    Schedules(schedules::Command),
    Preflight(preflight::Options),
    Doctor(doctor::Options),
    /// Rate limits: how many jobs of a kind may start.
    #[command(subcommand)]
    Limits(limits::Command),
    /// How many jobs there are, and how deep the queues.
    Stats(stats::Options),
    /// Calls to customers' endpoints: the secrets that sign them.
    #[command(subcommand)]
    Webhooks(webhooks::Command),
    /// Campaigns: look at them, preview, test and start them.
    #[command(subcommand)]
    Campaigns(campaigns::Command),
    /// Subscribers: list them, take in a list, write one.
    #[command(subcommand)]
    Subscribers(subscribers::Command),
    /// A registration becomes a welcome mail, and a newsletter reaches its readers, on the running local system.
    Demo(demo::Options),
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let cli = Cli::parse();
    // The HTTP clients are built without a default: one TLS implementation, chosen here.
    if rustls::crypto::ring::default_provider().install_default().is_err() {
        eprintln!("millrace: the TLS implementation was already chosen");
        return ExitCode::FAILURE;
    }
    let done = match cli.command {
        Command::Local(command) => local::run(command).await,
        Command::Keys(command) => keys::run(command).await.map(|()| ExitCode::SUCCESS),
        Command::Jobs(command) => jobs::run(command).await.map(|()| ExitCode::SUCCESS),
        Command::Infra(command) => infra::run(&command).map(|()| ExitCode::SUCCESS),
        Command::NewWorker(options) => new_worker::run(&options).map(|()| ExitCode::SUCCESS),
        Command::Dlq(command) => dlq::run(command).await.map(|()| ExitCode::SUCCESS),
        Command::Schedules(command) => schedules::run(command).await.map(|()| ExitCode::SUCCESS),
        Command::Preflight(options) => preflight::run(&options).await,
        Command::Doctor(options) => doctor::run(&options).await,
        Command::Limits(command) => limits::run(command).await.map(|()| ExitCode::SUCCESS),
        Command::Stats(options) => stats::run(options).await.map(|()| ExitCode::SUCCESS),
        Command::Webhooks(command) => webhooks::run(command).await.map(|()| ExitCode::SUCCESS),
        Command::Campaigns(command) => campaigns::run(command).await.map(|()| ExitCode::SUCCESS),
        Command::Subscribers(command) => subscribers::run(command).await.map(|()| ExitCode::SUCCESS),
        Command::Demo(options) => demo::run(options).await.map(|()| ExitCode::SUCCESS),
    };
    done.unwrap_or_else(|error| {
        eprintln!("millrace: {error:#}");
        ExitCode::FAILURE
    })
}
