//! What may be done to a job that was accepted: cancel it, retry it.

use crate::app::Api;
use crate::auth::{Caller, JobsWrite};
use crate::extract::{Body, Id};
use crate::problem::{Answer, BodyProblems, Fault, KeyProblems, NotFound, Problem, ProblemBody, ServiceProblems};
use crate::routes::job_view::{JobView, view};
use crate::routes::jobs::{check_owner, checked_payload, find};
use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use millrace::domain::id::JobId;
use millrace::domain::job::State as JobState;
use millrace::jobs::kind;
use millrace::operate::{self, Wished};
use serde::Deserialize;
use serde_json::{Map, Value};
use std::sync::Arc;
use utoipa::ToSchema;

/// Cancel a job.
///
/// A job that waits is `cancelled` at once. One that runs is asked to stop: it shows `cancel_requested`, and is `cancelled`
/// when its handler stops. That hears of it within 20 seconds, and is stopped if it has not stopped by itself 10 seconds
/// later. It may still succeed before that.
#[utoipa::path(
    post, path = "/v1/jobs/{id}/cancel", operation_id = "cancel_job", tag = "jobs", security(("key" = ["jobs:write"])),
    params(("id" = String, Path, description = "The job")),
    responses(
        (status = 200, body = JobView, description = "It is cancelled, or asked to stop"),
        (status = 409, body = ProblemBody, content_type = "application/problem+json", description = "It is over"),
        NotFound, KeyProblems, ServiceProblems
    )
)]
pub async fn cancel(
    caller: Caller<JobsWrite>,
    State(api): State<Arc<Api>>,
    Id(id): Id<JobId>,
) -> Answer<Json<JobView>> {
    let job = find(&api, &caller.tenant, &id).await?;
    match operate::cancel(&*api.intake.jobs, job, api.now()).await? {
        Wished::Done(job) => Ok(Json(view(&api, &job, false).await?)),
        Wished::Refused(job) => Err(Problem::conflict(format!("The job is {} already.", job.state.as_str()))),
        Wished::Missing => Err(Problem::not_found()),
    }
}

/// A job to be tried again.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, expecting = "an object")]
#[schema(example = json!({"payload": {"message": "hello again"}}))]
pub struct RetryRequest {
    /// What to work on from now, in place of what was submitted. At most 1 MiB of JSON.
    #[serde(default)]
    #[schema(value_type = Option<Object>)]
    payload: Option<Map<String, Value>>,
}

/// Retry a job.
///
/// A `dead` or `cancelled` job starts anew, with all its attempts and without an `expires_at`. The body may be left out.
/// A job with an `ordering_key` goes to the end of its key, behind the jobs that were accepted meanwhile.
/// Answered 202, the retry is recorded and on its queue, or left to the clock, which brings it within two minutes.
#[utoipa::path(
    post, path = "/v1/jobs/{id}/retry", operation_id = "retry_job", tag = "jobs", security(("key" = ["jobs:write"])),
    params(("id" = String, Path, description = "The job")),
    request_body = Option<RetryRequest>,
    responses(
        (status = 202, body = JobView, description = "It is tried again"),
        (status = 409, body = ProblemBody, content_type = "application/problem+json",
         description = "It is neither `dead` nor `cancelled`, or no worker knows its kind any more"),
        BodyProblems, NotFound, KeyProblems, ServiceProblems
    )
)]
pub async fn retry(
    caller: Caller<JobsWrite>,
    State(api): State<Arc<Api>>,
    Id(id): Id<JobId>,
    body: Option<Body<RetryRequest>>,
) -> Answer<(StatusCode, Json<JobView>)> {
    let job = find(&api, &caller.tenant, &id).await?;
    let Some(kind) = kind(&job.kind) else {
        return Err(Problem::conflict(format!("No worker knows the kind {} any more.", job.kind)));
    };
    let payload = match body.and_then(|body| body.value.payload) {
        Some(_) if kind.internal => {
            let why = "a job of this kind is tried again as it is";
            return Err(Problem::invalid(vec![Fault::at("/payload", why)]));
        }
        Some(payload) => {
            let payload = checked_payload(payload)?;
            (kind.check)(&payload).map_err(|why| Problem::invalid(vec![Fault::at("/payload", why)]))?;
            check_owner(&api, &caller.tenant, kind, &payload).await?;
            Some(payload)
        }
        None => None,
    };
    match operate::retry(&api.intake, &job, kind, payload, api.now()).await? {
        Wished::Done(job) => Ok((StatusCode::ACCEPTED, Json(view(&api, &job, false).await?))),
        Wished::Refused(job) => Err(Problem::conflict(match job.state {
            JobState::Succeeded => "The job has succeeded: submit another one.".to_owned(),
            state => format!("The job is {}: there is nothing to retry.", state.as_str()),
        })),
        Wished::Missing => Err(Problem::not_found()),
    }
}
