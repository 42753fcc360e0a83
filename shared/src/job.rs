//! What a kind of job is, and what one attempt at it can come to.

use crate::domain::backoff::Backoff;
use crate::ports::PortError;
use schemars::JsonSchema;
use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;
use std::time::Duration;

/// A kind of job: its payload's type and its policy.
pub trait Job: Serialize + DeserializeOwned + JsonSchema + Send {
    /// The name in the API and on the wire, `[a-z0-9-]`. Renaming the type must not rename its jobs.
    const KIND: &'static str;
    /// Attempts when the submitter names none, 1-100.
    const MAX_ATTEMPTS: u32 = 8;
    /// Waits between attempts.
    const BACKOFF: Backoff = Backoff::SERVICE;

    /// What serde cannot say of a payload.
    ///
    /// # Errors
    /// What is wrong and what would be right, for the submitter to read.
    fn check(&self) -> Result<(), String> {
        Ok(())
    }
}

/// What one attempt comes to: a result to keep (`Value::Null` for none), or a [`Failure`].
pub type Outcome = Result<Value, Failure>;

/// Why an attempt did not succeed. Closed on purpose: the runner handles every case.
#[derive(Debug)]
pub enum Failure {
    /// Another attempt may succeed: a time-out, a broken connection. Waits by the kind's backoff.
    Retry(anyhow::Error),
    /// Another attempt may succeed after this long. Spends the attempt.
    RetryAfter(Duration, anyhow::Error),
    /// A service asks to slow down. Waits by the kind's backoff or as long as the service said, whichever is longer; spends
    /// the attempt.
    Throttled(Option<Duration>, anyhow::Error),
    /// Nothing failed; it is only too early. Comes back after this long and spends no attempt.
    Snooze(Duration),
    /// No attempt can succeed. The job is dead at once.
    Dead(anyhow::Error),
    /// Somebody wants the job cancelled, or it turned out not to be wanted. There is no other attempt.
    Cancelled,
}

/// An error that nobody classified is tried again: attempts are bounded, lost work is not.
impl<E: Into<anyhow::Error>> From<E> for Failure {
    fn from(cause: E) -> Self {
        let cause: anyhow::Error = cause.into();
        match cause.downcast_ref::<PortError>() {
            Some(PortError::Throttled(_)) => Self::Throttled(None, cause),
            _ => Self::Retry(cause),
        }
    }
}
