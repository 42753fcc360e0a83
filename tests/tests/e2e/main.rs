//! End to end: real HTTP calls to the deployed template, real queues and workers, real mail in the mailbox.
//!
//! `make test-e2e` brings a stack of its own up for it, with free ports and a state folder of its own.

mod api;
mod attempts;
mod bulk_retry;
mod campaign_run;
mod campaigns;
mod cdk;
mod conformance;
mod crashes;
mod hits;
mod job_operations;
mod jobs;
mod lanes;
mod letters;
mod limits;
mod localstack;
mod mail_events;
mod mail_storm;
mod operator;
mod outbox;
mod registration;
mod schedule;
mod schedules;
mod sequences;
mod sign_up;
mod storm;
mod subscriber_files;
mod upgrade;
mod watch;

use tokio::sync::{RwLock, RwLockReadGuard, RwLockWriteGuard};

/// Tests that end workers run alone: a killed process takes its neighbours' attempts with it.
static GATE: RwLock<()> = RwLock::const_new(());

/// Beside others.
async fn shared() -> RwLockReadGuard<'static, ()> {
    GATE.read().await
}

/// Alone.
async fn alone() -> RwLockWriteGuard<'static, ()> {
    GATE.write().await
}
