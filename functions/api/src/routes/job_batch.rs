//! Many jobs at once.

use crate::app::Api;
use crate::auth::{Caller, JobsWrite};
use crate::extract::{Body, read};
use crate::problem::{Answer, BodyProblems, Fault, KeyProblems, Problem, ProblemBody, ServiceProblems};
use crate::routes::job_view::{JobView, view};
use crate::routes::jobs::{JobRequest, check_owner, new_job, visible_key};
use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use futures::stream::{self, StreamExt as _};
use jiff::Timestamp;
use millrace::accept::{self, NewJob, SubmitError};
use millrace::domain::id::Tenant;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::sync::Arc;
use utoipa::openapi::{ObjectBuilder, RefOr, Schema, Type};
use utoipa::{PartialSchema, ToSchema};

/// Most jobs of a batch.
const MOST: usize = 100;

/// Jobs that are looked at at the same time.
const CONCURRENCY: usize = 16;

/// The member of an entry that stands for the header of a single job.
const KEY: &str = "idempotency_key";

/// A job of a batch: only its description, because each is read by itself.
pub struct BatchJob;

impl PartialSchema for BatchJob {
    fn schema() -> RefOr<Schema> {
        let mut schema = JobRequest::schema();
        if let RefOr::T(Schema::Object(job)) = &mut schema {
            let key = ObjectBuilder::new().schema_type(Type::String).min_length(Some(1)).max_length(Some(255));
            let key = key.description(Some("As the header `Idempotency-Key` of a single job."));
            job.properties.insert(KEY.to_owned(), key.build().into());
        }
        schema
    }
}

impl ToSchema for BatchJob {}

/// Jobs to be done.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, expecting = "an object")]
#[schema(example = json!({"jobs": [
    {"kind": "echo", "payload": {"message": 1}, "idempotency_key": "trial-1"},
    {"kind": "echo", "payload": {"message": 2}}
]}))]
pub struct BatchRequest {
    /// 1 to 100 jobs. Each is accepted or refused by itself.
    #[schema(value_type = Vec<BatchJob>, min_items = 1, max_items = 100)]
    jobs: Vec<Value>,
}

/// What came of one job of a batch.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct BatchResult {
    /// Which job of the request, from 0.
    pub index: usize,
    /// The status that it would have been answered with alone: 202 when it is accepted.
    pub status: u16,
    /// The job, if it is accepted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub job: Option<JobView>,
    /// What is wrong, if it is not. Its pointers lead into the whole request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<ProblemBody>,
}

/// What came of a batch.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct BatchAnswer {
    /// One for each job of the request, in its order.
    pub results: Vec<BatchResult>,
}

/// Submit many jobs.
///
/// Each job is accepted or refused by itself, as if it were submitted alone; its `idempotency_key` stands for the header.
/// Jobs with one `ordering_key` keep the order of the request: when one of them is answered 503, so are those behind it.
/// The whole request has at most 1 MiB, as that of a single job.
#[utoipa::path(
    post, path = "/v1/jobs/batch", operation_id = "submit_jobs", tag = "jobs", security(("key" = ["jobs:write"])),
    request_body = BatchRequest,
    responses(
        (status = 202, body = BatchAnswer, description = "All are accepted"),
        (status = 207, body = BatchAnswer, description = "Some are not accepted, or none: `results` tells which"),
        BodyProblems, KeyProblems, ServiceProblems
    )
)]
pub async fn submit(
    caller: Caller<JobsWrite>,
    State(api): State<Arc<Api>>,
    body: Body<BatchRequest>,
) -> Answer<(StatusCode, Json<BatchAnswer>)> {
    let entries = body.value.jobs;
    if !(1..=MOST).contains(&entries.len()) {
        return Err(Problem::invalid(vec![Fault::at("/jobs", format!("has 1 to {MOST} jobs"))]));
    }
    let now = api.now();
    let checks = entries.into_iter().map(|entry| checked(&api, &caller.tenant, entry, now));
    let checked: Vec<Answer<NewJob>> = stream::iter(checks).buffered(CONCURRENCY).collect().await;

    let mut outcomes: Vec<Option<Problem>> = Vec::with_capacity(checked.len());
    let mut good = Vec::new();
    for entry in checked {
        match entry {
            Ok(new) => {
                good.push(new);
                outcomes.push(None);
            }
            Err(problem) => outcomes.push(Some(problem)),
        }
    }
    let mut accepted = accept::submit_many(&api.intake, good, now).await.into_iter();
    let mut results = Vec::with_capacity(outcomes.len());
    for (index, refused) in outcomes.into_iter().enumerate() {
        let outcome = match refused {
            Some(problem) => Err(problem),
            None => match accepted.next() {
                Some(Ok(accepted)) => view(&api, &accepted.job, false).await,
                Some(Err(SubmitError::Mismatch)) => Err(Problem::invalid(vec![key_is_used()])),
                Some(Err(unavailable)) => Err(unavailable.into()),
                None => Err(Problem::internal()),
            },
        };
        results.push(match outcome {
            Ok(job) => BatchResult { index, status: StatusCode::ACCEPTED.as_u16(), job: Some(job), problem: None },
            Err(problem) => {
                let problem = problem.below(&format!("/jobs/{index}")).body();
                BatchResult { index, status: problem.status, job: None, problem: Some(problem) }
            }
        });
    }
    let all = results.iter().all(|result| result.job.is_some());
    let status = if all { StatusCode::ACCEPTED } else { StatusCode::MULTI_STATUS };
    Ok((status, Json(BatchAnswer { results })))
}

fn key_is_used() -> Fault {
    Fault::at(format!("/{KEY}"), "another request was made under this key")
}

/// An entry as a job to be accepted. Without its key it is the request that it would be alone, so that a job may be asked
/// for again alone or in another batch.
async fn checked(api: &Api, tenant: &Tenant, mut entry: Value, now: Timestamp) -> Answer<NewJob> {
    let mut faults = Vec::new();
    let key = match entry.as_object_mut().and_then(|entry| entry.remove(KEY)) {
        None | Some(Value::Null) => None,
        Some(key) => {
            let visible = key.as_str().filter(|key| visible_key(key)).map(str::to_owned);
            if visible.is_none() {
                faults.push(Fault::at(format!("/{KEY}"), "has 1 to 255 visible ASCII characters"));
            }
            visible
        }
    };
    let request = match read::<JobRequest>(&entry) {
        Ok(value) => Body { value, json: entry },
        Err(more) => {
            faults.extend(more);
            return Err(Problem::invalid(faults));
        }
    };
    let new = new_job(tenant, key, request, api.reach, now, faults)?;
    check_owner(api, tenant, new.kind, &new.payload).await?;
    Ok(new)
}
