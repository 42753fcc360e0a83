//! SQS worker for the operator's long jobs: each tells its progress, can be cancelled, and goes on after a crash or at the end
//! of its invocation's time where it was.

mod retry_jobs;

use millrace::aws::Aws;
use millrace::jobs::{ExportSubscribers, ImportSubscribers, RetryJobs, Worker};
use millrace::large_file::Store;
use millrace::lists::{Exporter, Importer};
use millrace::telemetry;
use millrace::worker::{self, handlers::Handlers};
use retry_jobs::Retrier;
use std::sync::Arc;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), lambda_runtime::Error> {
    telemetry::init();
    let aws = Aws::load().await;
    let runner = aws.runner(Worker::Operations).await?;
    let jobs = Arc::new(aws.jobs()?);
    let retrier = Retrier {
        jobs: jobs.clone(),
        dead: jobs,
        checkpoints: Arc::new(aws.checkpoints()?),
        queues: aws.job_queues()?,
    };
    let (mail, blobs) = (Arc::new(aws.mail()?), Arc::new(aws.blobs()?));
    let store = Store { files: blobs.clone(), blobs };
    let importer = Arc::new(Importer {
        newsletters: mail.clone(),
        subscribers: mail.clone(),
        suppressions: Arc::new(aws.suppressions().await?),
        store: store.clone(),
        checkpoints: retrier.checkpoints.clone(),
    });
    let exporter = Arc::new(Exporter {
        newsletters: mail.clone(),
        subscribers: mail,
        store,
        checkpoints: retrier.checkpoints.clone(),
    });
    let handlers = Handlers::new()
        .on::<RetryJobs, _, _>(move |job, attempt| {
            let retrier = retrier.clone();
            async move { retrier.run(job, attempt).await }
        })
        .on::<ImportSubscribers, _, _>(move |job, attempt| {
            let importer = importer.clone();
            async move { importer.run(job, attempt).await }
        })
        .on::<ExportSubscribers, _, _>(move |job, attempt| {
            let exporter = exporter.clone();
            async move { exporter.run(job, attempt).await }
        });
    worker::serve(runner, handlers).await
}
