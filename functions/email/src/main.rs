//! SQS worker: welcome and other single mails.

mod handler;
mod letters;

use handler::Desk;
use letters::Letters;
use millrace::aws::Aws;
use millrace::env;
use millrace::jobs::{Welcome, Worker};
use millrace::telemetry;
use millrace::worker::{self, handlers::Handlers};
use std::sync::Arc;
use std::time::Duration;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), lambda_runtime::Error> {
    telemetry::init();
    let aws = Aws::load().await;
    let runner = aws.runner(Worker::Email).await?;
    let desk = Arc::new(Desk {
        users: Box::new(aws.mail()?),
        ledger: Box::new(aws.mail_ledger()?),
        mailer: Box::new(aws.mailer()),
        letters: Letters::new()?,
        sender: env::required(env::MAIL_SENDER)?,
        settle: Duration::from_secs(env::parsed(env::SETTLE_SECONDS, "a whole number of seconds")?),
    });
    let welcome = move |job: Welcome, attempt| {
        let desk = desk.clone();
        async move { desk.welcome(job, attempt).await }
    };
    worker::serve(runner, Handlers::new().on::<Welcome, _, _>(welcome)).await
}
