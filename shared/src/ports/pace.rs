use super::{PortError, Written};
use crate::domain::pace::{Cut, Grant, Line, SendRate};
use async_trait::async_trait;
use jiff::{SignedDuration, Timestamp};

/// Sending rates shared by all workers.
#[async_trait]
pub trait Pace: Send + Sync {
    /// Takes `cost` of the time of the line called `name`, to the microsecond, if it can be had by `latest`. See
    /// [`grant`](crate::domain::pace::grant), which it carries out atomically.
    async fn take(
        &self,
        name: &str,
        cost: SignedDuration,
        now: Timestamp,
        latest: Timestamp,
    ) -> Result<Grant, PortError>;
}

/// What is known of how fast a line of [`Pace`] may go.
#[async_trait]
pub trait SendLine: Send + Sync {
    /// Reads a line. It may be behind by a second; one that nobody used is empty.
    async fn line(&self, name: &str) -> Result<Line, PortError>;

    /// Cuts a line's rate. `Stale` when another cut than `before` is the last one by now.
    async fn cut(&self, name: &str, before: Option<Cut>, cut: Cut) -> Result<Written, PortError>;

    /// Notes what SES allows.
    async fn allow(&self, name: &str, ceiling: SendRate) -> Result<(), PortError>;

    /// Notes that the Send event of a mail sent at `at` has come; the latest stays.
    async fn heard(&self, name: &str, at: Timestamp) -> Result<(), PortError>;
}
