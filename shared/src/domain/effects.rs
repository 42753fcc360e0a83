//! What follows from a change of a job, beside its counts: an event for who listens, a call to who asked for one, a step of
//! its group. Pure, and the same each time a change is told.

use super::change::Change;
use super::group::Member;
use super::id::{JobId, Tenant, digest_hex};
use super::job::{Job, JobError, Stored};
use super::target::CallbackUrl;
use jiff::Timestamp;
use serde::Serialize;
use serde_json::Value;

/// What follows from a change.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Effects {
    /// To be told to the event bus.
    pub event: Option<JobEvent>,
    /// To be told to the job's owner.
    pub callback: Option<Callback>,
    /// The place in its group of a job that is over.
    pub closed: Option<Member>,
}

/// A job came to another state. It holds neither payload nor result, neither tags nor messages: nothing that a caller wrote.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct JobEvent {
    /// The event's own identifier, the same whenever it is told again.
    pub id: String,
    /// Which job.
    pub job: JobId,
    /// Whose it is.
    pub tenant: Tenant,
    /// Its kind.
    pub kind: String,
    /// Its state.
    pub state: &'static str,
    /// Its state before. Absent when it was just accepted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub previous: Option<&'static str>,
    /// How often it was tried.
    pub attempt: u32,
    /// How often it is tried at most.
    pub max_attempts: u32,
    /// When it came to this state.
    pub at: Timestamp,
    /// The class of its last error, once it had one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error_class: Option<String>,
}

impl JobEvent {
    /// The event's type, `millrace.job.<state>`.
    #[must_use]
    pub fn name(&self) -> String {
        format!("millrace.job.{}", self.state)
    }
}

/// A call that a job's owner asked for.
#[derive(Debug, Clone, PartialEq)]
pub struct Callback {
    /// The job that makes the call. A job that is retried and ends again has another.
    pub id: JobId,
    /// Whose it is.
    pub tenant: Tenant,
    /// Whom to call.
    pub url: CallbackUrl,
    /// What happened, such as `job.succeeded`.
    pub name: String,
    /// When.
    pub at: Timestamp,
    /// The job at its end, as the API shows it.
    pub data: Value,
}

/// A job at its end, under the names that the API shows it by. A result that is kept in the bucket is left out.
#[derive(Serialize)]
struct Ended<'a> {
    id: &'a JobId,
    kind: &'a str,
    state: &'static str,
    attempt: u32,
    max_attempts: u32,
    tags: &'a [String],
    created_at: Timestamp,
    #[serde(skip_serializing_if = "Option::is_none")]
    started_at: Option<Timestamp>,
    finished_at: Timestamp,
    #[serde(skip_serializing_if = "Option::is_none")]
    result: Option<&'a Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<&'a JobError>,
}

/// What follows from a change.
#[must_use]
pub fn effects(change: &Change) -> Effects {
    let Some(new) = change.after() else { return Effects::default() };
    let previous = change.before().map(|old| old.state);
    if previous == Some(new.state) {
        return Effects::default();
    }
    let event = JobEvent {
        id: format!("evt_{}", digest_hex(&["event", new.id.as_str(), change.sequence.as_str()])),
        job: new.id.clone(),
        tenant: new.tenant.clone(),
        kind: new.kind.clone(),
        state: new.state.as_str(),
        previous: previous.map(super::job::State::as_str),
        attempt: new.attempt,
        max_attempts: new.max_attempts,
        at: new.updated_at,
        error_class: new.error.as_ref().map(|error| error.class.clone()),
    };
    let over = new.state.is_final();
    Effects {
        event: Some(event),
        callback: if over { callback(new) } else { None },
        closed: new.group.clone().filter(|_| over),
    }
}

fn callback(job: &Job) -> Option<Callback> {
    let url = job.callback_url.clone()?;
    let at = job.finished_at.unwrap_or(job.updated_at);
    let ended = Ended {
        id: &job.id,
        kind: &job.kind,
        state: job.state.as_str(),
        attempt: job.attempt,
        max_attempts: job.max_attempts,
        tags: &job.tags,
        created_at: job.created_at,
        started_at: job.started_at,
        finished_at: at,
        result: match &job.result {
            Some(Stored::Inline(result)) => Some(result),
            Some(Stored::Blob(_)) | None => None,
        },
        error: job.error.as_ref(),
    };
    // The fence tells the runs of a job from each other, the time the ends of a job that was cancelled without a run.
    let (fence, ms) = (job.fence.to_string(), at.as_millisecond().to_string());
    Some(Callback {
        id: JobId::derived(&["callback", job.id.as_str(), &fence, &ms]),
        tenant: job.tenant.clone(),
        url,
        name: format!("job.{}", job.state.as_str()),
        at,
        data: serde_json::json!(ended),
    })
}

#[cfg(test)]
#[path = "effects_tests.rs"]
mod tests;
