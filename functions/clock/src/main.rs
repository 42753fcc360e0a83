//! Every minute: brings jobs and chunks on their way that are due, and settles what a dead worker left behind.

mod handler;

use handler::Tower;
use jiff::SignedDuration;
use lambda_runtime::{Error, LambdaEvent, service_fn};
use millrace::accept::Intake;
use millrace::aws::Aws;
use millrace::campaigns::{Dispatcher, Keeper};
use millrace::ports::{Clock as _, SystemClock};
use millrace::{env, telemetry};
use serde_json::Value;
use std::sync::Arc;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    telemetry::init();
    let aws = Aws::load().await;
    let mail = Arc::new(aws.mail()?);
    let dispatcher = Dispatcher {
        campaigns: mail.clone(),
        chunks: mail.clone(),
        line: mail,
        queue: Arc::new(aws.queue(env::NEWSLETTER_QUEUE_URL)?),
        limit: env::send_rate()?,
    };
    let tower = Tower {
        intake: Intake { jobs: Arc::new(aws.jobs()?), blobs: Arc::new(aws.blobs()?), queues: aws.job_queues()? },
        schedules: Box::new(aws.schedules()?),
        keeper: Keeper {
            dispatcher,
            account: Arc::new(aws.account()),
            planner_queue: Arc::new(aws.queue(env::NEWSLETTER_RUN_QUEUE_URL)?),
            settle: SignedDuration::from_secs(env::parsed(env::SETTLE_SECONDS, "a whole number of seconds")?),
        },
    };
    let tower = &tower;
    lambda_runtime::run(service_fn(async move |_: LambdaEvent<Value>| {
        Ok::<_, Error>(tower.tick(SystemClock.now()).await?)
    }))
    .await
}
