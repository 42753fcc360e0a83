//! The operator's long jobs. Only Millrace itself submits them.

use crate::domain::backoff::Backoff;
use crate::job::Job;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// Retry the tenant's dead jobs that fit, as far as they were dead when it began.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RetryJobs {
    /// Only jobs of this kind.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
    /// Only jobs with this tag.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tag: Option<String>,
    /// Only jobs whose last error's message has this in it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error_contains: Option<String>,
    /// At most so many, the longest dead first.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<u64>,
}

impl Job for RetryJobs {
    const KIND: &'static str = "retry-jobs";
    /// An attempt goes on where the last one was, so many of them cost little.
    const MAX_ATTEMPTS: u32 = 20;
    const BACKOFF: Backoff = Backoff { base: Duration::from_secs(2), factor: 2, cap: Duration::from_secs(300) };
}
