//! Stream of the jobs table: what follows from the changes of jobs.

mod handler;

use jiff::Timestamp;
use lambda_runtime::{Error, LambdaEvent, service_fn};
use millrace::accept::Intake;
use millrace::aws::{Aws, StreamEvent};
use millrace::outbox::Outbox;
use millrace::worker::batch::quiet_panics;
use millrace::{env, telemetry};
use std::sync::Arc;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    telemetry::init();
    quiet_panics();
    let aws = Aws::load().await;
    let failures = aws.queue(env::DEAD_LETTER_QUEUE_URL)?;
    let jobs = aws.jobs()?;
    jobs.warm().await;
    let outbox = Outbox {
        counters: Arc::new(aws.counters()?),
        groups: Arc::new(aws.groups()?),
        intake: Intake { jobs: Arc::new(jobs), blobs: Arc::new(aws.blobs()?), queues: aws.job_queues()? },
        bus: aws.bus().map(|bus| Arc::new(bus) as _),
    };
    let (outbox, failures) = (&outbox, &failures);
    lambda_runtime::run(service_fn(async move |event: LambdaEvent<StreamEvent>| {
        let event = event.payload;
        let shard = event.shard();
        Ok::<_, Error>(handler::handle(outbox, failures, &shard, event.told(), Timestamp::now()).await?)
    }))
    .await
}
