//! The kind `retry-jobs`: retries many dead jobs.

use anyhow::{Context as _, anyhow};
use futures::stream::{self, StreamExt as _};
use jiff::{SignedDuration, Timestamp};
use millrace::domain::job::{Event, Job};
use millrace::job::{Failure, Job as _, Outcome};
use millrace::jobs::{RetryJobs, current_name, kind};
use millrace::ports::{Applied, Checkpoints, DeadJob, DeadJobs, Death, Jobs, PortError};
use millrace::queues::JobQueues;
use millrace::release::release;
use millrace::worker::handlers::Attempt;
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::sync::Arc;
use std::time::Duration;

/// Jobs that are retried between two checkpoints.
const PAGE: usize = 100;
/// Entries of the index that are read at once to count.
const COUNTED: usize = 1_000;
/// Writes at the same time.
const CONCURRENCY: usize = 16;
/// No page is begun with less time than this left; the rest is the next invocation's.
const LEAST_TIME: SignedDuration = SignedDuration::from_secs(3);

/// What a bulk retry works with.
#[derive(Clone)]
pub(crate) struct Retrier {
    pub(crate) jobs: Arc<dyn Jobs>,
    pub(crate) dead: Arc<dyn DeadJobs>,
    pub(crate) checkpoints: Arc<dyn Checkpoints>,
    pub(crate) queues: JobQueues,
}

/// How far a bulk retry has come.
#[derive(Debug, Serialize, Deserialize)]
struct State {
    /// When it began. What dies later is not its business: else a job that dies again would be retried for ever.
    began: Timestamp,
    /// Up to where the index was looked through, for counting first and then for retrying.
    place: Option<Death>,
    /// How many jobs fit, as far as they were counted.
    matched: u64,
    /// Whether all were counted.
    counted: bool,
    /// The jobs that are being retried.
    page: Vec<Death>,
    /// Whether the index was looked through to its end for retrying.
    last: bool,
    /// Jobs that are on their way again.
    retried: u64,
    /// Jobs that were dead no more, or are of no known kind.
    refused: u64,
}

/// What became of one job.
enum Retried {
    Done(Box<Job>),
    /// It is not dead any more, or died another time since.
    Gone,
}

impl Retrier {
    /// Safe to run twice: a job is retried only from the death that was seen. The jobs of a page are written down before they
    /// are retried, so that an attempt that follows a crash knows what to count.
    pub(crate) async fn run(&self, wanted: RetryJobs, attempt: Attempt) -> Outcome {
        let mut state = self.load(&attempt).await?;
        // What a dead attempt left half done: who is not dead any more was retried by it.
        let mut interrupted = !state.page.is_empty();
        loop {
            if attempt.deadline.duration_since(attempt.now()) < LEAST_TIME {
                self.save(&attempt, &state).await?;
                return Err(Failure::Snooze(Duration::ZERO));
            }
            if !state.counted {
                self.count(&wanted, &attempt, &mut state).await?;
                self.save(&attempt, &state).await?;
                continue;
            }
            if state.page.is_empty() && !state.last {
                self.next_page(&wanted, &attempt, &mut state).await?;
                self.save(&attempt, &state).await?;
            }
            self.retry_page(&attempt, &mut state, interrupted).await?;
            interrupted = false;
            let total = wanted.limit.map_or(state.matched, |limit| limit.min(state.matched));
            let done = state.retried + state.refused;
            if state.last {
                return Ok(json!({ "matched": done, "retried": state.retried, "refused": state.refused }));
            }
            let percent = done.saturating_mul(100).checked_div(total).unwrap_or(100).min(100);
            let note = format!("{done} of {total}");
            attempt.progress(u8::try_from(percent).unwrap_or(100), Some(&note)).await?;
        }
    }

    async fn load(&self, attempt: &Attempt) -> Result<State, Failure> {
        match self.checkpoints.load(&attempt.id).await? {
            Some(state) => Ok(serde_json::from_value(state).context("the checkpoint cannot be read")?),
            None => Ok(State {
                began: attempt.now(),
                place: None,
                matched: 0,
                counted: false,
                page: Vec::new(),
                last: false,
                retried: 0,
                refused: 0,
            }),
        }
    }

