//! `millrace doctor`: whether a deployed stack is as it must be.

mod check;
mod expect;
mod look;

use clap::Args;
use millrace::aws::Aws;
use serde::Serialize;
use std::process::ExitCode;

use crate::print::{self, line};
use check::{Finding, Weight, check};
use expect::Expected;
use look::{Facts, look};

/// Look at a deployed stack: functions, queues, who reads them, what waits in dead letters, schedules and alarms.
///
/// It only reads. What it expects is the table of functions that this command line was built with. The account is that of the AWS
/// environment variables or profile; for the local system, source its local.env first. Exit code 1 when there is a problem.
#[derive(Args)]
pub(crate) struct Options {
    /// The deployed stack.
    #[arg(long, env = "MILLRACE_STACK", default_value = "millrace")]
    stack: String,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// What was looked at and what was found, worst first.
#[derive(Serialize)]
struct Report<'a> {
    stack: &'a str,
    looked_at: LookedAt,
    findings: Vec<Finding>,
}

#[derive(Serialize)]
struct LookedAt {
    functions: usize,
    queues: usize,
    event_sources: usize,
    schedules: usize,
    alarms: usize,
}

/// Carries the command out.
pub(crate) async fn run(options: &Options) -> anyhow::Result<ExitCode> {
    let expected = Expected::of(&options.stack)?;
    let facts = look(Aws::load().await.config(), &expected).await?;
    let report = Report { stack: &options.stack, looked_at: LookedAt::of(&facts), findings: check(&expected, &facts) };
    if options.json {
        print::json(&report)?;
    } else {
        show(&report)?;
    }
    let sick = report.findings.iter().any(|finding| finding.weight == Weight::Problem);
    Ok(if sick { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

impl LookedAt {
    fn of(facts: &Facts) -> Self {
        Self {
            functions: facts.functions.len(),
            queues: facts.queues.len(),
            event_sources: facts.sources.len(),
            schedules: facts.schedules.len(),
            alarms: facts.alarms.len(),
        }
    }
}

fn show(report: &Report<'_>) -> anyhow::Result<()> {
    for Finding { weight, what, says, todo } in &report.findings {
        line(format_args!("{}: {what} {says}\n  {todo}", weight.as_str()))?;
    }
    let LookedAt { functions, queues, event_sources, schedules, alarms } = &report.looked_at;
    let problems = report.findings.iter().filter(|finding| finding.weight == Weight::Problem).count();
    let advice = report.findings.len() - problems;
    line(format_args!(
        "{}: {functions} functions, {queues} queues, {event_sources} event sources, {schedules} schedules and {alarms} alarms; \
         problems: {problems}, advice: {advice}",
        report.stack
    ))?;
    Ok(())
}
