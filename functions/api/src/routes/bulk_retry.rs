//! Retrying many dead jobs.

use crate::app::Api;
use crate::auth::{Caller, JobsWrite};
use crate::extract::Body;
use crate::problem::{Answer, BodyProblems, Fault, KeyProblems, Problem, ServiceProblems};
use crate::routes::job_view::JobView;
use crate::routes::jobs::{answer, check_line, idempotency_key, job_id};
use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::Response;
use millrace::accept::{self, NewJob};
use millrace::domain::job::JobError;
use millrace::domain::lane::Priority;
use millrace::job::Job as _;
use millrace::jobs::{RetryJobs, kind};
use serde::Deserialize;
use serde_json::json;
use std::sync::Arc;
use utoipa::ToSchema;

/// Most jobs that one bulk retry may be asked for.
const MOST: u64 = 1_000_000;

/// The state of jobs that are retried in bulk.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RetriedState {
    /// They will not be tried again by themselves.
    Dead,
}

/// Which jobs are to be tried again.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, expecting = "an object")]
#[schema(example = json!({"state": "dead", "kind": "echo", "error_contains": "connection refused"}))]
pub struct BulkRetryRequest {
    /// `dead`.
    #[schema(value_type = String, example = "dead")]
    #[allow(dead_code, reason = "there is one state; saying it keeps the request plain")]
    state: RetriedState,
    /// Only jobs of this kind.
    #[serde(default)]
    kind: Option<String>,
    /// Only jobs with this tag.
    #[serde(default)]
    #[schema(min_length = 1, max_length = 64)]
    tag: Option<String>,
    /// Only jobs whose last error's message has this in it.
    #[serde(default)]
    #[schema(min_length = 1, max_length = 300)]
    error_contains: Option<String>,
    /// At most so many, the longest dead first.
    #[serde(default)]
    #[schema(minimum = 1, maximum = 1_000_000)]
    limit: Option<u64>,
}

/// Retry many dead jobs.
///
/// Answered 202 with an operation: a job of kind `retry-jobs`, which tells its progress, can be cancelled, and ends with the
/// result `{"matched", "retried", "refused"}`. It retries the jobs that are dead when it begins, each with all its attempts and
/// the payload it had. Refused are those that were no longer dead when their turn came, or whose kind this version does not
/// know. Other bulk retries are left out. An `Idempotency-Key` does as for a single job.
#[utoipa::path(
    post, path = "/v1/jobs/retry", operation_id = "retry_jobs", tag = "jobs", security(("key" = ["jobs:write"])),
    params(("Idempotency-Key" = Option<String>, Header, description = "1 to 255 visible ASCII characters")),
    request_body = BulkRetryRequest,
    responses(
        (status = 202, body = JobView, headers(
            ("Location" = String, description = "Where the operation is to be seen"),
            ("Idempotency-Replayed" = String, description = "`true` when the operation was accepted before"),
        )),
        BodyProblems, KeyProblems, ServiceProblems
    )
)]
pub async fn retry(
    caller: Caller<JobsWrite>,
    State(api): State<Arc<Api>>,
    headers: HeaderMap,
    body: Body<BulkRetryRequest>,
) -> Answer<Response> {
    let now = api.now();
    let mut faults = Vec::new();
    let key = idempotency_key(&headers, &mut faults);
    let BulkRetryRequest { state: _, kind: wanted, tag, error_contains, limit } = body.value;
    if let Some(name) = &wanted
        && (name == RetryJobs::KIND || kind(name).is_none())
    {
        faults.push(Fault::at("/kind", "is not a kind that can be retried in bulk"));
    }
    if let Some(tag) = &tag {
        check_line("/tag", tag, 64, &mut faults);
    }
    if let Some(part) = &error_contains {
        check_line("/error_contains", part, JobError::MESSAGE_MAX, &mut faults);
    }
    if limit.is_some_and(|limit| !(1..=MOST).contains(&limit)) {
        faults.push(Fault::at("/limit", format!("may be 1 to {MOST}")));
    }
    if !faults.is_empty() {
        return Err(Problem::invalid(faults));
    }
    let operation = RetryJobs { kind: wanted, tag, error_contains, limit };
    let new = NewJob {
        id: job_id(&caller.tenant, key.as_deref()),
        repeatable: key.is_some(),
        fingerprint: accept::fingerprint(&json!({ "retry": body.json })),
        tenant: caller.tenant.clone(),
        kind: kind(RetryJobs::KIND).ok_or_else(Problem::internal)?,
        payload: json!(operation),
        priority: Priority::Normal,
        ordering_key: None,
        run_at: None,
        expires_at: None,
        max_attempts: None,
        timeout: None,
        callback_url: None,
        group: None,
        tags: Vec::new(),
    };
    answer(&api, &accept::submit(&api.intake, new, now).await?).await
}
