//! Jobs: submitting and looking at them.

use crate::app::{Api, millis};
use crate::auth::{Caller, JobsRead, JobsWrite};
use crate::extract::{Body, Id, MAX_PAYLOAD};
use crate::prefer;
use crate::problem::{Answer, BodyProblems, Fault, KeyProblems, NotFound, Problem, ServiceProblems};
use crate::routes::job_view::{JobView, view, with_file};
use axum::Json;
use axum::extract::{Query, State, rejection::QueryRejection};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use jiff::{SignedDuration, Timestamp};
use millrace::accept::{self, Accepted, NewJob};
use millrace::domain::id::{JobId, Tenant};
use millrace::domain::job::Job;
use millrace::domain::key::Scope;
use millrace::domain::lane::{Lane, OrderingKey, Priority};
use millrace::domain::target::{CallbackUrl, Reach};
use millrace::job::Job as _;
use millrace::jobs::{Kind, Webhook, Welcome, kind, public_kinds};
use serde::Deserialize;
use serde_json::{Map, Value};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;
use utoipa::ToSchema;

/// How far ahead a job may be set.
const FARTHEST: SignedDuration = SignedDuration::from_hours(366 * 24);

/// Longest attempt of any worker, in seconds: Lambda's own limit. A worker may have a lower one.
const LONGEST_ATTEMPT: u64 = 900;

const IDEMPOTENCY_KEY: &str = "idempotency-key";
pub(crate) const REPLAYED: HeaderName = HeaderName::from_static("idempotency-replayed");

/// A job to be done.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, expecting = "an object")]
#[schema(example = json!({"kind": "echo", "payload": {"message": "hello"}, "delay_seconds": 5, "tags": ["trial"]}))]
pub struct JobRequest {
    /// A registered kind: `echo` or `welcome`.
    kind: String,
    /// What to work on, as the kind asks. At most 1 MiB of JSON.
    #[schema(value_type = Object)]
    payload: Map<String, Value>,
    /// Which lane it takes: `high`, `normal` or `low`, if its kind has it. Not together with `ordering_key`.
    #[serde(default)]
    #[schema(value_type = Option<String>, pattern = "^(high|normal|low)$")]
    priority: Option<Priority>,
    /// Jobs with the same key and kind run one at a time, in the order in which they were accepted; one that fails makes
    /// those behind it wait until it succeeds or is given up. 1 to 128 characters, none of them control characters. Not
    /// together with `priority`, `run_at` or `delay_seconds`.
    #[serde(default)]
    #[schema(value_type = Option<String>, min_length = 1, max_length = 128)]
    ordering_key: Option<OrderingKey>,
    /// Not to be started before this time, at most 366 days ahead. Not together with `delay_seconds`.
    #[serde(default)]
    #[schema(value_type = Option<String>, format = DateTime)]
    run_at: Option<Timestamp>,
    /// Not to be started before so many seconds from now, at most 366 days.
    #[serde(default)]
    #[schema(maximum = 31_622_400)]
    delay_seconds: Option<u64>,
    /// How often it is tried. The kind has a default.
    #[serde(default)]
    #[schema(minimum = 1, maximum = 100)]
    max_attempts: Option<u32>,
    /// How long one attempt may take. A worker has its own limit; the shorter holds.
    #[serde(default)]
    #[schema(minimum = 1, maximum = 900)]
    timeout_seconds: Option<u64>,
    /// Not started by then, the job is `dead` with the class `expired`.
    #[serde(default)]
    #[schema(value_type = Option<String>, format = DateTime)]
    expires_at: Option<Timestamp>,
    /// Labels, at most 10 of 1 to 64 characters each.
    #[serde(default)]
    #[schema(max_items = 10)]
    tags: Vec<String>,
    /// To be called when the job is `succeeded`, `dead` or `cancelled`: a POST signed as
    /// [Standard Webhooks](https://www.standardwebhooks.com) has it, tried again for about a day and a half. An https URL at
    /// a public address.
    #[serde(default)]
    #[schema(max_length = 2_000, example = "https://example.com/jobs")]
    callback_url: Option<String>,
}

impl JobRequest {
    /// The names of the fields given that a schedule does not leave to its jobs: when, and after what.
    pub(crate) fn times(&self) -> Vec<&'static str> {
        let given = [
            ("run_at", self.run_at.is_some()),
            ("delay_seconds", self.delay_seconds.is_some()),
            ("expires_at", self.expires_at.is_some()),
            // What has an order knows no delay.
            ("ordering_key", self.ordering_key.is_some()),
        ];
        given.into_iter().filter(|(_, given)| *given).map(|(name, _)| name).collect()
    }
}

