//! HTTP API: validates, records, enqueues, answers.

use api::app::{Api, TokenBox, app};
use api::auth::KeyRing;
use api::gateway;
use api::routes::stats::Depths;
use millrace::accept::Intake;
use millrace::aws::{Aws, random_token_key};
use millrace::env;
use millrace::ports::SystemClock;
use millrace::telemetry;
use millrace::worker::RESERVE;
use millrace::worker::batch::quiet_panics;
use std::sync::Arc;
use std::time::Duration;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), lambda_runtime::Error> {
    telemetry::init();
    quiet_panics();
    let aws = Aws::load().await;
    let (jobs, mail, keys) = (Arc::new(aws.jobs()?), Arc::new(aws.mail()?), Arc::new(aws.keys()?));
    let (blobs, run) = (Arc::new(aws.blobs()?), Arc::new(aws.queue(env::NEWSLETTER_RUN_QUEUE_URL)?));
    let queues = aws.job_queues()?;
    let account = Arc::new(aws.account());
    let tokens = TokenBox::new(keys.clone(), random_token_key()?);
    let (suppressions, throttle) = (Arc::new(aws.suppressions().await?), Arc::new(aws.throttle().await?));
    // Lambda gives a starting function its full share of CPU, and the first TLS handshakes cost more than a request.
    let _ = tokio::join!(tokens.get(), jobs.warm(), run.warm());

    let api = Api {
        files: blobs.clone(),
        intake: Intake { jobs, blobs, queues },
        schedules: Arc::new(aws.schedules()?),
        groups: Arc::new(aws.groups()?),
        counters: Arc::new(aws.counters()?),
        depths: Depths::new(Arc::new(aws.depths()?)),
        users: mail.clone(),
        newsletters: mail.clone(),
        subscribers: mail.clone(),
        sign_ups: mail.clone(),
        throttle,
        suppressions,
        campaigns: mail.clone(),
        chunks: mail.clone(),
        hits: mail.clone(),
        campaign_list: mail,
        account: account.clone(),
        identities: account,
        public_url: env::required(env::PUBLIC_URL)?,
        run,
        keys: KeyRing::new(keys).with_tokens(env::optional(env::JWT_TENANT_CLAIM)),
        tokens,
        reach: env::webhook_reach(),
        longest_attempt: Duration::from_secs(env::parsed(env::WORKER_TIMEOUT, "a whole number of seconds")?)
            .saturating_sub(RESERVE),
        clock: Arc::new(SystemClock),
    };
    lambda_runtime::run(gateway::service(app(Arc::new(api)))).await
}
