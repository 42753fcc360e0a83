//! Recurring jobs.

use crate::app::Api;
use crate::auth::{Caller, JobsRead, JobsWrite};
use crate::extract::{Body, Id};
use crate::problem::{Answer, BodyProblems, Fault, KeyProblems, NotFound, Problem, ProblemBody, ServiceProblems};
use crate::routes::jobs::{JobRequest, check_owner, new_job};
use axum::Json;
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jiff::Timestamp;
use millrace::domain::local_time::Zone;
use millrace::domain::schedule::{Cron, Schedule, ScheduleName, Template, Wanted};
use millrace::ports::SchedulePlace;
use millrace::schedules;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::sync::Arc;
use utoipa::ToSchema;

/// Schedules of a page when the caller does not say.
const USUAL: usize = 50;
/// Most schedules of a page.
const MOST: usize = 100;

/// A cron expression, read where serde reads it.
#[derive(Debug, Deserialize)]
#[serde(try_from = "String")]
struct CronText(Cron);

impl TryFrom<String> for CronText {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        Cron::parse(&text).map(Self).map_err(|error| error.to_string())
    }
}

/// A job that is to recur.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, expecting = "an object")]
#[schema(example = json!({
    "cron": "30 9 * * mon-fri", "time_zone": "Europe/Berlin", "job": {"kind": "echo", "payload": {"message": "good morning"}}
}))]
pub struct ScheduleRequest {
    /// Minute, hour, day of the month, month, day of the week (0 and 7 are Sunday): `*`, lists, ranges, steps and names, as cron
    /// reads them. Where the zone's clock is moved, an expression of one time of day runs once: right after the gap that skips
    /// it, or at the first of two. Any other one runs whenever the wall clock matches.
    #[schema(value_type = String, max_length = 128)]
    cron: CronText,
    /// The IANA time zone whose wall clock counts.
    #[schema(value_type = String, example = "Europe/Berlin")]
    time_zone: Zone,
    /// The job, as for a single one, without `run_at`, `delay_seconds`, `expires_at` and `ordering_key`. Its payload has at most 64 KiB.
    job: JobRequest,
}

/// What a schedule's jobs are made of.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct RecurringJobView {
    /// Their kind.
    #[schema(example = "echo")]
    pub kind: String,
    /// What they work on.
    #[schema(value_type = Object)]
    pub payload: Value,
    /// Which lane they take.
    #[schema(example = "normal")]
    pub priority: String,
    /// How often each is tried, if the schedule says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_attempts: Option<u32>,
    /// How long one attempt may take, if the schedule says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout_seconds: Option<u64>,
    /// Who is called when one is over, if the schedule says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(example = "https://example.com/jobs")]
    pub callback_url: Option<String>,
    /// Labels.
    pub tags: Vec<String>,
}

/// A recurring job.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct ScheduleView {
    /// Its name.
    #[schema(example = "good-morning")]
    pub name: String,
    /// When it runs.
    #[schema(example = "30 9 * * mon-fri")]
    pub cron: String,
    /// On whose wall clock.
    #[schema(example = "Europe/Berlin")]
    pub time_zone: String,
    /// What its jobs are made of.
    pub job: RecurringJobView,
    /// When it was first put.
    #[schema(value_type = String, format = DateTime)]
    pub created_at: Timestamp,
    /// When it was put last.
    #[schema(value_type = String, format = DateTime)]
    pub updated_at: Timestamp,
    /// When the next job is to start. Earlier than now: the service has been away, and makes up for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub next_run_at: Option<Timestamp>,
    /// The last time that had a job.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub last_run_at: Option<Timestamp>,
    /// That job.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_job_id: Option<String>,
}

/// Some of a tenant's schedules.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct SchedulePage {
    /// The schedules, the latest made first.
    pub schedules: Vec<ScheduleView>,
    /// What to send as `cursor` for those before these. Absent at the end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_cursor: Option<String>,
}