    async fn save(&self, attempt: &Attempt, state: &State) -> Result<(), Failure> {
        if self.checkpoints.save(&attempt.id, attempt.fence, &json!(state), attempt.now()).await? {
            Ok(())
        } else {
            Err(Failure::Retry(anyhow!("the lease was lost: another worker has the job")))
        }
    }

    /// Counts the next jobs that fit.
    async fn count(&self, wanted: &RetryJobs, attempt: &Attempt, state: &mut State) -> Result<(), PortError> {
        let listed = self.dead.dead(&attempt.tenant, state.place.as_ref(), state.began, COUNTED).await?;
        state.matched += listed.iter().filter(|job| fits(wanted, job)).count() as u64;
        state.counted = listed.len() < COUNTED || wanted.limit.is_some_and(|limit| state.matched >= limit);
        state.place = if state.counted { None } else { listed.into_iter().next_back().map(|job| job.death) };
        Ok(())
    }

    /// Looks for the next jobs to be retried.
    async fn next_page(&self, wanted: &RetryJobs, attempt: &Attempt, state: &mut State) -> Result<(), PortError> {
        let listed = self.dead.dead(&attempt.tenant, state.place.as_ref(), state.began, PAGE).await?;
        state.last = listed.len() < PAGE;
        for job in listed {
            let seen_to = state.retried + state.refused + state.page.len() as u64;
            if wanted.limit.is_some_and(|limit| seen_to >= limit) {
                state.last = true;
                break;
            }
            state.place = Some(job.death.clone());
            match (fits(wanted, &job), kind(&job.kind)) {
                (false, _) => {}
                (true, Some(_)) => state.page.push(job.death),
                (true, None) => state.refused += 1,
            }
        }
        Ok(())
    }

    async fn retry_page(&self, attempt: &Attempt, state: &mut State, interrupted: bool) -> Result<(), PortError> {
        let now = attempt.now();
        let page = std::mem::take(&mut state.page);
        let retries: Vec<_> = page.into_iter().map(|death| self.retry(death, now)).collect();
        let outcomes: Vec<Result<Retried, PortError>> =
            stream::iter(retries).buffer_unordered(CONCURRENCY).collect().await;
        let (mut due, mut failed) = (Vec::new(), None);
        for outcome in outcomes {
            match outcome {
                Ok(Retried::Done(job)) => {
                    state.retried += 1;
                    due.push((*job, now));
                }
                Ok(Retried::Gone) if interrupted => state.retried += 1,
                Ok(Retried::Gone) => state.refused += 1,
                Err(error) => failed = Some(error),
            }
        }
        // Jobs of one ordering key keep their order.
        due.sort_by_key(|(job, _)| job.created_at);
        // A job that is not sent here is the clock's.
        release(&*self.jobs, &self.queues, due, now).await;
        failed.map_or(Ok(()), Err)
    }

    async fn retry(&self, death: Death, now: Timestamp) -> Result<Retried, PortError> {
        let event = Event::Retry { payload: None, death: Some(death.at) };
        Ok(match self.jobs.apply(&death.id, &event, now).await? {
            Applied::Done(job) => Retried::Done(job),
            Applied::Refused(..) | Applied::Missing => Retried::Gone,
        })
    }
}

/// Whether a dead job is to be retried. A bulk retry is not retried by another one.
fn fits(wanted: &RetryJobs, job: &DeadJob) -> bool {
    let message = job.error.as_ref().map_or("", |error| error.message.as_str());
    job.kind != RetryJobs::KIND
        && wanted.kind.as_ref().is_none_or(|kind| current_name(&job.kind) == current_name(kind))
        && wanted.tag.as_ref().is_none_or(|tag| job.tags.contains(tag))
        && wanted.error_contains.as_ref().is_none_or(|part| message.contains(part.as_str()))
}

#[cfg(test)]
#[path = "retry_jobs_tests.rs"]
mod tests;
