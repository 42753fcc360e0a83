//! Groups: jobs that are waited for together.

use crate::app::Api;
use crate::auth::{Caller, JobsRead, JobsWrite};
use crate::extract::{Body, Id, read};
use crate::problem::{Answer, BodyProblems, Fault, KeyProblems, NotFound, Problem, ServiceProblems};
use crate::routes::jobs::{JobRequest, REPLAYED, check_owner, idempotency_key, new_job};
use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use futures::stream::{self, StreamExt as _, TryStreamExt as _};
use jiff::Timestamp;
use millrace::accept::{self, NewJob};
use millrace::domain::group::{Group, MAX_MEMBERS, derived_id};
use millrace::domain::id::{GroupId, Tenant};
use millrace::groups::{self, NewGroup};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::sync::Arc;
use utoipa::ToSchema;

/// Jobs that are looked at at the same time.
const CONCURRENCY: usize = 16;

/// Jobs to be done, and what follows.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, expecting = "an object")]
#[schema(example = json!({
    "jobs": [{"kind": "echo", "payload": {"message": 1}}, {"kind": "echo", "payload": {"message": 2}}],
    "on_complete": {"kind": "echo", "payload": {"message": "all done"}}
}))]
pub struct GroupRequest {
    /// 1 to 100 jobs. All are accepted, or none.
    #[schema(value_type = Vec<JobRequest>, min_items = 1, max_items = 100)]
    jobs: Vec<Value>,
    /// The job that runs when all are over, however they ended. It gets its own payload and nothing of theirs; it has
    /// neither `run_at` nor `delay_seconds`.
    #[schema(value_type = JobRequest)]
    on_complete: Value,
}

/// A group of jobs.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct GroupView {
    /// Its identifier.
    #[schema(example = "grp_0197b3f2a4c87d0e9b61f2c35a7e4d18")]
    pub id: String,
    /// `accepting` until all its jobs are on their queues, which is before it is answered; then `open`, and `completed` when
    /// all are over and the job that follows is on its queue. `abandoned`: it was answered 503, and nothing follows.
    #[schema(example = "open")]
    pub state: String,
    /// Its jobs, in the order of the request.
    pub jobs: Vec<String>,
    /// Those that are not over yet.
    pub open: Vec<String>,
    /// The job that follows. It is there once the group is `completed`.
    pub on_complete: String,
    /// When it was accepted.
    #[schema(value_type = String, format = DateTime)]
    pub created_at: Timestamp,
    /// When the job that follows was put on its queue.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub completed_at: Option<Timestamp>,
}

impl GroupView {
    fn of(group: &Group) -> Self {
        let state = match group {
            Group { completed_at: Some(_), .. } => "completed",
            Group { abandoned_at: Some(_), .. } => "abandoned",
            group if group.is_accepted() => "open",
            _ => "accepting",
        };
        Self {
            id: group.id.to_string(),
            state: state.to_owned(),
            jobs: group.jobs().map(|job| job.to_string()).collect(),
            open: group.open.iter().map(|index| group.member(*index).job().to_string()).collect(),
            on_complete: group.completion().to_string(),
            created_at: group.created_at,
            completed_at: group.completed_at,
        }
    }
}

/// Submit a group of jobs.
///
/// When all its jobs are `succeeded`, `dead` or `cancelled`, one more job runs, once: a job of the group that is retried
/// later changes nothing. Answered 202, all of them are recorded and on their queues. Send an `Idempotency-Key` to be able to
/// ask again when no good answer came: what is missing is done then, and nothing twice.
#[utoipa::path(
    post, path = "/v1/groups", operation_id = "submit_group", tag = "jobs", security(("key" = ["jobs:write"])),
    params(("Idempotency-Key" = Option<String>, Header, description = "1 to 255 visible ASCII characters")),
    request_body = GroupRequest,
    responses(
        (status = 202, body = GroupView, headers(
            ("Location" = String, description = "Where the group is to be seen"),
            ("Idempotency-Replayed" = String, description = "`true` when the group was recorded before"),
        )),
        BodyProblems, KeyProblems, ServiceProblems
    )
)]
pub async fn submit(
    caller: Caller<JobsWrite>,
    State(api): State<Arc<Api>>,
    headers: HeaderMap,
    body: Body<GroupRequest>,
) -> Answer<Response> {
    let (now, tenant) = (api.now(), &caller.tenant);
    let mut faults = Vec::new();
    let key = idempotency_key(&headers, &mut faults);
    let GroupRequest { jobs, on_complete } = body.value;
    if !(1..=usize::from(MAX_MEMBERS)).contains(&jobs.len()) {
        faults.push(Fault::at("/jobs", format!("has 1 to {MAX_MEMBERS} jobs")));
    }
    for field in ["run_at", "delay_seconds"] {
        if on_complete.get(field).is_some_and(|value| !value.is_null()) {
            faults.push(Fault::at(format!("/on_complete/{field}"), "the job starts when all others are over"));
        }
    }
    if !faults.is_empty() {
        return Err(Problem::invalid(faults));
    }
    let checks =
        jobs.into_iter().enumerate().map(|(index, job)| checked(&api, tenant, job, format!("/jobs/{index}"), now));
    let jobs: Vec<NewJob> = stream::iter(checks).buffered(CONCURRENCY).try_collect().await?;
    let on_complete = checked(&api, tenant, on_complete, "/on_complete".to_owned(), now).await?;
    let id = match &key {
        Some(key) => derived_id(tenant, key),
        None => GroupId::from_uuid(uuid::Uuid::now_v7()),
    };
    let fingerprint = accept::fingerprint(&body.json);
    let new = NewGroup { id, repeatable: key.is_some(), fingerprint, tenant: tenant.clone(), jobs, on_complete };
    let accepted = groups::submit(&*api.groups, &api.intake, new, now).await?;
    let view = GroupView::of(&accepted.group);
    let location = HeaderValue::from_str(&format!("/v1/groups/{}", view.id)).map_err(|_| Problem::internal())?;
    let mut response = (StatusCode::ACCEPTED, [(header::LOCATION, location)], Json(view)).into_response();
    if accepted.replayed {
        response.headers_mut().insert(REPLAYED, HeaderValue::from_static("true"));
    }
    Ok(response)
}

async fn checked(api: &Api, tenant: &Tenant, json: Value, pointer: String, now: Timestamp) -> Answer<NewJob> {
    let check = async {
        let value = read::<JobRequest>(&json).map_err(Problem::invalid)?;
        let new = new_job(tenant, None, Body { value, json }, api.reach, now, Vec::new())?;
        check_owner(api, tenant, new.kind, &new.payload).await?;
        Ok(new)
    };
    check.await.map_err(|problem: Problem| problem.below(&pointer))
}

/// See a group.
#[utoipa::path(
    get, path = "/v1/groups/{id}", operation_id = "show_group", tag = "jobs", security(("key" = ["jobs:read"])),
    params(("id" = String, Path, description = "The group")),
    responses((status = 200, body = GroupView), NotFound, KeyProblems, ServiceProblems)
)]
pub async fn show(
    caller: Caller<JobsRead>,
    State(api): State<Arc<Api>>,
    Id(id): Id<GroupId>,
) -> Answer<Json<GroupView>> {
    let group = api.groups.get(&id).await?.filter(|group| group.tenant == caller.tenant);
    Ok(Json(GroupView::of(&group.ok_or_else(Problem::not_found)?)))
}
