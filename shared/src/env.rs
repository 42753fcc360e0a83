//! Every environment variable, and the only reader of them.

use crate::domain::pace::SendRate;
use crate::domain::target::Reach;
use std::fmt;
use std::str::FromStr;

/// Table of jobs.
pub const JOBS_TABLE: &str = "JOBS_TABLE";
/// Table of users, newsletters, subscribers, campaigns, and the ledgers of their mail.
pub const MAIL_TABLE: &str = "MAIL_TABLE";
/// Table of API keys and token-signing keys.
pub const KEYS_TABLE: &str = "KEYS_TABLE";
/// Table of what the outbox keeps: counts, and the groups of jobs.
pub const OUTBOX_TABLE: &str = "OUTBOX_TABLE";
/// EventBridge bus that is told what happens to jobs. Empty: nobody is told.
pub const EVENT_BUS: &str = "EVENT_BUS";
/// `true`: customers' endpoints may be on the loopback interface, and without TLS. Only for work on one's own machine.
pub const WEBHOOK_ALLOW_LOCAL: &str = "WEBHOOK_ALLOW_LOCAL";
/// Bucket of payloads, results and letters.
pub const BUCKET: &str = "BUCKET";
/// What the URL of each job queue begins with, up to and including the hyphen after the stack's name. The worker's name and the
/// lane follow: `...-email`, `...-email-high`.
pub const JOB_QUEUES: &str = "JOB_QUEUES";
/// URL of the queue of newsletter chunks.
pub const NEWSLETTER_QUEUE_URL: &str = "NEWSLETTER_QUEUE_URL";
/// URL of the queue of campaigns to be looked at.
pub const NEWSLETTER_RUN_QUEUE_URL: &str = "NEWSLETTER_RUN_QUEUE_URL";
/// URL of the function's own dead-letter queue, unless its lanes name it: for messages that nobody can read.
pub const DEAD_LETTER_QUEUE_URL: &str = "DEAD_LETTER_QUEUE_URL";
/// Base of the links in mails, without a slash at its end.
pub const PUBLIC_URL: &str = "PUBLIC_URL";
/// From header of single mails: an address or `Name <address>`, verified with SES.
pub const MAIL_SENDER: &str = "MAIL_SENDER";
/// SES configuration set of all mail that is not tracked. Empty: none, and then no events arrive.
pub const MAIL_CONFIGURATION_SET: &str = "MAIL_CONFIGURATION_SET";
/// SES configuration set of the mails whose opens and clicks are tracked. Empty: that of the others, and nothing is tracked.
pub const MAIL_TRACKED_CONFIGURATION_SET: &str = "MAIL_TRACKED_CONFIGURATION_SET";
/// Newsletter mails per second over all campaigns, at most; 0 is as many as SES allows, less the part that is kept for
/// single mails.
pub const SEND_RATE: &str = "SEND_RATE";
/// Seconds to wait for SES's Send event before a mail of unknown outcome is sent once more.
pub const SETTLE_SECONDS: &str = "SETTLE_SECONDS";
/// Seconds a queue worker has for one batch, a whole number.
pub const WORKER_TIMEOUT: &str = "WORKER_TIMEOUT";
/// The function's name, set by Lambda.
pub const FUNCTION_NAME: &str = "AWS_LAMBDA_FUNCTION_NAME";
/// Claim of an identity provider's token that names the tenant. Empty: only API keys open the API.
pub const JWT_TENANT_CLAIM: &str = "JWT_TENANT_CLAIM";
/// The stack's name, under which metrics are counted. Empty: none are written.
pub const STACK: &str = "STACK";
/// `error`, `warn`, `info` (default), `debug` or `trace`.
pub const LOG_LEVEL: &str = "LOG_LEVEL";

/// The X-Ray header of the invocation, which the Lambda runtime keeps in the environment.
#[must_use]
pub fn invocation_trace() -> Option<String> {
    optional("_X_AMZN_TRACE_ID")
}

/// The environment is not as the function needs it.
#[derive(Clone, PartialEq, Eq, thiserror::Error)]
pub enum EnvError {
    /// The variable is not set, or is empty.
    #[error(
        "environment variable {0} is not set: infra/functions.json names it for each function that needs it; on your own \
         machine, run `make up`, then `set -a; . .millrace/local.env` in this shell"
    )]
    Missing(&'static str),
    /// The variable is set to something else than it should be.
    #[error("environment variable {0} is not {1}")]
    Invalid(&'static str, &'static str),
}

/// What `main` prints of the error that ends it: its words.
impl fmt::Debug for EnvError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The variable's value, if it is set and not empty.
#[must_use]
pub fn optional(name: &'static str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

/// The variable's value.
///
/// # Errors
/// [`EnvError::Missing`] when it is not set or empty.
pub fn required(name: &'static str) -> Result<String, EnvError> {
    optional(name).ok_or(EnvError::Missing(name))
}

/// The variable's value as a `T`; `what` says in words what it should be.
///
/// # Errors
/// When it is not set, or does not parse.
pub fn parsed<T: FromStr>(name: &'static str, what: &'static str) -> Result<T, EnvError> {
    required(name)?.parse().map_err(|_| EnvError::Invalid(name, what))
}

/// [`SEND_RATE`]; `None` when it is 0.
///
/// # Errors
/// When it is not set, or neither 0 nor a rate.
pub fn send_rate() -> Result<Option<SendRate>, EnvError> {
    const WHAT: &str = "0 or a rate of 0.001 to 10000 mails a second";
    let rate: f64 = parsed(SEND_RATE, WHAT)?;
    if rate == 0.0 {
        return Ok(None);
    }
    SendRate::per_second(rate).map(Some).map_err(|_| EnvError::Invalid(SEND_RATE, WHAT))
}

/// [`WEBHOOK_ALLOW_LOCAL`] as how far calls may go.
#[must_use]
pub fn webhook_reach() -> Reach {
    match optional(WEBHOOK_ALLOW_LOCAL).as_deref() {
        Some("true") => Reach::Local,
        _ => Reach::Public,
    }
}
