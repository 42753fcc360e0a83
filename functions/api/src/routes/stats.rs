//! How many jobs there are, how deep the queues, and what happened lately.

use crate::app::Api;
use crate::auth::{Caller, JobsRead};
use crate::problem::{Answer, Fault, KeyProblems, Problem, ServiceProblems};
use axum::Json;
use axum::extract::{Query, State, rejection::QueryRejection};
use futures::stream::{self, StreamExt as _, TryStreamExt as _};
use jiff::{SignedDuration, Timestamp};
use millrace::domain::job::State as JobState;
use millrace::domain::stats::{BOUNDS_MS, BUCKETS, Counts, Happened, Minute, What};
use millrace::jobs::Worker;
use millrace::ports::{PortError, QueueDepths};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use utoipa::ToSchema;

/// Most minutes that are told at once: a day.
const MOST_MINUTES: i64 = 1_440;
/// How long the depths of the queues are told without another look.
const KEEP: SignedDuration = SignedDuration::from_secs(5);
/// Queues that are asked at the same time.
const CONCURRENCY: usize = 8;

/// Jobs of a kind, by state.
#[derive(Debug, Default, Serialize, Deserialize, ToSchema)]
pub struct KindCounts {
    /// The kind.
    #[schema(example = "echo")]
    pub kind: String,
    /// Wait for their time.
    pub scheduled: u64,
    /// Are on their queue.
    pub queued: u64,
    /// Are being worked on.
    pub running: u64,
    /// Are done; kept for 30 days.
    pub succeeded: u64,
    /// Will not be tried again by themselves; kept for 365 days.
    pub dead: u64,
    /// Were not wanted any more; kept for 30 days.
    pub cancelled: u64,
}

/// About how many messages a queue holds, of all tenants.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct QueueView {
    /// Its name after the stack's: the worker's name, and the lane's if it is not the normal one.
    #[schema(example = "echo-high")]
    pub queue: String,
    /// Can be received now.
    pub visible: u64,
    /// Are being worked on, or wait to be shown again.
    pub in_flight: u64,
    /// Wait for the end of their delay.
    pub delayed: u64,
    /// Could not be read by any worker. The lanes of a worker that are not ordered share their dead letters.
    pub dead_lettered: u64,
}

/// What happened to the jobs of a kind in a minute.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct MinuteView {
    /// When the minute began.
    #[schema(value_type = String, format = DateTime)]
    pub minute: Timestamp,
    /// The kind.
    #[schema(example = "echo")]
    pub kind: String,
    /// Jobs accepted.
    pub accepted: u64,
    /// Attempts begun.
    pub started: u64,
    /// Attempts that ended well.
    pub succeeded: u64,
    /// Attempts that failed and are followed by another.
    pub retried: u64,
    /// Attempts that gave their job back without having failed.
    pub snoozed: u64,
    /// Attempts that ended without a word.
    pub crashed: u64,
    /// Jobs that died.
    pub dead: u64,
    /// Jobs that were cancelled.
    pub cancelled: u64,
    /// Attempts by how long they waited since they could have begun, in the buckets of `bounds_ms`.
    pub wait: Vec<u64>,
    /// Attempts by how long they ran, in the buckets of `bounds_ms`.
    pub run: Vec<u64>,
}

/// How many jobs there are, how deep the queues, and what happened lately.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct StatsView {
    /// Jobs by kind and state.
    pub jobs: Vec<KindCounts>,
    /// The queues.
    pub queues: Vec<QueueView>,
    /// The upper bounds of the histograms' buckets; one more bucket holds what is longer.
    pub bounds_ms: Vec<u64>,
    /// What happened in each of the last `minutes`, oldest first. Minutes in which nothing happened are left out.
    pub minutes: Vec<MinuteView>,
}

/// Which minutes.
#[derive(Debug, Deserialize)]
pub struct StatsQuery {
    minutes: Option<String>,
}

/// See how much there is to do.
///
/// Counts follow what happens by some seconds. They are of your tenant; the queues hold all tenants' messages.
#[utoipa::path(
    get, path = "/v1/stats", operation_id = "stats", tag = "jobs", security(("key" = ["jobs:read"])),
    params(("minutes" = Option<u32>, Query, description = "Tell what happened in so many minutes, 0 (default) to 1440")),
    responses(
        (status = 200, body = StatsView),
        (status = 422, body = crate::problem::ProblemBody, content_type = "application/problem+json",
         description = "`minutes` is not a number from 0 to 1440"),
        KeyProblems, ServiceProblems
    )
)]
pub async fn stats(
    caller: Caller<JobsRead>,
    State(api): State<Arc<Api>>,
    query: Result<Query<StatsQuery>, QueryRejection>,
) -> Answer<Json<StatsView>> {
    let minutes = match query.map(|Query(query)| query.minutes.map(|text| text.parse::<i64>())) {
        Ok(None) => 0,
        Ok(Some(Ok(minutes))) if (0..=MOST_MINUTES).contains(&minutes) => minutes,
        _ => return Err(Problem::invalid(vec![Fault::parameter("minutes", "may be 0 to 1440")])),
    };
    let now = api.now();
    let states = api.counters.states(&caller.tenant).await?;
    let last = Minute::of(now);
    let first = Minute(last.0 - minutes + 1);
    let happened = match minutes {
        0 => BTreeMap::new(),
        _ => api.counters.minutes(&caller.tenant, first, last).await?,
    };
    Ok(Json(StatsView {
        jobs: kinds(&states),
        queues: api.depths.get(now).await?,
        bounds_ms: BOUNDS_MS.to_vec(),
        minutes: happened.iter().flat_map(|(minute, counts)| by_kind(*minute, counts)).collect(),
    }))
}