/// Submit a job.
///
/// Answered 202, the job is recorded and on its queue: it is not lost. Send an `Idempotency-Key` to be able to ask again
/// when no answer came: the same key with the same body gives the same job, with `Idempotency-Replayed: true`; with another
/// body it is refused.
#[utoipa::path(
    post, path = "/v1/jobs", operation_id = "submit_job", tag = "jobs", security(("key" = ["jobs:write"])),
    params(("Idempotency-Key" = Option<String>, Header, description = "1 to 255 visible ASCII characters")),
    request_body = JobRequest,
    responses(
        (status = 202, body = JobView, headers(
            ("Location" = String, description = "Where the job is to be seen"),
            ("Idempotency-Replayed" = String, description = "`true` when the job was accepted before"),
        )),
        BodyProblems, KeyProblems, ServiceProblems
    )
)]
pub async fn submit(
    caller: Caller<JobsWrite>,
    State(api): State<Arc<Api>>,
    headers: HeaderMap,
    body: Body<JobRequest>,
) -> Answer<Response> {
    let now = api.now();
    let mut faults = Vec::new();
    let key = idempotency_key(&headers, &mut faults);
    let new = new_job(&caller.tenant, key, body, api.reach, now, faults)?;
    check_owner(&api, &new.tenant, new.kind, &new.payload).await?;
    let accepted = accept::submit(&api.intake, new, now).await?;
    answer(&api, &accepted).await
}

/// The answer to a job's acceptance.
pub(crate) async fn answer(api: &Api, accepted: &Accepted) -> Answer<Response> {
    let view = view(api, &accepted.job, false).await?;
    let location = HeaderValue::from_str(&format!("/v1/jobs/{}", view.id)).map_err(|_| Problem::internal())?;
    let mut response = (StatusCode::ACCEPTED, [(header::LOCATION, location)], Json(view)).into_response();
    if accepted.replayed {
        response.headers_mut().insert(REPLAYED, HeaderValue::from_static("true"));
    }
    Ok(response)
}

/// What was asked as a job to be accepted; `faults` are those found before.
pub(crate) fn new_job(
    tenant: &Tenant,
    key: Option<String>,
    body: Body<JobRequest>,
    reach: Reach,
    now: Timestamp,
    mut faults: Vec<Fault>,
) -> Answer<NewJob> {
    let request = body.value;
    let kind = known_kind(&request.kind, &mut faults);
    let payload = checked_payload(request.payload)?;
    if let Some(kind) = kind
        && let Err(why) = (kind.check)(&payload)
    {
        faults.push(Fault::at("/payload", why));
    }
    if request.ordering_key.is_some() {
        let delayed = request.run_at.is_some() || request.delay_seconds.is_some();
        if request.priority.is_some() || delayed {
            faults.push(Fault::at("/ordering_key", "goes without `priority`, `run_at` and `delay_seconds`"));
        }
    }
    if let Some(kind) = kind {
        check_lane(kind, request.priority, request.ordering_key.as_ref(), &mut faults);
    }
    let run_at = run_at(request.run_at, request.delay_seconds, now, &mut faults);
    if request.max_attempts.is_some_and(|attempts| !(1..=100).contains(&attempts)) {
        faults.push(Fault::at("/max_attempts", "may be 1 to 100"));
    }
    if request.timeout_seconds.is_some_and(|seconds| !(1..=LONGEST_ATTEMPT).contains(&seconds)) {
        faults.push(Fault::at("/timeout_seconds", format!("may be 1 to {LONGEST_ATTEMPT}")));
    }
    if let Some(until) = request.expires_at
        && until <= run_at.unwrap_or(now).max(now)
    {
        faults.push(Fault::at("/expires_at", "must be after the time the job may start"));
    }
    check_tags(&request.tags, &mut faults);
    let callback_url = request.callback_url.and_then(|text| match CallbackUrl::parse(&text, reach) {
        Ok(url) => Some(url),
        Err(why) => {
            faults.push(Fault::at("/callback_url", why.to_string()));
            None
        }
    });
    let kind = match kind {
        Some(kind) if faults.is_empty() => kind,
        _ => return Err(Problem::invalid(faults)),
    };
    Ok(NewJob {
        id: job_id(tenant, key.as_deref()),
        repeatable: key.is_some(),
        fingerprint: accept::fingerprint(&body.json),
        tenant: tenant.clone(),
        kind,
        payload,
        priority: request.priority.unwrap_or_default(),
        ordering_key: request.ordering_key,
        run_at,
        expires_at: request.expires_at.map(millis),
        max_attempts: request.max_attempts,
        timeout: request.timeout_seconds.map(Duration::from_secs),
        callback_url,
        group: None,
        tags: request.tags,
    })
}

