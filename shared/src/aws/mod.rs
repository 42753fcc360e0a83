//! All effects: one adapter for each port. The only place that names the AWS SDK.

mod account;
mod batch_get;
mod blobs;
mod bus;
mod campaign_list;
mod campaigns;
mod changes;
mod checkpoints;
mod chunks;
mod counters;
mod dead_jobs;
mod dead_letters;
mod depths;
mod due;
mod enrolments;
mod files;
mod groups;
mod hits;
mod identities;
mod item;
mod job_scan;
mod jobs;
mod jobs_update;
mod keys;
mod limits;
mod mail;
mod mail_items;
mod mail_table;
mod pace;
mod people;
mod queue;
mod schedules;
mod sign_ups;
mod stream;
mod suppressions;
mod webhook_secrets;

pub use account::SesAccount;
pub use blobs::S3Blobs;
pub use bus::EventBridge;
pub use checkpoints::DynamoCheckpoints;
pub use counters::DynamoCounters;
pub use dead_letters::SqsDeadLetters;
pub use depths::SqsDepths;
pub use groups::DynamoGroups;
pub use jobs::DynamoJobs;
pub use keys::{CreateKeyError, Keys, random_hash_key, random_token_key};
pub use limits::DynamoLimits;
pub use mail::{ConfigurationSets, DynamoMailLedger, SesMailer};
pub use mail_table::DynamoMail;
pub use queue::SqsQueue;
pub use schedules::DynamoSchedules;
pub use sign_ups::DynamoThrottle;
pub use stream::StreamEvent;
pub use suppressions::DynamoSuppressions;
pub use webhook_secrets::random_secret;

use crate::domain::keyed_hash::HashKey;
use crate::domain::lane::Lane;
use crate::env::{self, EnvError};
use crate::jobs::Worker;
use crate::ports::{HashKeys as _, PortError, Queue, SystemClock};
use crate::queues::{JobQueues, OwnQueues};
use crate::worker::limits::Limiter;
use crate::worker::runner::Runner;
use aws_config::{AppName, BehaviorVersion, SdkConfig};
use aws_sdk_dynamodb::error::SdkError;
use aws_smithy_http_client::tls;
use aws_smithy_types::error::metadata::ProvideErrorMetadata;
use aws_smithy_types::retry::RetryConfig;
use aws_smithy_types::timeout::TimeoutConfig;
use std::error::Error as StdError;
use std::sync::Arc;
use std::time::Duration;

/// The configuration and the clients of one process. Build it once, in `main`.
#[derive(Clone)]
pub struct Aws {
    config: SdkConfig,
    dynamodb: aws_sdk_dynamodb::Client,
}

impl Aws {
    /// Reads region, credentials and endpoints as the SDK does, from the environment.
    pub async fn load() -> Self {
        let http = aws_smithy_http_client::Builder::new()
            .tls_provider(tls::Provider::Rustls(tls::rustls_provider::CryptoMode::Ring))
            .build_https();
        // A hung connection must not eat a whole Lambda invocation: each try is bounded.
        let timeouts = TimeoutConfig::builder()
            .connect_timeout(Duration::from_secs(3))
            .operation_attempt_timeout(Duration::from_secs(10))
            .build();
        // In the user agent, so that every call is told from whom it is: CloudTrail keeps it.
        let name = env::optional(env::FUNCTION_NAME).and_then(|name| AppName::new(name).ok());
        let mut loader = aws_config::defaults(BehaviorVersion::latest())
            .http_client(http)
            .retry_config(RetryConfig::standard().with_max_attempts(4))
            .timeout_config(timeouts);
        if let Some(name) = name {
            loader = loader.app_name(name);
        }
        let config = loader.load().await;
        let dynamodb = aws_sdk_dynamodb::Client::new(&config);
        Self { config, dynamodb }
    }

    /// What the clients are built from.
    #[must_use]
    pub fn config(&self) -> &SdkConfig {
        &self.config
    }

    /// The DynamoDB client.
    #[must_use]
    pub fn dynamodb(&self) -> aws_sdk_dynamodb::Client {
        self.dynamodb.clone()
    }

    /// The table of jobs, named by `JOBS_TABLE`.
    ///
    /// # Errors
    /// When the environment does not name it.
    pub fn jobs(&self) -> Result<DynamoJobs, EnvError> {
        Ok(DynamoJobs::new(self.dynamodb(), env::required(env::JOBS_TABLE)?))
    }

    /// The schedules of recurring jobs, in the table named by `JOBS_TABLE`.
    ///
    /// # Errors
    /// When the environment does not name it.
    pub fn schedules(&self) -> Result<DynamoSchedules, EnvError> {
        Ok(DynamoSchedules::new(self.dynamodb(), env::required(env::JOBS_TABLE)?))
    }

    /// The checkpoints of long jobs, in the table named by `JOBS_TABLE`.
    ///
    /// # Errors
    /// When the environment does not name it.
    pub fn checkpoints(&self) -> Result<DynamoCheckpoints, EnvError> {
        Ok(DynamoCheckpoints::new(self.dynamodb(), env::required(env::JOBS_TABLE)?))
    }

