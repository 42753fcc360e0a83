//! Jobs that are waited for together.
//!
//! The group is recorded before its jobs, with the places of all of them open: so none can be over unnoticed, and a group
//! whose maker dies half-way never looks complete. Whoever has its key may ask again, and the rest is done then.

use crate::accept::{Intake, NewJob, SubmitError, submit_many};
use crate::domain::group::Group;
use crate::domain::id::{GroupId, Tenant};
use crate::domain::job::{Event, JobError, Stored};
use crate::domain::lane::{OrderingKey, Priority};
use crate::domain::target::CallbackUrl;
use crate::jobs::kind;
use crate::ports::{Added, Groups, PortError};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::time::Duration;

/// A payload up to this many bytes is kept in the group itself, which is written whenever some of its jobs are over.
const INLINE_MAX: usize = 512;

/// A group to be accepted. Its jobs and the one that follows have passed their kinds' checks.
#[derive(Debug, Clone)]
pub struct NewGroup {
    /// Its identifier: derived from the caller's key, or fresh.
    pub id: GroupId,
    /// Whether `id` is derived from something the caller can repeat.
    pub repeatable: bool,
    /// [`fingerprint`](crate::accept::fingerprint) of what was asked.
    pub fingerprint: String,
    /// Whose it is.
    pub tenant: Tenant,
    /// 1 to [`MAX_MEMBERS`](crate::domain::group::MAX_MEMBERS) jobs. Their ids are derived from the group's.
    pub jobs: Vec<NewJob>,
    /// The job that runs when all are over, at once: `run_at` is left out.
    pub on_complete: NewJob,
}

/// A group that will not be lost.
#[derive(Debug, Clone, PartialEq)]
pub struct AcceptedGroup {
    /// The group as it is.
    pub group: Group,
    /// Whether it had been accepted before.
    pub replayed: bool,
}

/// The job that follows, as it is kept until then.
#[derive(Serialize, Deserialize)]
struct Following {
    kind: String,
    payload: Stored,
    priority: Priority,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    ordering_key: Option<OrderingKey>,
    fingerprint: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    expires_at: Option<Timestamp>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    max_attempts: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    timeout_ms: Option<u64>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    tags: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    callback_url: Option<CallbackUrl>,
}

/// Records a group, then its jobs, and puts these on their queues. With an id that was accepted before it gives that group;
/// with one that was recorded and not accepted it does the rest.
///
/// # Errors
/// [`SubmitError::Mismatch`] when the id belongs to a different request; [`SubmitError::Unavailable`] when a service did not
/// take something. Then nothing was promised, and a group that nobody can ask for again is given up: its jobs that have not
/// begun are dead, and nothing follows.
pub async fn submit(
    groups: &dyn Groups,
    intake: &Intake,
    new: NewGroup,
    now: Timestamp,
) -> Result<AcceptedGroup, SubmitError> {
    let size = u16::try_from(new.jobs.len()).unwrap_or(u16::MAX);
    let group = Group {
        on_complete: following(intake, &new).await?,
        id: new.id,
        tenant: new.tenant,
        fingerprint: new.fingerprint,
        size,
        open: (0..size).collect(),
        created_at: now,
        accepted_at: None,
        abandoned_at: None,
        completed_at: None,
    };
    let (mut group, replayed) = match groups.create(&group).await? {
        Added::New => (group, false),
        Added::Exists(old) if old.fingerprint != group.fingerprint => return Err(SubmitError::Mismatch),
        Added::Exists(old) => (*old, true),
    };
    if group.is_accepted() {
        return Ok(AcceptedGroup { group, replayed });
    }
    let jobs = new.jobs.into_iter().zip(0..).map(|(job, index)| {
        let member = group.member(index);
        NewJob { id: member.job(), repeatable: new.repeatable, group: Some(member), ..job }
    });
    let submitted = submit_many(intake, jobs.collect(), now).await;
    if let Some(error) = submitted.into_iter().find_map(Result::err) {
        if !new.repeatable {
            abandon(groups, intake, &group, now).await;
        }
        return Err(match error {
            // The ids of its jobs are derived from the group's, so no other request can have made them.
            SubmitError::Mismatch => PortError::Corrupt(anyhow::anyhow!("a job of the group is another one")).into(),
            error => error,
        });
    }
    groups.accepted(&group.id, now).await?;
    group.accepted_at = Some(now);
    Ok(AcceptedGroup { group, replayed })
}

