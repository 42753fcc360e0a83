//! The kind `echo`: does what its payload asks for.

use anyhow::anyhow;
use millrace::job::{Failure, Outcome};
use millrace::jobs::{Echo, Fail};
use millrace::worker::handlers::Attempt;
use serde_json::json;
use std::time::Duration;

/// How many reports a sleep with `progress` makes: each is one table write.
const REPORTS: u32 = 10;

/// Safe to run twice: it has no effect but its result.
pub(crate) async fn handle(job: Echo, attempt: Attempt) -> Outcome {
    if let Some(ms) = job.snooze_ms
        && attempt.fence == 1
    {
        return Err(Failure::Snooze(Duration::from_millis(ms)));
    }
    sleep(&job, &attempt).await?;
    if let Some(fail) = job.fail
        && job.fail_attempts.is_none_or(|attempts| attempt.number <= attempts)
    {
        return Err(as_asked(fail));
    }
    let mut result = json!({ "message": job.message, "attempt": attempt.number });
    if let Some(bytes) = job.result_bytes {
        result["padding"] = "x".repeat(bytes.saturating_sub(result.to_string().len())).into();
    }
    Ok(result)
}

async fn sleep(job: &Echo, attempt: &Attempt) -> Result<(), Failure> {
    let whole = Duration::from_millis(job.sleep_ms.unwrap_or(0));
    let sleep = async |time| match tokio::time::timeout(time, attempt.cancelled()).await {
        Ok(()) => Err(Failure::Cancelled),
        Err(_) => Ok(()),
    };
    if !job.progress.unwrap_or(false) {
        return sleep(whole).await;
    }
    for step in 1..=REPORTS {
        sleep(whole / REPORTS).await?;
        let percent = u8::try_from(step * 100 / REPORTS).unwrap_or(100);
        attempt.progress(percent, Some(&format!("slept {step} of {REPORTS}"))).await?;
    }
    Ok(())
}

#[allow(clippy::panic, reason = "a panic is what was asked for")]
fn as_asked(fail: Fail) -> Failure {
    match fail {
        Fail::Transient => Failure::Retry(anyhow!("failed as asked: transient")),
        Fail::Permanent => Failure::Dead(anyhow!("failed as asked: permanent")),
        Fail::Throttled => Failure::Throttled(None, anyhow!("failed as asked: throttled")),
        Fail::Panic => panic!("failed as asked: panic"),
        Fail::Exit => std::process::exit(1),
    }
}

#[cfg(test)]
#[path = "handler_tests.rs"]
mod tests;