    /// The limits, in the table named by `JOBS_TABLE`.
    ///
    /// # Errors
    /// When the environment does not name it.
    pub fn limits(&self) -> Result<DynamoLimits, EnvError> {
        Ok(DynamoLimits::new(self.dynamodb(), env::required(env::JOBS_TABLE)?))
    }

    /// The table of keys, named by `KEYS_TABLE`.
    ///
    /// # Errors
    /// When the environment does not name it.
    pub fn keys(&self) -> Result<Keys, EnvError> {
        Ok(Keys::new(self.dynamodb(), env::required(env::KEYS_TABLE)?))
    }

    /// The bucket, named by `BUCKET`.
    ///
    /// # Errors
    /// When the environment does not name it.
    pub fn blobs(&self) -> Result<S3Blobs, EnvError> {
        Ok(self.bucket(env::required(env::BUCKET)?))
    }

    /// The bucket of this name.
    #[must_use]
    pub fn bucket(&self, name: String) -> S3Blobs {
        S3Blobs::new(aws_sdk_s3::Client::new(&self.config), name)
    }

    /// The queue whose URL the variable `name` holds.
    ///
    /// # Errors
    /// When the variable is not set.
    pub fn queue(&self, name: &'static str) -> Result<SqsQueue, EnvError> {
        Ok(SqsQueue::new(aws_sdk_sqs::Client::new(&self.config), env::required(name)?))
    }

    /// The queue at this URL.
    #[must_use]
    pub fn queue_at(&self, url: String) -> SqsQueue {
        SqsQueue::new(aws_sdk_sqs::Client::new(&self.config), url)
    }

    /// The dead-letter queues of a stack, with their URLs.
    ///
    /// # Errors
    /// When SQS cannot be asked.
    pub async fn dead_letters(&self, stack: &str) -> Result<Vec<(String, SqsDeadLetters)>, PortError> {
        SqsDeadLetters::of_stack(&aws_sdk_sqs::Client::new(&self.config), stack).await
    }

    /// Opens job queues by the names after the stack's.
    fn open_job_queue(&self) -> Result<impl Fn(&str) -> SqsQueue, EnvError> {
        let (client, prefix) = (aws_sdk_sqs::Client::new(&self.config), env::required(env::JOB_QUEUES)?);
        Ok(move |name: &str| SqsQueue::new(client.clone(), format!("{prefix}{name}")))
    }

    /// The queues of the workers' lanes.
    ///
    /// # Errors
    /// When the environment does not name them.
    pub fn job_queues(&self) -> Result<JobQueues, EnvError> {
        let open = self.open_job_queue()?;
        Ok(JobQueues::open(|name| Arc::new(open(name))))
    }

    /// All that a worker of jobs needs. Opens its connections while Lambda gives a starting function its full share of CPU:
    /// the first TLS handshakes cost more than the jobs.
    ///
    /// # Errors
    /// When the environment is not complete.
    pub async fn runner(&self, worker: Worker) -> Result<Runner, EnvError> {
        let (jobs, open) = (self.jobs()?, self.open_job_queue()?);
        let normal = open(&worker.queue(Lane::Normal));
        tokio::join!(jobs.warm(), normal.warm());
        Ok(Runner {
            jobs: Arc::new(jobs),
            blobs: Arc::new(self.blobs()?),
            queues: OwnQueues::open(worker, |name| Arc::new(open(name)) as Arc<dyn Queue>),
            limiter: Arc::new(Limiter::new(Arc::new(self.limits()?))),
            clock: Arc::new(SystemClock),
            dice,
        })
    }

    /// SES, with the configuration sets named by `MAIL_CONFIGURATION_SET` and, for tracked mails, `MAIL_TRACKED_CONFIGURATION_SET`.
    /// It never repeats a request.
    #[must_use]
    pub fn mailer(&self) -> SesMailer {
        let config = aws_sdk_sesv2::config::Builder::from(&self.config)
            .retry_config(RetryConfig::disabled())
            .timeout_config(
                TimeoutConfig::builder()
                    .connect_timeout(Duration::from_secs(3))
                    .operation_timeout(SesMailer::TIMEOUT)
                    .build(),
            )
            .build();
        let sets = ConfigurationSets {
            plain: env::optional(env::MAIL_CONFIGURATION_SET),
            tracked: env::optional(env::MAIL_TRACKED_CONFIGURATION_SET),
        };
        SesMailer::new(aws_sdk_sesv2::Client::from_conf(config), sets)
    }

    /// The pages of counts, in the table named by `OUTBOX_TABLE`.
    ///
    /// # Errors
    /// When the environment does not name it.
    pub fn counters(&self) -> Result<DynamoCounters, EnvError> {
        Ok(DynamoCounters::new(self.dynamodb(), env::required(env::OUTBOX_TABLE)?))
    }