/// Gives up a group whose maker is told that it was not accepted. What fails here costs work that nobody asked for.
async fn abandon(groups: &dyn Groups, intake: &Intake, group: &Group, now: Timestamp) {
    if let Err(error) = groups.abandoned(&group.id, now).await {
        tracing::warn!(group = %group.id, "a group could not be given up: {error}");
    }
    for job in group.jobs() {
        let error = JobError::new("not_queued", "its group was not taken; the caller was told", 0, now);
        let _ = intake.jobs.apply(&job, &Event::Condemn { error }, now).await;
    }
}

async fn following(intake: &Intake, new: &NewGroup) -> Result<Value, PortError> {
    // Taken apart, so that no field is forgotten.
    let NewJob {
        id: _,
        repeatable: _,
        fingerprint,
        tenant: _,
        kind,
        payload,
        priority,
        ordering_key,
        run_at: _,
        expires_at,
        max_attempts,
        timeout,
        callback_url,
        group: _,
        tags,
    } = &new.on_complete;
    let text = payload.to_string();
    let payload = if text.len() <= INLINE_MAX {
        Stored::Inline(payload.clone())
    } else {
        // Under the request's own name: another request with this id must not leave its payload to this one.
        let key = format!("payloads/{}-{}.json", new.id, new.fingerprint.get(..16).unwrap_or(&new.fingerprint));
        intake.blobs.put_new(&key, text.into_bytes(), "application/json").await?;
        Stored::Blob(key)
    };
    let following = Following {
        kind: kind.name.to_owned(),
        payload,
        priority: *priority,
        ordering_key: ordering_key.clone(),
        fingerprint: fingerprint.clone(),
        expires_at: *expires_at,
        max_attempts: *max_attempts,
        timeout_ms: timeout.map(|timeout| u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX)),
        tags: tags.clone(),
        callback_url: callback_url.clone(),
    };
    serde_json::to_value(following).map_err(|error| PortError::Refused(error.into()))
}

/// The job that follows a group.
///
/// # Errors
/// When its payload cannot be read, or this build does not know it.
pub async fn completion(intake: &Intake, group: &Group) -> Result<NewJob, PortError> {
    let following = Following::deserialize(&group.on_complete).map_err(|error| PortError::Corrupt(error.into()))?;
    let kind = kind(&following.kind);
    let kind = kind.ok_or_else(|| PortError::Corrupt(anyhow::anyhow!("there is no kind {}", following.kind)))?;
    let payload = match following.payload {
        Stored::Inline(payload) => payload,
        Stored::Blob(key) => {
            let bytes = intake.blobs.get(&key).await?;
            let bytes = bytes.ok_or_else(|| PortError::Corrupt(anyhow::anyhow!("the payload {key} is gone")))?;
            serde_json::from_slice(&bytes).map_err(|error| PortError::Corrupt(error.into()))?
        }
    };
    Ok(NewJob {
        id: group.completion(),
        repeatable: true,
        fingerprint: following.fingerprint,
        tenant: group.tenant.clone(),
        kind,
        payload,
        priority: following.priority,
        ordering_key: following.ordering_key,
        run_at: None,
        expires_at: following.expires_at,
        max_attempts: following.max_attempts,
        timeout: following.timeout_ms.map(Duration::from_millis),
        callback_url: following.callback_url,
        group: None,
        tags: following.tags,
    })
}

#[cfg(test)]
#[path = "groups_tests.rs"]
mod tests;