fn kinds(states: &Counts) -> Vec<KindCounts> {
    let mut kinds: BTreeMap<&str, KindCounts> = BTreeMap::new();
    for (count, number) in states {
        let What::In(state) = count.what else { continue };
        let new = || KindCounts { kind: count.kind.clone(), ..KindCounts::default() };
        let kind = kinds.entry(&count.kind).or_insert_with(new);
        let place = match state {
            JobState::Scheduled => &mut kind.scheduled,
            JobState::Queued => &mut kind.queued,
            JobState::Running => &mut kind.running,
            JobState::Succeeded => &mut kind.succeeded,
            JobState::Dead => &mut kind.dead,
            JobState::Cancelled => &mut kind.cancelled,
        };
        *place = u64::try_from(*number).unwrap_or(0);
    }
    kinds.into_values().collect()
}

fn by_kind(minute: Minute, counts: &Counts) -> Vec<MinuteView> {
    let mut kinds: Vec<&str> = counts.keys().map(|count| count.kind.as_str()).collect();
    kinds.dedup();
    let view = |kind: &str| {
        let of = |what| {
            let count = millrace::domain::stats::Count { kind: kind.to_owned(), what };
            counts.get(&count).map_or(0, |number| u64::try_from(*number).unwrap_or(0))
        };
        let buckets = || (0..BUCKETS).map(|bucket| u8::try_from(bucket).unwrap_or(u8::MAX));
        MinuteView {
            minute: minute.start(),
            kind: kind.to_owned(),
            accepted: of(What::Happened(Happened::Accepted)),
            started: of(What::Happened(Happened::Started)),
            succeeded: of(What::Happened(Happened::Succeeded)),
            retried: of(What::Happened(Happened::Retried)),
            snoozed: of(What::Happened(Happened::Snoozed)),
            crashed: of(What::Happened(Happened::Crashed)),
            dead: of(What::Happened(Happened::Dead)),
            cancelled: of(What::Happened(Happened::Cancelled)),
            wait: buckets().map(|bucket| of(What::Waited(bucket))).collect(),
            run: buckets().map(|bucket| of(What::Ran(bucket))).collect(),
        }
    };
    kinds.into_iter().map(view).collect()
}

/// The depths of the job queues, told for some seconds without another look: whoever watches asks often.
pub struct Depths {
    queues: Arc<dyn QueueDepths>,
    seen: Mutex<Option<(Vec<QueueView>, Timestamp)>>,
}

impl Depths {
    /// Nothing seen yet.
    #[must_use]
    pub fn new(queues: Arc<dyn QueueDepths>) -> Self {
        Self { queues, seen: Mutex::default() }
    }

    async fn get(&self, now: Timestamp) -> Result<Vec<QueueView>, PortError> {
        if let Some((seen, at)) = self.seen.lock().unwrap_or_else(PoisonError::into_inner).as_ref()
            && (SignedDuration::ZERO..KEEP).contains(&now.duration_since(*at))
        {
            return Ok(seen.clone());
        }
        let lanes: Vec<(String, String)> = Worker::ALL
            .into_iter()
            .flat_map(|worker| worker.lanes().iter().map(move |lane| (worker.queue(*lane), worker.dead_letters(*lane))))
            .collect();
        let looks = lanes.into_iter().map(|(queue, dead)| look(Arc::clone(&self.queues), queue, dead));
        let seen: Vec<QueueView> = stream::iter(looks).buffered(CONCURRENCY).try_collect().await?;
        *self.seen.lock().unwrap_or_else(PoisonError::into_inner) = Some((seen.clone(), now));
        Ok(seen)
    }
}

async fn look(queues: Arc<dyn QueueDepths>, queue: String, dead: String) -> Result<QueueView, PortError> {
    let (depth, dead) = tokio::try_join!(queues.depth(&queue), queues.depth(&dead))?;
    let dead_lettered = dead.visible + dead.in_flight;
    Ok(QueueView { queue, visible: depth.visible, in_flight: depth.in_flight, delayed: depth.delayed, dead_lettered })
}
