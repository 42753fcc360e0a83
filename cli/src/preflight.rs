//! `millrace preflight`: whether this build can work on the jobs that are in the table.

use anyhow::Context;
use clap::Args;
use futures::future::try_join_all;
use indicatif::{ProgressBar, ProgressStyle};
use millrace::{
    aws::{Aws, DynamoJobs, S3Blobs},
    ports::{Blobs, JobScan},
    preflight::{Report, look, pause},
};
use std::{cell::RefCell, process::ExitCode, time::Duration};
use tokio::time::{Instant, sleep};

use crate::{
    print::{self, line},
    stack,
};

/// Decode the payload of every scheduled, queued, running and dead job with the kinds of this build.
///
/// To be run by the build that is about to be deployed, on the account that the AWS environment variables or profile name. Exit
/// code 1 when there is a job that it could not work on.
#[derive(Args)]
pub(crate) struct Options {
    /// Read payloads in the bucket too: one request for each that is over 2 KB.
    #[arg(long)]
    deep: bool,
    /// The table of jobs [default: the output JobsTable of the stack].
    #[arg(long)]
    table: Option<String>,
    /// The bucket of payloads, for --deep [default: the output Bucket of the stack].
    #[arg(long)]
    bucket: Option<String>,
    /// The deployed stack.
    #[arg(long, env = "MILLRACE_STACK", default_value = "millrace")]
    stack: String,
    /// Parts of the table that are read at the same time.
    #[arg(long, value_name = "NUMBER", default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..=64))]
    segments: u32,
    /// Read capacity units to take in a second. One reads 8 KB of the table.
    #[arg(long, value_name = "UNITS", default_value_t = 500, value_parser = clap::value_parser!(u32).range(1..))]
    rate: u32,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// Carries the command out.
pub(crate) async fn run(options: &Options) -> anyhow::Result<ExitCode> {
    let table = match &options.table {
        Some(table) => table.clone(),
        None => stack::output(&options.stack, "JobsTable", "--table").await?,
    };
    let aws = Aws::load().await;
    let blobs = match (options.deep, &options.bucket) {
        (false, _) => None,
        (true, Some(bucket)) => Some(bucket.clone()),
        (true, None) => Some(stack::output(&options.stack, "Bucket", "--bucket").await?),
    };
    let blobs = blobs.map(|bucket| aws.bucket(bucket));
    let report = read(options, &DynamoJobs::new(aws.dynamodb(), table), blobs.as_ref()).await?;
    if options.json {
        print::json(&report)?;
    } else {
        show(&report)?;
    }
    Ok(if report.unreadable.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Reads the whole table, its segments side by side, none of them faster than the rate allows all of them together.
async fn read(options: &Options, table: &dyn JobScan, blobs: Option<&S3Blobs>) -> anyhow::Result<Report> {
    let bar = ProgressBar::new_spinner().with_style(ProgressStyle::with_template("{spinner} {msg}")?);
    let (whole, begun) = (RefCell::new(Report::default()), Instant::now());
    let segments = (0..options.segments).map(|segment| {
        let (whole, bar) = (&whole, &bar);
        async move {
            let blobs = blobs.map(|blobs| blobs as &dyn Blobs);
            let mut from = None;
            loop {
                let (part, next) = look(table, blobs, segment, options.segments, from.as_deref()).await?;
                whole.borrow_mut().add(part);
                let (looked_at, units) = (whole.borrow().looked_at, whole.borrow().units);
                bar.set_message(format!("{looked_at} items looked at"));
                bar.tick();
                from = next;
                if from.is_none() {
                    return anyhow::Ok(());
                }
                sleep(pause(units, begun.elapsed(), f64::from(options.rate)).min(Duration::from_secs(60))).await;
            }
        }
    });
    try_join_all(segments).await.context("the table could not be read")?;
    bar.finish_and_clear();
    Ok(whole.into_inner())
}

fn show(report: &Report) -> anyhow::Result<()> {
    for job in &report.unreadable {
        let (kind, state) = (job.kind.as_deref().unwrap_or("-"), job.state.unwrap_or("-"));
        line(format_args!("{}  {state:<9}  {kind}  {}", job.id, job.why))?;
    }
    let (jobs, bad) = (report.jobs, report.unreadable.len());
    line(format_args!(
        "{jobs} jobs are scheduled, queued, running or dead; this build could not work on {bad} of them."
    ))?;
    if report.not_read > 0 {
        line(format_args!("{} payloads are in the bucket: --deep reads them too.", report.not_read))?;
    }
    Ok(())
}
