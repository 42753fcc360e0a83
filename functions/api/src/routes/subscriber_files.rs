//! Whole lists of subscribers as CSV files, by jobs.

use crate::app::Api;
use crate::auth::{AudienceRead, AudienceWrite, Caller};
use crate::extract::Body;
use crate::fields::{ConsentRequest, present};
use crate::problem::{Answer, BodyProblems, Fault, KeyProblems, Problem, ServiceProblems};
use crate::routes::job_view::JobView;
use crate::routes::newsletters;
use axum::Json;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use jiff::Timestamp;
use millrace::accept;
use millrace::domain::id::{JobId, NewsletterId, Tenant};
use millrace::domain::people::SubscriberStatus;
use millrace::job::Job;
use millrace::jobs::{Existing, ExportSubscribers, ImportSubscribers};
use millrace::lists::upload_key;
use millrace::own_job::own_job;
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use std::time::Duration;
use utoipa::ToSchema;

/// How long a link to upload is valid.
const UPLOAD_WITHIN: Duration = Duration::from_secs(3600);

/// A list to be imported.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, expecting = "an object")]
#[schema(example = json!({
    "newsletter": "nl_0197b3f2a4c87d0e9b61f2c35a7e4d18",
    "consent": {"source": "the list of the spring fair", "at": "2026-03-01T09:30:00Z"}
}))]
pub struct ImportRequest {
    /// The newsletter.
    #[schema(value_type = String)]
    newsletter: NewsletterId,
    /// The proof that everybody on the list wants this newsletter.
    consent: ConsentRequest,
    /// What to do with an address that is subscribed already: `keep` (default) leaves it as it is; `update` gives it the name,
    /// the time zone and the tags that its line has. One that unsubscribed stays so in any case.
    #[serde(default, deserialize_with = "present")]
    #[schema(value_type = Option<String>)]
    existing: Option<Existing>,
}

/// Where a file is to be sent.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct UploadView {
    /// `PUT` the file there, at most 5 GiB. It needs no key.
    pub url: String,
    /// `PUT`.
    pub method: String,
    /// Until when.
    #[schema(value_type = String, format = DateTime)]
    pub expires_at: Timestamp,
}

/// An import: the job, and where its file is to be sent.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct ImportAnswer {
    /// The job. Its result counts the lines; `file_url` leads to the report of those that are not in the list, and why.
    pub job: JobView,
    /// Where the file is to be sent.
    pub upload: UploadView,
}

/// Import a list of subscribers.
///
/// Send the file to `upload.url`; the job begins when it is there. The file is CSV in UTF-8, separated by commas, semicolons
/// or tabs. Its first line names the columns, in any order: `email`, and perhaps `name`, `time_zone` and `tags`, which are
/// separated by semicolons; others are left aside. Of lines that would add the same address, the first counts. Addresses that are suppressed,
/// unsubscribed or wait for a confirmation are left out.
#[utoipa::path(
    post, path = "/v1/subscribers/import", operation_id = "import_subscribers", tag = "people", security(("key" = ["audience:write"])),
    request_body = ImportRequest,
    responses(
        (status = 202, body = ImportAnswer, description = "The job waits for the file",
         headers(("Location" = String, description = "Where the job is to be seen"))),
        BodyProblems, KeyProblems, ServiceProblems
    )
)]
pub async fn import(
    caller: Caller<AudienceWrite>,
    State(api): State<Arc<Api>>,
    Body { value: request, .. }: Body<ImportRequest>,
) -> Answer<Response> {
    let now = api.now();
    let mut faults = missing(&api, &caller.tenant, &request.newsletter).await?;
    let Some(consent) = request.consent.consent(now) else {
        faults.push(Fault::at("/consent/at", "may not be in the future"));
        return Err(Problem::invalid(faults));
    };
    if !faults.is_empty() {
        return Err(Problem::invalid(faults));
    }
    let job = ImportSubscribers {
        newsletter: request.newsletter,
        consent_source: consent.source,
        consent_at: consent.at,
        existing: request.existing.unwrap_or(Existing::Keep),
        created_at: now,
        upload_until: now + UPLOAD_WITHIN,
    };
    let id = JobId::from_uuid(uuid::Uuid::now_v7());
    let url = api.files.upload_url(&upload_key(&id), UPLOAD_WITHIN).await?;
    let upload = UploadView { url, method: "PUT".to_owned(), expires_at: job.upload_until };
    let (location, job) = submit(&api, id, &caller.tenant, &job, now).await?;
    Ok((StatusCode::ACCEPTED, [(header::LOCATION, location)], Json(ImportAnswer { job, upload })).into_response())
}

/// What is to be exported.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, expecting = "an object")]
#[schema(example = json!({"newsletter": "nl_0197b3f2a4c87d0e9b61f2c35a7e4d18", "status": "active"}))]
pub struct ExportRequest {
    /// The newsletter.
    #[schema(value_type = String)]
    newsletter: NewsletterId,
    /// Only `pending`, `active` or `unsubscribed` ones.
    #[serde(default, deserialize_with = "present")]
    #[schema(value_type = Option<String>)]
    status: Option<SubscriberStatus>,
    /// Only those with this tag.
    #[serde(default, deserialize_with = "present")]
    tag: Option<String>,
}

/// Export a newsletter's subscribers.
///
/// The job writes a CSV file, with the columns of an import first; when it has succeeded, its `file_url` leads there. The file
/// is kept for seven days.
#[utoipa::path(
    post, path = "/v1/subscribers/export", operation_id = "export_subscribers", tag = "people", security(("key" = ["audience:read"])),
    request_body = ExportRequest,
    responses(
        (status = 202, body = JobView, description = "The job is on its way",
         headers(("Location" = String, description = "Where the job is to be seen"))),
        BodyProblems, KeyProblems, ServiceProblems
    )
)]
pub async fn export(
    caller: Caller<AudienceRead>,
    State(api): State<Arc<Api>>,
    Body { value: request, .. }: Body<ExportRequest>,
) -> Answer<Response> {
    let faults = missing(&api, &caller.tenant, &request.newsletter).await?;
    if !faults.is_empty() {
        return Err(Problem::invalid(faults));
    }
    let job = ExportSubscribers { newsletter: request.newsletter, status: request.status, tag: request.tag };
    let id = JobId::from_uuid(uuid::Uuid::now_v7());
    let (location, job) = submit(&api, id, &caller.tenant, &job, api.now()).await?;
    Ok((StatusCode::ACCEPTED, [(header::LOCATION, location)], Json(job)).into_response())
}

async fn missing(api: &Api, tenant: &Tenant, newsletter: &NewsletterId) -> Answer<Vec<Fault>> {
    Ok(match newsletters::find(api, tenant, newsletter).await? {
        Some(_) => Vec::new(),
        None => vec![Fault::at("/newsletter", "there is no such newsletter")],
    })
}

async fn submit<J: Job>(api: &Api, id: JobId, tenant: &Tenant, job: &J, now: Timestamp) -> Answer<(String, JobView)> {
    let mut new = own_job(id, tenant, job, None);
    // Nobody knows its id: what is not accepted now is never asked for again.
    new.repeatable = false;
    let accepted = accept::submit(&api.intake, new, now).await?;
    Ok((format!("/v1/jobs/{}", accepted.job.id), JobView::of(&accepted.job)))
}
