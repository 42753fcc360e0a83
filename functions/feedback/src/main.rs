//! SQS worker: SES events, joined to the mails they speak of.

mod agent;
mod event;
mod handler;

use aws_lambda_events::event::sqs::SqsEvent;
use handler::Feedback;
use lambda_runtime::{Error, LambdaEvent, service_fn};
use millrace::aws::{Aws, dice};
use millrace::campaigns::{HitCounter, Listener};
use millrace::ports::SystemClock;
use millrace::worker::batch;
use millrace::{env, telemetry};
use std::sync::Arc;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    telemetry::init();
    batch::quiet_panics();
    let aws = Aws::load().await;
    let (mail, suppressions) = (Arc::new(aws.mail()?), Arc::new(aws.suppressions().await?));
    let feedback = Feedback {
        listener: Listener::new(mail.clone(), mail.clone(), suppressions.clone(), mail.clone(), dice),
        hits: HitCounter { campaigns: mail.clone(), ledger: mail, dice },
        ledger: Arc::new(aws.mail_ledger()?),
        suppressions,
        dead_letters: Arc::new(aws.queue(env::DEAD_LETTER_QUEUE_URL)?),
        clock: Arc::new(SystemClock),
    };
    let feedback = &feedback;
    lambda_runtime::run(service_fn(async move |event: LambdaEvent<SqsEvent>| {
        Ok::<_, Error>(feedback.batch(event.payload).await)
    }))
    .await
}
