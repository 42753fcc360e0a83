//! Opens campaigns that are due, freezes their audience, dispatches their chunks. Called every 15 minutes, and by hints on
//! a queue for those that shall not wait so long.

mod handler;

use aws_lambda_events::event::sqs::SqsMessage;
use handler::Runner;
use jiff::Timestamp;
use lambda_runtime::{Error, LambdaEvent, service_fn};
use millrace::aws::Aws;
use millrace::campaigns::{Dispatcher, Planner};
use millrace::domain::campaign::PAGE;
use millrace::ports::SystemClock;
use millrace::worker::{self, batch};
use millrace::{env, telemetry};
use serde_json::{Value, json};
use std::sync::Arc;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    telemetry::init();
    batch::quiet_panics();
    let aws = Aws::load().await;
    let mail = Arc::new(aws.mail()?);
    mail.warm().await;
    let clock = Arc::new(SystemClock);
    let runner = Runner {
        planner: Planner {
            campaigns: mail.clone(),
            chunks: mail.clone(),
            subscribers: mail.clone(),
            clock: clock.clone(),
            page: PAGE,
        },
        dispatcher: Dispatcher {
            campaigns: mail.clone(),
            chunks: mail.clone(),
            line: mail,
            queue: Arc::new(aws.queue(env::NEWSLETTER_QUEUE_URL)?),
            limit: env::send_rate()?,
        },
        account: Arc::new(aws.account()),
        queue: Arc::new(aws.queue(env::NEWSLETTER_RUN_QUEUE_URL)?),
        dead_letters: Arc::new(aws.queue(env::DEAD_LETTER_QUEUE_URL)?),
        clock,
    };
    let runner = &runner;
    lambda_runtime::run(service_fn(async move |event: LambdaEvent<Value>| {
        let deadline = worker::deadline(&event.context, Timestamp::now());
        // Hints come as an SQS batch. What the schedule sends is not read: a tick takes no input.
        let Some(hints) = handler::hints(&event.payload)? else {
            return Ok::<_, Error>(json!(runner.tick(deadline).await));
        };
        let one = async |record: &SqsMessage| runner.hint(record, deadline).await;
        let response = batch::run(hints, one).await;
        runner.dispatch().await;
        Ok(json!(response))
    }))
    .await
}
