//! SQS worker: sends one chunk of a campaign.

mod handler;
mod plan;
mod record;
mod send;

use aws_lambda_events::event::sqs::{SqsEvent, SqsMessage};
use handler::{Sender, Settings};
use jiff::{SignedDuration, Timestamp};
use lambda_runtime::{Error, LambdaEvent, service_fn};
use millrace::aws::{Aws, dice, random_token_key};
use millrace::domain::token::Tokens;
use millrace::letters::Letters;
use millrace::ports::{SystemClock, TokenKeys};
use millrace::worker::batch;
use millrace::{env, telemetry, worker};
use std::sync::Arc;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    telemetry::init();
    batch::quiet_panics();
    let aws = Aws::load().await;
    let mail = Arc::new(aws.mail()?);
    let keys = aws.keys()?.ensure(&random_token_key()?).await?;
    let sender = Sender {
        campaigns: mail.clone(),
        chunks: mail.clone(),
        subscribers: mail.clone(),
        suppressions: Arc::new(aws.suppressions().await?),
        pace: mail.clone(),
        line: mail.clone(),
        mailer: Arc::new(aws.mailer()),
        letters: Letters::new(Arc::new(aws.blobs()?)),
        tokens: Tokens::new(keys),
        queue: Arc::new(aws.queue(env::NEWSLETTER_QUEUE_URL)?),
        dead_letters: Arc::new(aws.queue(env::DEAD_LETTER_QUEUE_URL)?),
        clock: Arc::new(SystemClock),
        dice,
        settings: Settings {
            limit: env::send_rate()?,
            settle: SignedDuration::from_secs(env::parsed(env::SETTLE_SECONDS, "a whole number of seconds")?),
            public_url: env::required(env::PUBLIC_URL)?,
        },
    };
    let sender = &sender;
    lambda_runtime::run(service_fn(async move |event: LambdaEvent<SqsEvent>| {
        let deadline = worker::deadline(&event.context, Timestamp::now());
        let one = async |record: &SqsMessage| sender.run(record, deadline).await;
        Ok::<_, Error>(batch::run(event.payload, one).await)
    }))
    .await
}

#[cfg(test)]
mod crowd;
#[cfg(test)]
mod fake_ses;
#[cfg(test)]
mod million_tests;
#[cfg(test)]
mod simulation;
#[cfg(test)]
mod windows;
#[cfg(test)]
mod world;
