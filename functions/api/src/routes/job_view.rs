//! A job as the API shows it.

use crate::app::Api;
use crate::problem::Answer;
use jiff::Timestamp;
use millrace::domain::job::{Job, Stored};
use millrace::jobs::{current_name, kind};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::time::Duration;
use utoipa::ToSchema;

/// How long a link to a result or a payload is valid.
const LINK_VALID: Duration = Duration::from_secs(3600);

/// How far a job is.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct ProgressView {
    /// 0 to 100.
    pub percent: u8,
    /// What is being done.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
}

/// Why an attempt failed.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct JobErrorView {
    /// What kind of failure, such as `transient`, `permanent`, `timeout` or `expired`.
    pub class: String,
    /// What happened.
    pub message: String,
    /// Which attempt it was.
    pub attempt: u32,
    /// When.
    #[schema(value_type = String, format = DateTime)]
    pub at: Timestamp,
}

/// A job.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct JobView {
    /// Its identifier.
    #[schema(example = "job_0197b3f2a4c87d0e9b61f2c35a7e4d18")]
    pub id: String,
    /// What is to be done.
    #[schema(example = "echo")]
    pub kind: String,
    /// `scheduled`, `queued`, `running`, `succeeded`, `dead` or `cancelled`.
    #[schema(example = "queued")]
    pub state: String,
    /// Which lane it takes, unless it has an `ordering_key`: `high`, `normal` or `low`.
    #[schema(example = "normal")]
    pub priority: String,
    /// It runs after the jobs of its kind that were accepted before with this key, and not beside them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ordering_key: Option<String>,
    /// How often it was tried so far.
    pub attempt: u32,
    /// How often it is tried at most.
    pub max_attempts: u32,
    /// Its labels.
    pub tags: Vec<String>,
    /// To be called when it is over.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub callback_url: Option<String>,
    /// The group it belongs to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(example = "grp_0197b3f2a4c87d0e9b61f2c35a7e4d18")]
    pub group: Option<String>,
    /// When it was accepted.
    #[schema(value_type = String, format = DateTime)]
    pub created_at: Timestamp,
    /// When it last changed.
    #[schema(value_type = String, format = DateTime)]
    pub updated_at: Timestamp,
    /// Not to be started before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub run_at: Option<Timestamp>,
    /// Not to be started after.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub expires_at: Option<Timestamp>,
    /// When the last attempt started.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub started_at: Option<Timestamp>,
    /// When it came to its final state.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub finished_at: Option<Timestamp>,
    /// How far it is, when its worker tells.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub progress: Option<ProgressView>,
    /// Somebody wants it cancelled, and it was running when they said so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cancel_requested: Option<bool>,
    /// What came of it. A large result is at `result_url`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    pub result: Option<Value>,
    /// Where a large result can be read without a key, for an hour from this answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub result_url: Option<String>,
    /// Where the file that the job made can be read without a key, for an hour from this answer. An export and an import make
    /// one, for seven days. It holds addresses: only a key that has `audience:read` too is shown it, and not in lists.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file_url: Option<String>,
    /// Why the last attempt failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<JobErrorView>,
    /// What it works on, with `?include=payload`. A large payload is at `payload_url`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    pub payload: Option<Value>,
    /// Where a large payload can be read without a key, for an hour from this answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub payload_url: Option<String>,
}

impl JobView {
    /// The job without what is kept apart: its payload and a large result.
    #[must_use]
    pub fn of(job: &Job) -> Self {
        Self {
            id: job.id.to_string(),
            kind: current_name(&job.kind).to_owned(),
            state: job.state.as_str().to_owned(),
            priority: job.priority.as_str().to_owned(),
            ordering_key: job.ordering_key.as_ref().map(|key| key.as_str().to_owned()),
            attempt: job.attempt,
            max_attempts: job.max_attempts,
            tags: job.tags.clone(),
            callback_url: job.callback_url.clone().map(String::from),
            group: job.group.as_ref().map(|member| member.group.to_string()),
            created_at: job.created_at,
            updated_at: job.updated_at,
            run_at: job.run_at,
            expires_at: job.expires_at,
            started_at: job.started_at,
            finished_at: job.finished_at,
            progress: job.progress.as_ref().map(|p| ProgressView { percent: p.percent, note: p.note.clone() }),
            cancel_requested: job.cancel_requested.then_some(true),
            result: None,
            result_url: None,
            file_url: None,
            error: job.error.as_ref().map(|error| JobErrorView {
                class: error.class.clone(),
                message: error.message.clone(),
                attempt: error.attempt,
                at: error.at,
            }),
            payload: None,
            payload_url: None,
        }
    }
}

/// The whole job, with links to what is kept in the bucket.
pub(crate) async fn view(api: &Api, job: &Job, with_payload: bool) -> Answer<JobView> {
    let mut view = JobView::of(job);
    (view.result, view.result_url) = stored(api, job.result.as_ref()).await?;
    if with_payload {
        (view.payload, view.payload_url) = stored(api, Some(&job.payload)).await?;
    }
    Ok(view)
}

/// Adds the link to the file that the job made.
pub(crate) async fn with_file(api: &Api, mut view: JobView) -> Answer<JobView> {
    // Nobody but Millrace itself can say which file it is.
    let own = kind(&view.kind).is_some_and(|kind| kind.internal);
    if let Some(key) = view.result.as_ref().and_then(|result| result["file"].as_str()).filter(|_| own) {
        view.file_url = Some(api.intake.blobs.url(key, LINK_VALID).await?);
    }
    Ok(view)
}

async fn stored(api: &Api, stored: Option<&Stored>) -> Answer<(Option<Value>, Option<String>)> {
    Ok(match stored {
        None => (None, None),
        Some(Stored::Inline(json)) => (Some(json.clone()), None),
        Some(Stored::Blob(key)) => (None, Some(api.intake.blobs.url(key, LINK_VALID).await?)),
    })
}