fn view(schedule: &Schedule, now: Timestamp) -> ScheduleView {
    let Template { kind, payload, priority, max_attempts, timeout, callback_url, tags } = schedule.job.clone();
    let priority = priority.as_str().to_owned();
    let timeout_seconds = timeout.map(|timeout| timeout.as_secs());
    let callback_url = callback_url.map(String::from);
    let last = schedule.last_run(now);
    ScheduleView {
        name: schedule.name.to_string(),
        cron: schedule.cron.as_str().to_owned(),
        time_zone: schedule.time_zone.to_string(),
        job: RecurringJobView { kind, payload, priority, max_attempts, timeout_seconds, callback_url, tags },
        created_at: schedule.created_at,
        updated_at: schedule.updated_at,
        next_run_at: schedule.next_run_at(now),
        last_run_at: last.map(|run| run.at),
        last_job_id: last.map(|run| run.job.to_string()),
    }
}

/// Put a schedule.
///
/// Makes it, or replaces the one of this name. The job is checked as if it were submitted now. Each time the expression names
/// gets one job, which starts within two seconds of it. Times at which the service was away are made up for by one job, not by
/// one for each. A job is made up to 90 seconds ahead: one that is made already runs as the schedule was then.
#[utoipa::path(
    put, path = "/v1/schedules/{name}", operation_id = "put_schedule", tag = "jobs", security(("key" = ["jobs:write"])),
    params(("name" = String, Path, description = "1 to 64 letters, digits, _ and -")),
    request_body = ScheduleRequest,
    responses(
        (status = 200, body = ScheduleView, description = "It is replaced"),
        (status = 201, body = ScheduleView, description = "It is made"),
        BodyProblems, KeyProblems, ServiceProblems
    )
)]
pub async fn put(
    caller: Caller<JobsWrite>,
    State(api): State<Arc<Api>>,
    Path(name): Path<String>,
    body: Body<ScheduleRequest>,
) -> Answer<(StatusCode, Json<ScheduleView>)> {
    let now = api.now();
    let ScheduleRequest { cron: CronText(cron), time_zone, job } = body.value;
    let mut faults = Vec::new();
    let name = ScheduleName::parse(name).map_err(|_| faults.push(Fault::parameter("name", NAME)));
    if cron.next_after(now, &time_zone).is_none() {
        faults.push(Fault::at("/cron", "never comes"));
    }
    for field in job.times() {
        faults.push(Fault::at(format!("/job/{field}"), "is not for a job of a schedule"));
    }
    let json = body.json.get("job").cloned().unwrap_or_default();
    let job = match new_job(&caller.tenant, None, Body { value: job, json }, api.reach, now, Vec::new()) {
        Ok(job) => job,
        Err(problem) => return Err(problem.below("/job").with(faults)),
    };
    if job.payload.to_string().len() > Template::PAYLOAD_MAX {
        let most = Template::PAYLOAD_MAX / 1024;
        faults.push(Fault::at(
            "/job/payload",
            format!("has at most {most} KiB: put more in a bucket and send its address"),
        ));
    }
    let name = match name {
        Ok(name) if faults.is_empty() => name,
        _ => return Err(Problem::invalid(faults)),
    };
    check_owner(&api, &caller.tenant, job.kind, &job.payload).await.map_err(|problem| problem.below("/job"))?;
    let wanted = Wanted { cron, time_zone, job: job.into() };
    let (schedule, new) = schedules::put(&*api.schedules, &caller.tenant, &name, &wanted, now).await?;
    if let Err(error) = schedules::fire_soon(&*api.schedules, &api.intake, &schedule, now).await {
        tracing::warn!(schedule = %schedule.name, "its first tick is left to the clock: {error}");
    }
    let status = if new { StatusCode::CREATED } else { StatusCode::OK };
    Ok((status, Json(view(&schedule, now))))
}

const NAME: &str = "has 1 to 64 letters, digits, _ and -";

/// See a schedule.
#[utoipa::path(
    get, path = "/v1/schedules/{name}", operation_id = "show_schedule", tag = "jobs", security(("key" = ["jobs:read"])),
    params(("name" = String, Path, description = "The schedule")),
    responses((status = 200, body = ScheduleView), NotFound, KeyProblems, ServiceProblems)
)]
pub async fn show(
    caller: Caller<JobsRead>,
    State(api): State<Arc<Api>>,
    Id(name): Id<ScheduleName>,
) -> Answer<Json<ScheduleView>> {
    let schedule = api.schedules.get(&caller.tenant, &name).await?.ok_or_else(Problem::not_found)?;
    Ok(Json(view(&schedule, api.now())))
}

