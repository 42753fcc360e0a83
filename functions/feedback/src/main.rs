//! SQS worker: SES events, joined to the mails they speak of.

mod handler;

use aws_lambda_events::event::sqs::{SqsEvent, SqsMessage};
use handler::Read;
use jiff::Timestamp;
use lambda_runtime::{Error, LambdaEvent, service_fn};
use millrace::aws::Aws;
use millrace::env;
use millrace::telemetry;
use millrace::worker::batch::{self, Verdict, park};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    telemetry::init();
    batch::quiet_panics();
    let aws = Aws::load().await;
    let (ledger, chunks, dead_letters) = (aws.mail_ledger()?, aws.mail()?, aws.queue(env::DEAD_LETTER_QUEUE_URL)?);
    let one = async |record: &SqsMessage| {
        let body = record.body.as_deref().unwrap_or_default();
        match handler::handle(&ledger, &chunks, body, Timestamp::now()).await {
            Ok(Read::Done) => Verdict::Acknowledge,
            Ok(Read::Unreadable) => park(&dead_letters, record, "not an SES event").await,
            Err(error) => {
                tracing::warn!(message_id = record.message_id, "an event could not be noted: {error}");
                Verdict::Keep
            }
        }
    };
    let one = &one;
    lambda_runtime::run(service_fn(move |event: LambdaEvent<SqsEvent>| async move {
        let events = event.payload.records.len();
        let response = batch::run(event.payload, one).await;
        tracing::info!(events, kept = response.batch_item_failures.len(), "events");
        Ok::<_, Error>(response)
    }))
    .await
}
