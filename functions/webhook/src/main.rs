//! SQS worker for the kind `webhook`: signed calls to customers' endpoints.

mod handler;
mod http;
mod secrets;

use anyhow::anyhow;
use handler::Webhooks;
use millrace::aws::{Aws, random_secret};
use millrace::jobs::{Webhook, Worker};
use millrace::worker::{self, handlers::Handlers};
use millrace::{env, telemetry};
use secrets::SecretBox;
use std::sync::Arc;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), lambda_runtime::Error> {
    telemetry::init();
    // The same TLS as the SDK's.
    rustls::crypto::ring::default_provider().install_default().map_err(|_| anyhow!("TLS was already chosen"))?;
    let aws = Aws::load().await;
    let reach = env::webhook_reach();
    let webhooks = Arc::new(Webhooks {
        caller: Box::new(http::Http::new(reach)?),
        secrets: SecretBox::new(Arc::new(aws.keys()?), random_secret),
        reach,
    });
    let handle = move |job, attempt| {
        let webhooks = Arc::clone(&webhooks);
        async move { webhooks.handle(job, attempt).await }
    };
    let runner = aws.runner(Worker::Webhook).await?;
    worker::serve(runner, Handlers::new().on::<Webhook, _, _>(handle)).await
}