/// Delete a schedule.
///
/// A job that it has made already, which is up to 90 seconds ahead, stays: cancel it if it is not wanted.
#[utoipa::path(
    delete, path = "/v1/schedules/{name}", operation_id = "delete_schedule", tag = "jobs",
    security(("key" = ["jobs:write"])),
    params(("name" = String, Path, description = "The schedule")),
    responses((status = 204, description = "It is deleted"), NotFound, KeyProblems, ServiceProblems)
)]
pub async fn delete(
    caller: Caller<JobsWrite>,
    State(api): State<Arc<Api>>,
    Id(name): Id<ScheduleName>,
) -> Answer<StatusCode> {
    if api.schedules.delete(&caller.tenant, &name).await? {
        Ok(StatusCode::NO_CONTENT)
    } else {
        Err(Problem::not_found())
    }
}

/// A place in the list as a cursor. It needs no signature: it names a place only, and the tenant is the caller's.
fn cursor(place: &SchedulePlace) -> String {
    URL_SAFE_NO_PAD.encode(format!("{}.{}", place.created_at.as_millisecond(), place.name))
}

fn open(cursor: &str) -> Option<SchedulePlace> {
    let text = String::from_utf8(URL_SAFE_NO_PAD.decode(cursor).ok()?).ok()?;
    let (created_at, name) = text.split_once('.')?;
    let created_at = Timestamp::from_millisecond(created_at.parse().ok()?).ok()?;
    Some(SchedulePlace { created_at, name: ScheduleName::parse(name).ok()? })
}

/// List schedules.
///
/// The latest made come first. One that was put a moment ago may not be listed yet.
#[utoipa::path(
    get, path = "/v1/schedules", operation_id = "list_schedules", tag = "jobs", security(("key" = ["jobs:read"])),
    params(
        ("limit" = Option<usize>, Query, description = "At most so many, 1 to 100; 50 when absent"),
        ("cursor" = Option<String>, Query, description = "The `next_cursor` of the answer before"),
    ),
    responses(
        (status = 200, body = SchedulePage),
        (status = 422, body = ProblemBody, content_type = "application/problem+json",
         description = "A parameter is unknown or not as it must be; `errors` tells which"),
        KeyProblems, ServiceProblems
    )
)]
pub async fn list(
    caller: Caller<JobsRead>,
    State(api): State<Arc<Api>>,
    Query(query): Query<Vec<(String, String)>>,
) -> Answer<Json<SchedulePage>> {
    let (mut limit, mut after, mut faults) = (USUAL, None, Vec::new());
    for (name, value) in query.iter().filter(|(_, value)| !value.is_empty()) {
        match name.as_str() {
            "limit" => match value.parse() {
                Ok(number) if (1..=MOST).contains(&number) => limit = number,
                _ => faults.push(Fault::parameter(name, format!("is 1 to {MOST}"))),
            },
            "cursor" => match open(value) {
                Some(place) => after = Some(place),
                None => faults.push(Fault::parameter(name, "is the `next_cursor` of an earlier answer")),
            },
            _ => faults.push(Fault::parameter(name, "is no parameter here: there are limit and cursor")),
        }
    }
    if !faults.is_empty() {
        return Err(Problem::invalid(faults));
    }
    let (found, next) = api.schedules.list(&caller.tenant, after.as_ref(), limit).await?;
    let now = api.now();
    let schedules = found.iter().map(|schedule| view(schedule, now)).collect();
    Ok(Json(SchedulePage { schedules, next_cursor: next.as_ref().map(cursor) }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_reads_back_and_nothing_else_does() {
        let created_at = Timestamp::from_millisecond(1_800_000_000_123).unwrap();
        let place = SchedulePlace { created_at, name: ScheduleName::parse("a-b_c").unwrap() };
        assert_eq!(open(&cursor(&place)), Some(place));
        for text in ["", "1", "1.", ".a", "x.a", "1.a/b", "99999999999999999999.a"] {
            assert_eq!(open(&URL_SAFE_NO_PAD.encode(text)), None, "{text}");
        }
    }
}