/// The id that the tenant's key stands for, or a fresh one.
pub(crate) fn job_id(tenant: &Tenant, key: Option<&str>) -> JobId {
    match key {
        Some(key) => JobId::derived(&["request", tenant.as_str(), key]),
        None => JobId::from_uuid(uuid::Uuid::now_v7()),
    }
}

/// A payload that is not too large.
pub(crate) fn checked_payload(payload: Map<String, Value>) -> Answer<Value> {
    let payload = Value::Object(payload);
    if payload.to_string().len() > MAX_PAYLOAD {
        return Err(Problem::too_large(
            "A payload has at most 1 MiB of JSON. Put more in a bucket and send its address.",
        ));
    }
    Ok(payload)
}

/// A job may be about nobody but the tenant's own users, and call nobody who must not be called.
pub(crate) async fn check_owner(api: &Api, tenant: &Tenant, kind: &Kind, payload: &Value) -> Answer<()> {
    if kind.name == Webhook::KIND {
        let Webhook { url, .. } = Webhook::deserialize(payload).map_err(|_| Problem::internal())?;
        let checked = CallbackUrl::parse(&url, api.reach);
        return checked.map(drop).map_err(|why| Problem::invalid(vec![Fault::at("/payload/url", why.to_string())]));
    }
    if kind.name != Welcome::KIND {
        return Ok(());
    }
    let Welcome { user } = Welcome::deserialize(payload).map_err(|_| Problem::internal())?;
    match api.users.get(&user).await?.filter(|user| user.tenant == *tenant) {
        Some(_) => Ok(()),
        None => Err(Problem::invalid(vec![Fault::at("/payload/user", "there is no such user")])),
    }
}

pub(crate) fn idempotency_key(headers: &HeaderMap, faults: &mut Vec<Fault>) -> Option<String> {
    let mut values = headers.get_all(IDEMPOTENCY_KEY).iter();
    let value = values.next()?;
    let visible = value.to_str().ok().filter(|text| visible_key(text));
    match (visible, values.next()) {
        (Some(text), None) => Some(text.to_owned()),
        _ => {
            faults.push(Fault::header("Idempotency-Key", "is sent once, with 1 to 255 visible ASCII characters"));
            None
        }
    }
}

/// Whether it may be an idempotency key.
pub(crate) fn visible_key(text: &str) -> bool {
    (1..=255).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_graphic())
}

fn known_kind(name: &str, faults: &mut Vec<Fault>) -> Option<&'static Kind> {
    let found = kind(name).filter(|kind| !kind.internal);
    if found.is_none() {
        let known: Vec<_> = public_kinds().map(|kind| kind.name).collect();
        faults.push(Fault::at("/kind", format!("is not a kind; the kinds are {}", known.join(", "))));
    }
    found
}

/// A job may take only a lane that its kind has.
fn check_lane(kind: &Kind, priority: Option<Priority>, key: Option<&OrderingKey>, faults: &mut Vec<Fault>) {
    let lanes = kind.worker.lanes();
    let missing = |lane: Lane| !lanes.contains(&lane);
    let known = || lanes.iter().map(|lane| lane.as_str()).collect::<Vec<_>>().join(", ");
    if priority.is_some_and(|priority| missing(priority.into())) {
        faults.push(Fault::at("/priority", format!("is no lane of this kind; its lanes are {}", known())));
    }
    if key.is_some() && missing(Lane::Ordered) {
        faults.push(Fault::at(
            "/ordering_key",
            format!("needs the lane ordered; the lanes of this kind are {}", known()),
        ));
    }
}

