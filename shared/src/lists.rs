//! Lists of subscribers as CSV files: long jobs that read and write them in pieces, and go on where they were cut off.

mod export;
mod import;
mod lines;

pub use export::Exporter;
pub use import::{Importer, upload_key};

use crate::job::Failure;
use crate::ports::{Checkpoints, PortError};
use crate::worker::handlers::Attempt;
use jiff::SignedDuration;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::time::Duration;

/// What comes of a slice of a long job.
enum Slice {
    /// Its time is over; another one goes on from the checkpoint.
    Paused,
    /// All is done.
    Ended,
}

/// Kept of an attempt's time for putting down how far it came: so much, or a third when it is short.
const CLOSING: SignedDuration = SignedDuration::from_secs(5);
/// A checkpoint at least so often, however much time there is.
const CHECKPOINT: SignedDuration = SignedDuration::from_secs(10);

/// How long to wait before each further try of something that is away for a moment.
const WAITS: [Duration; 3] = [Duration::from_millis(200), Duration::from_secs(1), Duration::from_secs(3)];

/// Does something that may be done again, until it is no longer refused for the moment: a long list meets some of that, and the
/// job's attempts are for worse.
async fn patiently<T, F: Future<Output = Result<T, PortError>>>(mut call: impl FnMut() -> F) -> Result<T, PortError> {
    for wait in WAITS {
        match call().await {
            Err(error) if error.is_transient() => tokio::time::sleep(wait).await,
            done => return done,
        }
    }
    call().await
}

async fn load<T: DeserializeOwned>(checkpoints: &dyn Checkpoints, attempt: &Attempt) -> Result<Option<T>, PortError> {
    let state = checkpoints.load(&attempt.id).await?;
    state.map(serde_json::from_value).transpose().map_err(|error| PortError::Corrupt(error.into()))
}

async fn save<T: Serialize>(checkpoints: &dyn Checkpoints, attempt: &Attempt, state: &T) -> Result<(), Failure> {
    let state = serde_json::to_value(state)?;
    if checkpoints.save(&attempt.id, attempt.fence, &state, attempt.now()).await? {
        Ok(())
    } else {
        Err(Failure::Retry(anyhow::anyhow!("the lease was lost: another worker has the job")))
    }
}

/// Whether a slice that began at `began` has time for more.
fn has_time(attempt: &Attempt, began: jiff::Timestamp) -> bool {
    let whole = attempt.deadline.duration_since(began);
    attempt.deadline.duration_since(attempt.now()) > CLOSING.min(whole / 3)
}

#[cfg(test)]
mod million_tests;
#[cfg(test)]
mod tests;
