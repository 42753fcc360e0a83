//! What a job uses of AWS.

use serde::{Deserialize, Serialize};

/// Requests and units of one job, on the average of a path.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Usage {
    /// Requests of the HTTP API.
    pub(crate) api_requests: f64,
    /// Invocations of functions.
    pub(crate) lambda_requests: f64,
    /// Requests of SQS, Lambda's own polling of a queue with work in it included.
    pub(crate) sqs_requests: f64,
    /// Write units of DynamoDB, those of indexes included.
    pub(crate) write_units: f64,
    /// Read units of DynamoDB.
    pub(crate) read_units: f64,
    /// Requests of S3.
    pub(crate) s3_requests: f64,
}

impl Usage {
    /// The names and values, in the order of a table.
    pub(crate) fn fields(&self) -> [(&'static str, f64); 6] {
        [
            ("API", self.api_requests),
            ("Lambda", self.lambda_requests),
            ("SQS", self.sqs_requests),
            ("write units", self.write_units),
            ("read units", self.read_units),
            ("S3", self.s3_requests),
        ]
    }

    /// One job's part of what `jobs` of them used.
    pub(crate) fn divided(&self, jobs: f64) -> Self {
        Self {
            api_requests: self.api_requests / jobs,
            lambda_requests: self.lambda_requests / jobs,
            sqs_requests: self.sqs_requests / jobs,
            write_units: self.write_units / jobs,
            read_units: self.read_units / jobs,
            s3_requests: self.s3_requests / jobs,
        }
    }
}
