//! Accepting a job: recorded in the table, then on its queue, and only then answered (promises P1 and P2).

use crate::domain::group::Member;
use crate::domain::id::{JobId, Tenant};
use crate::domain::job::{Event, Job, JobError, State, Stored};
use crate::domain::lane::{Lane, OrderingKey, Priority};
use crate::domain::target::CallbackUrl;
use crate::jobs::{JobMessage, Kind, Worker, current_name};
use crate::ports::{Blobs, Created, Jobs, Message, PortError};
use crate::queues::JobQueues;
use futures::stream::{self, StreamExt as _};
use jiff::{SignedDuration, Timestamp};
use serde_json::Value;
use sha2::{Digest, Sha256};
use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

/// Where jobs are put.
#[derive(Clone)]
pub struct Intake {
    /// The table of jobs.
    pub jobs: Arc<dyn Jobs>,
    /// Large payloads.
    pub blobs: Arc<dyn Blobs>,
    /// The queues of the workers.
    pub queues: JobQueues,
}

/// A job to be accepted. Its payload has passed the kind's check.
#[derive(Debug, Clone)]
pub struct NewJob {
    /// Its identifier: derived from the caller's key, or fresh.
    pub id: JobId,
    /// Whether `id` is derived from something the caller can repeat.
    pub repeatable: bool,
    /// [`fingerprint`] of what was asked.
    pub fingerprint: String,
    /// Whose it is.
    pub tenant: Tenant,
    /// What is to be done.
    pub kind: &'static Kind,
    /// With what.
    pub payload: Value,
    /// Which lane it takes, unless it has an ordering key. The kind's worker has the lane.
    pub priority: Priority,
    /// To be worked on after the jobs submitted before with this key, and not beside them. Then `run_at` is none.
    pub ordering_key: Option<OrderingKey>,
    /// Not to be started before.
    pub run_at: Option<Timestamp>,
    /// Not to be started after.
    pub expires_at: Option<Timestamp>,
    /// Attempts, 1-100; the kind's own when absent.
    pub max_attempts: Option<u32>,
    /// Longest one attempt may take.
    pub timeout: Option<Duration>,
    /// The caller's labels.
    pub tags: Vec<String>,
    /// To be called when it is over.
    pub callback_url: Option<CallbackUrl>,
    /// Its place in a group.
    pub group: Option<Member>,
}

/// A job that will not be lost.
#[derive(Debug, Clone, PartialEq)]
pub struct Accepted {
    /// The job as it is.
    pub job: Job,
    /// Whether it had been accepted before.
    pub replayed: bool,
}

