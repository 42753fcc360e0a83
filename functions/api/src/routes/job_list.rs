//! A tenant's jobs, newest first.

use crate::app::Api;
use crate::auth::{Caller, JobsRead};
use crate::problem::{Answer, Fault, KeyProblems, Problem, ProblemBody, ServiceProblems};
use crate::routes::job_view::{JobView, view};
use axum::Json;
use axum::extract::{Query, State};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jiff::Timestamp;
use millrace::domain::id::{JobId, Tenant};
use millrace::domain::job::{Job, State as JobState};
use millrace::jobs::current_name;
use millrace::ports::RecentJob;
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use std::sync::Arc;
use utoipa::ToSchema;

/// Jobs of a page when the caller does not say.
const USUAL: usize = 50;
/// Most jobs of a page, and of one read of the table.
const MOST: usize = 100;
/// Jobs that one request looks at. A filter that fits few of them is answered with a short page and the next cursor.
const LOOKED_AT: usize = 1_000;

/// Some of a tenant's jobs.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct JobPage {
    /// The jobs, newest first.
    pub jobs: Vec<JobView>,
    /// What to send as `cursor` for the jobs before these. Absent at the end. There may be no jobs and yet a cursor: then
    /// the filter fits none of those that were looked at.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_cursor: Option<String>,
}

/// What to list.
#[derive(Debug, Default)]
struct Wanted {
    state: Option<JobState>,
    kind: Option<String>,
    tag: Option<String>,
    limit: Option<usize>,
    after: Option<RecentJob>,
}

impl Wanted {
    /// Reads a query. An empty value is none.
    fn read(pairs: Vec<(String, String)>) -> Result<Self, Vec<Fault>> {
        let (mut wanted, mut faults) = (Self::default(), Vec::new());
        let mut seen = Vec::new();
        for (name, value) in pairs.into_iter().filter(|(_, value)| !value.is_empty()) {
            let wrong = match name.as_str() {
                "state" => {
                    wanted.state = JobState::ALL.into_iter().find(|state| state.as_str() == value);
                    let known = JobState::ALL.map(JobState::as_str).join(", ");
                    wanted.state.is_none().then(|| format!("is one of {known}"))
                }
                "kind" => {
                    wanted.kind = Some(current_name(&value).to_owned());
                    None
                }
                "tag" => {
                    wanted.tag = Some(value);
                    None
                }
                "limit" => {
                    wanted.limit = value.parse().ok().filter(|limit| (1..=MOST).contains(limit));
                    wanted.limit.is_none().then(|| format!("is 1 to {MOST}"))
                }
                "cursor" => {
                    wanted.after = open(&value);
                    wanted.after.is_none().then(|| "is the `next_cursor` of an earlier answer".to_owned())
                }
                _ => Some("is no parameter here: there are state, kind, tag, limit and cursor".to_owned()),
            };
            if let Some(wrong) = wrong {
                faults.push(Fault::parameter(&name, wrong));
            } else if seen.contains(&name) {
                faults.push(Fault::parameter(&name, "is said once"));
            }
            seen.push(name);
        }
        if faults.is_empty() { Ok(wanted) } else { Err(faults) }
    }

    fn fits(&self, job: &Job) -> bool {
        self.state.is_none_or(|state| job.state == state)
            && self.kind.as_ref().is_none_or(|kind| current_name(&job.kind) == kind)
            && self.tag.as_ref().is_none_or(|tag| job.tags.contains(tag))
    }
}

/// A place in the list as a cursor. It needs no signature: it names a place only, and the tenant is the caller's.
fn cursor(place: &RecentJob) -> String {
    URL_SAFE_NO_PAD.encode(format!("{}.{}", place.created_at.as_millisecond(), place.id))
}

fn open(cursor: &str) -> Option<RecentJob> {
    let text = String::from_utf8(URL_SAFE_NO_PAD.decode(cursor).ok()?).ok()?;
    let (created_at, id) = text.split_once('.')?;
    let created_at = Timestamp::from_millisecond(created_at.parse().ok()?).ok()?;
    Some(RecentJob { created_at, id: JobId::parse(id).ok()? })
}

/// List jobs.
///
/// The newest come first. A job that was submitted a moment ago may not be listed yet. One request looks at 1,000 jobs at
/// most: with a filter, go on by `next_cursor` until there is none.
#[utoipa::path(
    get, path = "/v1/jobs", operation_id = "list_jobs", tag = "jobs", security(("key" = ["jobs:read"])),
    params(
        ("state" = Option<String>, Query, description = "Only jobs in this state"),
        ("kind" = Option<String>, Query, description = "Only jobs of this kind"),
        ("tag" = Option<String>, Query, description = "Only jobs with this tag"),
        ("limit" = Option<usize>, Query, description = "At most so many, 1 to 100; 50 when absent"),
        ("cursor" = Option<String>, Query, description = "The `next_cursor` of the answer before"),
    ),
    responses(
        (status = 200, body = JobPage),
        (status = 422, body = ProblemBody, content_type = "application/problem+json",
         description = "A parameter is unknown or not as it must be; `errors` tells which"),
        KeyProblems, ServiceProblems
    )
)]
pub async fn list(
    caller: Caller<JobsRead>,
    State(api): State<Arc<Api>>,
    query: Query<Vec<(String, String)>>,
) -> Answer<Json<JobPage>> {
    let wanted = Wanted::read(query.0).map_err(Problem::invalid)?;
    let (jobs, next) = find(&api, &caller.tenant, &wanted).await?;
    let mut views = Vec::with_capacity(jobs.len());
    for job in &jobs {
        views.push(view(&api, job, false).await?);
    }
    Ok(Json(JobPage { jobs: views, next_cursor: next.as_ref().map(cursor) }))
}

/// The jobs that fit, and where to go on.
async fn find(api: &Api, tenant: &Tenant, wanted: &Wanted) -> Answer<(Vec<Job>, Option<RecentJob>)> {
    let limit = wanted.limit.unwrap_or(USUAL);
    let filtered = wanted.state.is_some() || wanted.kind.is_some() || wanted.tag.is_some();
    let page = if filtered { MOST } else { limit };
    let (mut found, mut place, mut looked_at) = (Vec::new(), wanted.after.clone(), 0);
    while looked_at < LOOKED_AT {
        let keys = api.intake.jobs.recent(tenant, place.as_ref(), page).await?;
        let ids: Vec<JobId> = keys.iter().map(|key| key.id.clone()).collect();
        let jobs = api.intake.jobs.get_many(&ids).await?;
        let mut by_id: HashMap<JobId, Job> = jobs.into_iter().map(|job| (job.id.clone(), job)).collect();
        let last = keys.len() < page;
        for key in keys {
            // The index may name a job that has just been deleted.
            found.extend(by_id.remove(&key.id).filter(|job| job.tenant == *tenant && wanted.fits(job)));
            looked_at += 1;
            place = Some(key);
            if found.len() == limit {
                return Ok((found, place));
            }
        }
        if last {
            return Ok((found, None));
        }
    }
    Ok((found, place))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_reads_back_and_nothing_else_does() {
        let created_at = Timestamp::from_millisecond(1_800_000_000_123).unwrap();
        let place = RecentJob { created_at, id: JobId::derived(&["x"]) };
        assert_eq!(open(&cursor(&place)), Some(place));
        for text in
            ["", "1", "1.", ".job_1", "x.job_1", "1.usr_1", "99999999999999999999.job_1", "9999999999999999.job_1"]
        {
            assert_eq!(open(&URL_SAFE_NO_PAD.encode(text)), None, "{text}");
        }
        assert_eq!(open("%%"), None);
    }
}
