use jiff::Timestamp;
use millrace::aws::DynamoJobs;
use millrace::domain::job::{Job, State, Stored};
use millrace::ports::{Created, Jobs};
use millrace::testing::conformance::queued_job;
use millrace_tests::{Inside, stack::until};
use serde_json::json;
use std::time::Duration;

/// The stack's own schedule calls the clock, and the clock brings a job to its queue that only the table knows.
#[tokio::test]
async fn the_clock_releases_a_scheduled_job_by_its_own_schedule() {
    let _gate = super::shared().await;
    let inside = Inside::from_env().await;
    let store = DynamoJobs::new(inside.aws.dynamodb(), inside.table("JobsTable").await);
    let now = Timestamp::now();
    let run_at = Timestamp::from_millisecond(now.as_millisecond()).expect("a time") + Duration::from_secs(5);
    let job = Job {
        state: State::Scheduled,
        run_at: Some(run_at),
        payload: Stored::Inline(json!({"message": "from the table"})),
        ..queued_job(&format!("clock-{now}"), now)
    };
    assert_eq!(store.create(&job, true).await.expect("create"), Created::New);
    let done = until("the job's end", async || {
        store.get(&job.id).await.expect("get").filter(|job| job.state == State::Succeeded)
    })
    .await;
    assert!(done.started_at >= Some(run_at));
}