    /// The groups of jobs, in the table named by `OUTBOX_TABLE`.
    ///
    /// # Errors
    /// When the environment does not name it.
    pub fn groups(&self) -> Result<DynamoGroups, EnvError> {
        Ok(DynamoGroups::new(self.dynamodb(), env::required(env::OUTBOX_TABLE)?))
    }

    /// The depths of the queues whose URLs begin as `JOB_QUEUES` says.
    ///
    /// # Errors
    /// When the environment does not say it.
    pub fn depths(&self) -> Result<SqsDepths, EnvError> {
        Ok(SqsDepths::new(aws_sdk_sqs::Client::new(&self.config), env::required(env::JOB_QUEUES)?))
    }

    /// The bus named by `EVENT_BUS`. `None` when nobody is to be told.
    #[must_use]
    pub fn bus(&self) -> Option<EventBridge> {
        let bus = env::optional(env::EVENT_BUS)?;
        Some(EventBridge::new(aws_sdk_eventbridge::Client::new(&self.config), bus))
    }

    /// What SES says of the account and its senders.
    #[must_use]
    pub fn account(&self) -> SesAccount {
        SesAccount::new(aws_sdk_sesv2::Client::new(&self.config))
    }

    /// Users, newsletters, subscribers and campaigns, in the table named by `MAIL_TABLE`.
    ///
    /// # Errors
    /// When the environment does not name it.
    pub fn mail(&self) -> Result<DynamoMail, EnvError> {
        Ok(DynamoMail::new(self.dynamodb(), env::required(env::MAIL_TABLE)?))
    }

    /// The ledger of single mails, in the table named by `MAIL_TABLE`.
    ///
    /// # Errors
    /// When the environment does not name it.
    pub fn mail_ledger(&self) -> Result<DynamoMailLedger, EnvError> {
        Ok(DynamoMailLedger::new(self.dynamodb(), env::required(env::MAIL_TABLE)?))
    }
}

impl Aws {
    /// The key of keyed hashes, in the table named by `KEYS_TABLE`. The first caller ever makes it.
    ///
    /// # Errors
    /// When the environment does not name the table, or the table is not to be had.
    pub async fn hash_key(&self) -> anyhow::Result<HashKey> {
        Ok(self.keys()?.ensure_hash_key(&random_hash_key()?).await?)
    }

    /// The limits of what people may ask for, in the table named by `MAIL_TABLE`, with the key in the one named by
    /// `KEYS_TABLE`.
    ///
    /// # Errors
    /// When the environment does not name the tables, or the key is not to be had.
    pub async fn throttle(&self) -> anyhow::Result<DynamoThrottle> {
        let table = env::required(env::MAIL_TABLE)?;
        Ok(DynamoThrottle::new(self.dynamodb(), table, self.hash_key().await?))
    }

    /// The suppressed addresses, in the table named by `MAIL_TABLE`, with the key in the one named by `KEYS_TABLE`.
    ///
    /// # Errors
    /// When the environment does not name the tables, or the key is not to be had.
    pub async fn suppressions(&self) -> anyhow::Result<DynamoSuppressions> {
        let table = env::required(env::MAIL_TABLE)?;
        Ok(DynamoSuppressions::new(self.dynamodb(), table, self.hash_key().await?))
    }
}

/// A number from 0 to 1, for jitter.
#[must_use]
pub fn dice() -> f64 {
    let mut bytes = [0; 4];
    // Without randomness there is no jitter, which is no reason to fail.
    let _ = getrandom::fill(&mut bytes);
    f64::from(u32::from_le_bytes(bytes)) / f64::from(u32::MAX)
}

/// Sorts an SDK error into the classes that callers act on.
pub(crate) fn port_error<E, R>(error: SdkError<E, R>) -> PortError
where
    E: StdError + ProvideErrorMetadata + Send + Sync + 'static,
    R: std::fmt::Debug + Send + Sync + 'static,
{
    let code = error.as_service_error().and_then(|service| service.code()).map(str::to_owned);
    let class = match (&error, code.as_deref()) {
        (SdkError::ServiceError(_), Some(code)) => match code {
            "ProvisionedThroughputExceededException"
            | "RequestLimitExceeded"
            | "ThrottlingException"
            | "Throttling"
            | "RequestThrottled"
            | "TooManyRequestsException"
            | "SlowDown"
            | "OverLimit" => PortError::Throttled as fn(anyhow::Error) -> PortError,
            "InternalServerError"
            | "InternalFailure"
            | "InternalError"
            | "ServiceUnavailable"
            | "TransactionInProgressException"
            | "TransactionConflictException"
            | "ConditionalRequestConflict"
            | "RequestTimeout" => PortError::Unavailable,
            _ => PortError::Refused,
        },
        (SdkError::ConstructionFailure(_), _) => PortError::Refused,
        _ => PortError::Unavailable,
    };
    // The code, never the request: a request holds personal data.
    class(match code {
        Some(code) => anyhow::anyhow!("{code}"),
        None => anyhow::Error::new(error).context("no answer from the service"),
    })
}
