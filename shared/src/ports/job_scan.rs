use super::PortError;
use crate::domain::job::Job;
use async_trait::async_trait;

/// A job that is not over, as it lies in the table.
#[derive(Debug)]
pub struct ScannedJob {
    /// Its id, as the table has it.
    pub id: String,
    /// The job, or why its item cannot be read as one.
    pub job: Result<Box<Job>, PortError>,
}

/// A part of the table.
#[derive(Debug, Default)]
pub struct ScanPage {
    /// The jobs in it that are not over: scheduled, queued, running or dead.
    pub jobs: Vec<ScannedJob>,
    /// Items that were looked at, whatever they are.
    pub looked_at: u64,
    /// Read capacity units that it took.
    pub units: f64,
    /// Where the segment goes on; `None` at its end.
    pub next: Option<String>,
}

/// The whole table of jobs, for looking through it.
#[async_trait]
pub trait JobScan: Send + Sync {
    /// Reads the next page of a segment (`segment < of`, from 0) of the table; segments may be read at the same time. It may show
    /// a job as it was a moment ago.
    async fn scan(&self, segment: u32, of: u32, from: Option<&str>) -> Result<ScanPage, PortError>;
}
