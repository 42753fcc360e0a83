//! SQS worker for the kind `echo`: a job to try things out with, and the smallest worker there is.

mod handler;

use millrace::aws::Aws;
use millrace::jobs::{Echo, Worker};
use millrace::telemetry;
use millrace::worker::{self, handlers::Handlers};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), lambda_runtime::Error> {
    telemetry::init();
    let aws = Aws::load().await;
    let runner = aws.runner(Worker::Echo).await?;
    worker::serve(runner, Handlers::new().on::<Echo, _, _>(handler::handle)).await
}