fn run_at(at: Option<Timestamp>, delay: Option<u64>, now: Timestamp, faults: &mut Vec<Fault>) -> Option<Timestamp> {
    const TOO_FAR: &str = "may be at most 366 days ahead";
    match (at, delay) {
        (None, None) => None,
        (Some(_), Some(_)) => {
            faults.push(Fault::at("/delay_seconds", "goes without `run_at`: say one of them"));
            None
        }
        (Some(at), None) => {
            if at.duration_since(now) > FARTHEST {
                faults.push(Fault::at("/run_at", TOO_FAR));
            }
            Some(millis(at))
        }
        (None, Some(seconds)) => match i64::try_from(seconds).map(SignedDuration::from_secs) {
            Ok(delay) if delay <= FARTHEST => Some(now + delay),
            _ => {
                faults.push(Fault::at("/delay_seconds", TOO_FAR));
                None
            }
        },
    }
}

fn check_tags(tags: &[String], faults: &mut Vec<Fault>) {
    if tags.len() > 10 {
        faults.push(Fault::at("/tags", "there may be at most 10"));
    }
    for (index, tag) in tags.iter().take(10).enumerate() {
        check_line(&format!("/tags/{index}"), tag, 64, faults);
    }
}

/// A text of 1 to `most` characters on one line.
pub(crate) fn check_line(pointer: &str, text: &str, most: usize, faults: &mut Vec<Fault>) {
    if !(1..=most).contains(&text.chars().count()) || text.chars().any(char::is_control) {
        faults.push(Fault::at(pointer, format!("has 1 to {most} characters, none of them control characters")));
    }
}

/// What to show of a job.
#[derive(Debug, Deserialize)]
pub struct ShowQuery {
    include: Option<String>,
}

/// See a job.
///
/// With `Prefer: wait=N` the answer comes when the job is `succeeded`, `dead` or `cancelled`, and after N seconds whatever its
/// state is.
#[utoipa::path(
    get, path = "/v1/jobs/{id}", operation_id = "show_job", tag = "jobs", security(("key" = ["jobs:read"])),
    params(
        ("id" = String, Path, description = "The job"),
        ("include" = Option<String>, Query, description = "`payload`: show the payload too"),
        ("Prefer" = Option<String>, Header, description = "`wait=N`: wait up to N seconds for the job's end, at most 25"),
    ),
    responses(
        (status = 200, body = JobView, headers(
            ("Preference-Applied" = String, description = "`wait=N`, with the N that was heeded"),
        )),
        (status = 422, body = crate::problem::ProblemBody, content_type = "application/problem+json",
         description = "`include` is something else than `payload`"),
        NotFound, KeyProblems, ServiceProblems
    )
)]
pub async fn show(
    caller: Caller<JobsRead>,
    State(api): State<Arc<Api>>,
    Id(id): Id<JobId>,
    query: Result<Query<ShowQuery>, QueryRejection>,
    headers: HeaderMap,
) -> Answer<Response> {
    let include = query.map(|Query(query)| query.include);
    let with_payload = match include.as_ref().map(Option::as_deref) {
        Ok(None) => false,
        Ok(Some("payload")) => true,
        _ => return Err(Problem::invalid(vec![Fault::parameter("include", "may be `payload`")])),
    };
    let wait = prefer::wait(&headers);
    let job = match wait {
        Some(wait) => ended(&api, &caller.tenant, &id, wait).await?,
        None => find(&api, &caller.tenant, &id).await?,
    };
    let mut view = view(&api, &job, with_payload).await?;
    if caller.may(Scope::AudienceRead) {
        view = with_file(&api, view).await?;
    }
    let mut response = Json(view).into_response();
    if let Some(wait) = wait {
        let applied = HeaderValue::from_str(&format!("wait={}", wait.as_secs())).map_err(|_| Problem::internal())?;
        response.headers_mut().insert(prefer::PREFERENCE_APPLIED, applied);
    }
    Ok(response)
}

/// The job at its end, or as it is after `wait`. Each look is one read of the table, so looks get rarer.
async fn ended(api: &Api, tenant: &Tenant, id: &JobId, wait: Duration) -> Answer<Job> {
    const RAREST: Duration = Duration::from_secs(1);
    let end = Instant::now() + wait;
    let mut pause = Duration::from_millis(100);
    loop {
        let job = find(api, tenant, id).await?;
        let left = end.saturating_duration_since(Instant::now());
        if job.state.is_final() || left.is_zero() {
            return Ok(job);
        }
        tokio::time::sleep(pause.min(left)).await;
        pause = (pause * 3 / 2).min(RAREST);
    }
}

/// The tenant's job of this id.
pub(crate) async fn find(api: &Api, tenant: &Tenant, id: &JobId) -> Answer<Job> {
    api.intake.jobs.get(id).await?.filter(|job| job.tenant == *tenant).ok_or_else(Problem::not_found)
}
