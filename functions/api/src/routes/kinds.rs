//! The kinds of jobs there are.

use crate::app::Api;
use crate::auth::{Caller, JobsRead};
use crate::problem::{KeyProblems, ServiceProblems};
use axum::Json;
use axum::extract::State;
use millrace::jobs::public_kinds;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::sync::Arc;
use std::time::Duration;
use utoipa::ToSchema;

/// A kind of job.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct KindView {
    /// Its name.
    #[schema(example = "echo")]
    pub kind: String,
    /// The JSON Schema (2020-12) of its payload.
    #[schema(value_type = Object)]
    pub schema: Value,
    /// The ways its jobs can take: `high`, `normal` and `low` are a job's `priority`, `ordered` is for those with an
    /// `ordering_key`.
    pub lanes: Vec<String>,
    /// How often it is tried when the submitter does not say.
    pub max_attempts: u32,
    /// How long one attempt may take at most, in seconds, when the submitter does not say less.
    pub timeout_seconds: u64,
}

/// List the kinds of jobs.
#[utoipa::path(
    get, path = "/v1/kinds", operation_id = "list_kinds", tag = "jobs", security(("key" = ["jobs:read"])),
    responses((status = 200, body = Vec<KindView>), KeyProblems, ServiceProblems)
)]
pub async fn list(_: Caller<JobsRead>, State(api): State<Arc<Api>>) -> Json<Vec<KindView>> {
    let kinds = public_kinds().map(|kind| KindView {
        kind: kind.name.to_owned(),
        schema: (kind.schema)(),
        lanes: kind.worker.lanes().iter().map(|lane| lane.as_str().to_owned()).collect(),
        max_attempts: kind.max_attempts,
        timeout_seconds: kind.timeout.unwrap_or(Duration::MAX).min(api.longest_attempt).as_secs(),
    });
    Json(kinds.collect())
}