/// Why a job was not accepted.
#[derive(Debug, thiserror::Error)]
pub enum SubmitError {
    /// The same id was used for a different request.
    #[error("another request was made under this key")]
    Mismatch,
    /// The table or the queue did not take it. Nothing was promised; the same request may be made again.
    #[error(transparent)]
    Unavailable(#[from] PortError),
}

/// SHA-256 of a request in canonical JSON (object keys sorted), as hex.
#[must_use]
pub fn fingerprint(request: &Value) -> String {
    // serde_json's maps are sorted: the `preserve_order` feature is off.
    Sha256::digest(request.to_string().as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Records a job and puts it on its queue. With an id that was accepted before it gives that job, and sends its message
/// again while the job waits: the first message may never have left, and a second does no harm.
///
/// # Errors
/// [`SubmitError::Mismatch`] when the id belongs to a different request; [`SubmitError::Unavailable`] when a service did
/// not take it.
pub async fn submit(intake: &Intake, new: NewJob, now: Timestamp) -> Result<Accepted, SubmitError> {
    let none = || Err(PortError::Unavailable(anyhow::anyhow!("no answer for the job")).into());
    submit_many(intake, vec![new], now).await.pop().unwrap_or_else(none)
}

/// Does for each job what [`submit`] does, and says of each what came of it, in order. Their messages leave together, in
/// as few requests as the queue takes.
///
/// The jobs of one ordering key are queued in the order given. When a service did not take one, the later ones of its key
/// are not queued either and are told so: asked for again, they would else have overtaken it.
pub async fn submit_many(intake: &Intake, new: Vec<NewJob>, now: Timestamp) -> Vec<Result<Accepted, SubmitError>> {
    let orders: Vec<Option<String>> = new.iter().map(order).collect();
    let recorded = stream::iter(new).map(|new| record(intake, new, now)).buffered(CONCURRENCY);
    let recorded: Vec<Result<Recorded, SubmitError>> = recorded.collect().await;
    let mut unsent: HashMap<usize, PortError> = HashMap::new();
    let mut by_lane: HashMap<(Worker, Lane), (Vec<usize>, Vec<Message>)> = HashMap::new();
    let mut held_up: HashSet<&str> = HashSet::new();
    for (index, (recorded, order)) in recorded.iter().zip(&orders).enumerate() {
        match recorded {
            Ok(Recorded { message: Some(_), .. }) if order.as_deref().is_some_and(|order| held_up.contains(order)) => {
                let why = anyhow::anyhow!("a job before it with its ordering key was not accepted");
                unsent.insert(index, PortError::Unavailable(why));
            }
            Ok(Recorded { worker, job, message: Some(message), .. }) => {
                let (indexes, messages) = by_lane.entry((*worker, job.lane())).or_default();
                indexes.push(index);
                messages.push(message.clone());
            }
            Err(SubmitError::Unavailable(_)) => held_up.extend(order.as_deref()),
            Ok(_) | Err(SubmitError::Mismatch) => {}
        }
    }
    for ((worker, lane), (indexes, messages)) in by_lane {
        let results = intake.queues.send(worker, lane, &messages).await;
        let failed = indexes.into_iter().zip(results).filter_map(|(index, sent)| Some((index, sent.err()?)));
        unsent.extend(failed);
    }
    let mut accepted = Vec::with_capacity(recorded.len());
    for (index, recorded) in recorded.into_iter().enumerate() {
        accepted.push(match (recorded, unsent.remove(&index)) {
            (Ok(Recorded { job, replayed, .. }), None) => Ok(Accepted { job, replayed }),
            (Ok(recorded), Some(error)) => {
                condemn(intake, &recorded, now).await;
                Err(error.into())
            }
            (Err(error), _) => Err(error),
        });
    }
    accepted
}

/// Whose order the job keeps, if it keeps one.
fn order(new: &NewJob) -> Option<String> {
    new.ordering_key.as_ref().map(|key| key.group(&new.tenant, new.kind.name))
}

/// Records and sends at the same time.
const CONCURRENCY: usize = 16;

/// A job in the table.
struct Recorded {
    job: Job,
    replayed: bool,
    repeatable: bool,
    worker: Worker,
    /// What is to bring it to its worker, unless the clock does.
    message: Option<Message>,
}

/// Records a job that the clock is to bring to its queue at its time, and sends nothing: the clock finds it. Gives the job, and
/// whether it is new; a job that was there under this id is given as it is, whatever was asked for then.
///
/// # Errors
/// When the table or the bucket did not take it.
pub(crate) async fn record_for_clock(intake: &Intake, new: NewJob, now: Timestamp) -> Result<(Job, bool), PortError> {
    let payload = stored_payload(intake, &new.id, new.payload.clone()).await?;
    let run_at = Some(new.run_at.unwrap_or(now));
    let job = Job { state: State::Scheduled, run_at, ..item(new, payload, now) };
    Ok(match intake.jobs.create(&job, true).await? {
        Created::New => (job, true),
        Created::Exists(old) => (*old, false),
    })
}

async fn record(intake: &Intake, new: NewJob, now: Timestamp) -> Result<Recorded, SubmitError> {
    let carried = new.payload.to_string().len() <= JobMessage::PAYLOAD_MAX;
    let payload = stored_payload(intake, &new.id, new.payload.clone()).await?;
    let wait = wait_until(new.run_at, now);
    let by_clock = wait > Message::MAX_DELAY;
    let (worker, repeatable, carried) = (new.kind.worker, new.repeatable, carried.then(|| new.payload.clone()));
    let job = Job {
        state: if wait.is_zero() { State::Queued } else { State::Scheduled },
        run_at: new.run_at.filter(|_| !wait.is_zero()),
        ..item(new, payload, now)
    };
    let (job, replayed) = match intake.jobs.create(&job, by_clock).await? {
        Created::New => (job, false),
        // The kind may have been renamed since.
        Created::Exists(old) if old.fingerprint == job.fingerprint && current_name(&old.kind) == job.kind => {
            (*old, true)
        }
        Created::Exists(_) => return Err(SubmitError::Mismatch),
    };
    // A repeat always sends: by its own time it cannot tell who carries the job, because it may be older than the request
    // that recorded it, and that one may have ended before it sent anything.
    let waits = matches!(job.state, State::Queued | State::Scheduled) && (replayed || !by_clock);
    let wait = wait_until(job.run_at, now).min(Message::MAX_DELAY);
    let message = waits.then(|| JobMessage::carrying(&job, carried, wait));
    Ok(Recorded { job, replayed, repeatable, worker, message })
}

/// A new job as it is stored, queued unless its caller says otherwise.
fn item(new: NewJob, payload: Stored, now: Timestamp) -> Job {
    Job {
        id: new.id,
        tenant: new.tenant,
        kind: new.kind.name.to_owned(),
        priority: new.priority,
        ordering_key: new.ordering_key,
        state: State::Queued,
        attempt: 0,
        max_attempts: new.max_attempts.unwrap_or(new.kind.max_attempts),
        fence: 0,
        fingerprint: new.fingerprint,
        tags: new.tags,
        created_at: now,
        updated_at: now,
        run_at: new.run_at,
        started_at: None,
        finished_at: None,
        lease_until: None,
        owner: None,
        expires_at: new.expires_at,
        timeout: new.timeout,
        callback_url: new.callback_url,
        group: new.group,
        progress: None,
        cancel_requested: false,
        payload,
        edited: false,
        result: None,
        error: None,
    }
}

/// Ends a job whose message did not leave, if nobody can ask for it again: nobody knows its id. Should the message have left
/// all the same, its worker finds a final job and does nothing.
async fn condemn(intake: &Intake, recorded: &Recorded, now: Timestamp) {
    if !recorded.repeatable && !recorded.replayed {
        let reason = JobError::new("not_queued", "the queue did not take the job; the caller was told", 0, now);
        let _ = intake.jobs.apply(&recorded.job.id, &Event::Condemn { error: reason }, now).await;
    }
}

/// Puts a payload where it belongs by its size.
pub(crate) async fn stored_payload(intake: &Intake, id: &JobId, payload: Value) -> Result<Stored, PortError> {
    let text = payload.to_string();
    if text.len() <= Stored::INLINE_MAX {
        return Ok(Stored::Inline(payload));
    }
    // The digest in the key keeps a different payload under one id from being left to this job.
    let digest = fingerprint(&payload);
    let key = format!("payloads/{id}-{}.json", digest.get(..16).unwrap_or(&digest));
    intake.blobs.put_new(&key, text.into_bytes(), "application/json").await?;
    Ok(Stored::Blob(key))
}

/// How long it is until `run_at`; zero when it is past.
pub(crate) fn wait_until(run_at: Option<Timestamp>, now: Timestamp) -> Duration {
    let wait = run_at.map_or(SignedDuration::ZERO, |at| at.duration_since(now));
    Duration::try_from(wait).unwrap_or_default()
}

#[cfg(test)]
#[path = "accept_tests.rs"]
mod tests;
