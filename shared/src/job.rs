//! What a kind of job is, and what one attempt at it can come to.

use crate::domain::backoff::Backoff;
use crate::domain::rate::Rate;
use crate::ports::PortError;
use schemars::JsonSchema;
use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;
use std::time::Duration;

/// A kind of job: its payload's type and its policy.
///
/// A payload has no version of its own. It is stored, and it may be read by a later build a year after it was written, so a
/// type only grows: a new field has a serde default, a renamed one an `alias`, and what an old value means is said by the
/// type's own `Deserialize`. `millrace preflight` reads all that waits with the new build before it is deployed.
pub trait Job: Serialize + DeserializeOwned + JsonSchema + Send {
    /// The name in the API and on the wire, `[a-z0-9-]`. Renaming the type must not rename its jobs.
    const KIND: &'static str;
    /// Names that the kind had before. Jobs of these names are still accepted, read and run.
    const ALIASES: &'static [&'static str] = &[];
    /// Attempts when the submitter names none, 1-100.
    const MAX_ATTEMPTS: u32 = 8;
    /// Waits between attempts.
    const BACKOFF: Backoff = Backoff::SERVICE;
    /// Longest one attempt may take, when that is less than the worker's own time. A submitter may say less.
    const TIMEOUT: Option<Duration> = None;
    /// How many jobs of the kind may start, until the operator sets another limit.
    const RATE: Option<Rate> = None;
    /// How many jobs of the kind may start for each tenant, until the operator sets another limit.
    const TENANT_RATE: Option<Rate> = None;

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_nobody_classified_is_tried_again() {
        let failure = |cause: Result<(), anyhow::Error>| cause.map_err(Failure::from).unwrap_err();
        assert!(matches!(failure(Err(anyhow::anyhow!("whatever"))), Failure::Retry(_)));
        let refused = PortError::Refused(anyhow::anyhow!("no"));
        assert!(matches!(Failure::from(refused), Failure::Retry(_)));
        let throttled = PortError::Throttled(anyhow::anyhow!("slow down"));
        assert!(matches!(Failure::from(throttled), Failure::Throttled(None, _)));
        let wrapped = anyhow::Error::new(PortError::Throttled(anyhow::anyhow!("slow down"))).context("the table");
        assert!(matches!(failure(Err(wrapped)), Failure::Throttled(None, _)), "also with a context around it");
    }
}
