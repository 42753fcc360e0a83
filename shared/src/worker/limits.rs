//! Rate limits: what a job has to pass before it is claimed.
//!
//! The records of a batch that start jobs of one kind take their starts together, by one write of the bucket. A job that may
//! not start yet is not claimed: its message comes back when its turn has come, and no attempt is spent. While the table cannot
//! be reached no limited job starts; it could not be claimed then either.

use super::handlers::Entry;
use crate::accept::wait_until;
use crate::domain::id::Tenant;
use crate::domain::rate::{Answer, Bucket, Gate, HORIZON, Limit, Rate, SOON, ask, gates};
use crate::jobs::{Line, Waited};
use crate::ports::{Clock, Limits, PortError};
use jiff::{SignedDuration, Timestamp};
use std::collections::HashMap;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// What the operator has set is read again after this, so a new limit holds in every worker by then.
const REFRESH: SignedDuration = SignedDuration::from_secs(15);
/// A start that was granted and not used is kept for this long after its time, for another job.
const KEEP: SignedDuration = SignedDuration::from_secs(1);
/// A bucket that said no is not asked again before this has passed.
const QUIET: SignedDuration = SignedDuration::from_secs(1);
/// How often a bucket is tried again that others change at the same time.
const TRIES: usize = 8;
/// Most buckets that are remembered.
const REMEMBERED: usize = 1_000;

/// The limits as one worker process sees them.
pub struct Limiter {
    limits: Arc<dyn Limits>,
    /// What the operator has set, and when it was read.
    set: Mutex<Option<(Timestamp, Arc<Vec<Limit>>)>>,
    /// Held by who reads it.
    reading: tokio::sync::Mutex<()>,
    doors: Mutex<HashMap<String, Arc<Door>>>,
}

/// One bucket, as this process knows it.
#[derive(Default)]
struct Door {
    /// Those that want to start now: new ones, and those that have waited.
    wanting: [AtomicU32; 2],
    /// Held by who asks the bucket.
    known: tokio::sync::Mutex<Known>,
    /// Starts that were granted and not used yet.
    starts: Mutex<Vec<Timestamp>>,
}

#[derive(Default)]
struct Known {
    bucket: Bucket,
    /// Places in the line that were given for others of this batch.
    places: Vec<Timestamp>,
    /// When the bucket last had nothing to give, to new ones and to those that have waited.
    refused: [Option<Timestamp>; 2],
}

/// What a job's message has waited for already.
#[derive(Debug, Clone, Copy)]
pub(super) enum Before {
    /// What it says itself.
    Told(Option<Waited>),
    /// It cannot say, being the same message every time, and was shown so often before.
    Shown(u8),
}

impl Before {
    /// How often it has waited at a line; `None`: it has passed that.
    fn times(self, line: Line) -> Option<u8> {
        match self {
            Self::Told(Some(waited)) if waited.line == line => Some(waited.times),
            Self::Told(Some(Waited { line: Line::Kind, .. })) => None,
            Self::Told(_) => Some(0),
            Self::Shown(times) => Some(times),
        }
    }
}

/// Whether a job may start.
pub(super) enum Passed {
    /// It may. The ticket is spent when the job is claimed.
    Go(Ticket),
    /// Its message is to come back after this.
    Wait(Duration, Option<Waited>),
}

/// The starts that a job was granted. Those that it does not use go to another.
#[derive(Default)]
pub(super) struct Ticket(Vec<(Arc<Door>, Timestamp)>);

impl Ticket {
    /// The job has started.
    pub(super) fn spend(mut self) {
        self.0.clear();
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        for (door, start) in self.0.drain(..) {
            door.starts.lock().unwrap_or_else(PoisonError::into_inner).push(start);
        }
    }
}

/// Counts one who wants to start, as long as it lives.
struct Wanting<'a>(&'a AtomicU32);

impl<'a> Wanting<'a> {
    fn new(count: &'a AtomicU32) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        Self(count)
    }
}

impl Drop for Wanting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

enum Turn {
    Start(Timestamp),
    Place(Timestamp),
    Nothing,
}

impl Limiter {
    /// The limits of this store, and those that the kinds name.
    #[must_use]
    pub fn new(limits: Arc<dyn Limits>) -> Self {
        Self { limits, set: Mutex::default(), reading: tokio::sync::Mutex::default(), doors: Mutex::default() }
    }

    /// Whether a job of the tenant may start. It may take a second.
    pub(super) async fn pass(
        &self,
        entry: &Entry,
        tenant: &Tenant,
        before: Before,
        clock: &dyn Clock,
        dice: fn() -> f64,
    ) -> Result<Passed, PortError> {
        let set = self.set(clock.now()).await?;
        let mut ticket = Ticket::default();
        let mut start = clock.now();
        for (line, gate) in [Line::Tenant, Line::Kind].into_iter().zip(gates(entry.kind, tenant, entry.policy, &set)) {
            let (Some(gate), Some(times)) = (gate, before.times(line)) else { continue };
            let door = self.door(&gate.bucket);
            let now = clock.now();
            match self.turn(&door, &gate, times > 0, now, dice).await? {
                Turn::Start(granted) => {
                    start = start.max(granted);
                    ticket.0.push((door, granted));
                }
                Turn::Place(place) => {
                    // Whoever waits at the second line has passed the first, and does not come to it again.
                    ticket.spend();
                    return Ok(Passed::Wait(wait_until(Some(place), now), Some(Waited { line, times: 1 })));
                }
                Turn::Nothing => {
                    let waited = (times > 0).then(|| Waited { line, times: times.saturating_add(1) });
                    return Ok(Passed::Wait(again(times, dice()), waited));
                }
            }
        }
        tokio::time::sleep(wait_until(Some(start), clock.now())).await;
        Ok(Passed::Go(ticket))
    }

    /// What the operator has set. When it cannot be read, what was read last goes on to hold.
    async fn set(&self, now: Timestamp) -> Result<Arc<Vec<Limit>>, PortError> {
        let held = || self.set.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let fresh = || held().filter(|(read, _)| now.duration_since(*read) < REFRESH).map(|(_, set)| set);
        if let Some(set) = fresh() {
            return Ok(set);
        }
        let _reading = self.reading.lock().await;
        if let Some(set) = fresh() {
            return Ok(set);
        }
        let set = match (self.limits.all().await, held()) {
            (Ok(set), _) => Arc::new(set),
            (Err(error), Some((_, set))) => {
                tracing::warn!("the limits could not be read, those of before hold: {error}");
                set
            }
            (Err(error), None) => return Err(error),
        };
        *self.set.lock().unwrap_or_else(PoisonError::into_inner) = Some((now, set.clone()));
        Ok(set)
    }

    fn door(&self, bucket: &str) -> Arc<Door> {
        let mut doors = self.doors.lock().unwrap_or_else(PoisonError::into_inner);
        if doors.len() >= REMEMBERED {
            doors.retain(|_, door| Arc::strong_count(door) > 1);
        }
        doors.entry(bucket.to_owned()).or_default().clone()
    }

    /// A start, or a place in the line, for one job.
    async fn turn(
        &self,
        door: &Door,
        gate: &Gate,
        waited: bool,
        now: Timestamp,
        dice: fn() -> f64,
    ) -> Result<Turn, PortError> {
        let wanting = Wanting::new(&door.wanting[usize::from(waited)]);
        // The other records of the batch come to this point too, so that one write serves them all.
        tokio::task::yield_now().await;
        let mut known = door.known.lock().await;
        if let Some(start) = unused(&door.starts, now) {
            return Ok(Turn::Start(start));
        }
        known.places.retain(|place| *place > now);
        if !waited && let Some(place) = known.places.pop() {
            return Ok(Turn::Place(place));
        }
        if known.refused[usize::from(waited)].is_some_and(|at| now.duration_since(at) < QUIET) {
            return Ok(Turn::Nothing);
        }
        let number = wanting.0.load(Ordering::Relaxed);
        let answer = self.ask(&mut known, gate, number, waited, now, dice).await?;
        if answer.starts.len() + answer.places.len() < usize::try_from(number).unwrap_or(usize::MAX) {
            known.refused[usize::from(waited)] = Some(now);
        }
        door.starts.lock().unwrap_or_else(PoisonError::into_inner).extend(answer.starts);
        known.places.extend(answer.places.into_iter().rev());
        if let Some(start) = unused(&door.starts, now) {
            return Ok(Turn::Start(start));
        }
        Ok(known.places.pop().map_or(Turn::Nothing, Turn::Place))
    }

    /// Asks the bucket as it was last seen, and again as it is when others have changed it since.
    async fn ask(
        &self,
        known: &mut Known,
        gate: &Gate,
        number: u32,
        waited: bool,
        now: Timestamp,
        dice: fn() -> f64,
    ) -> Result<Answer, PortError> {
        let Gate { bucket: name, rate } = gate;
        let mut current = false;
        for _ in 0..TRIES {
            let (answer, next) = given(known.bucket, *rate, number, waited, now);
            let Some(next) = next else {
                if current {
                    return Ok(answer);
                }
                known.bucket = self.limits.bucket(name).await?;
                current = true;
                continue;
            };
            // Another than before in any case, and than anybody else's by the dice.
            let mark = known.bucket.mark.unwrap_or_default().wrapping_add(1).wrapping_add(dice().to_bits());
            let next = Bucket { mark: Some(mark), ..next };
            match self.limits.swap(name, &known.bucket, &next).await? {
                Ok(()) => {
                    known.bucket = next;
                    return Ok(answer);
                }
                Err(other) => (known.bucket, current) = (other, true),
            }
        }
        Err(PortError::Throttled(anyhow::anyhow!("the limit {name} was changed by others {TRIES} times")))
    }
}

/// What the bucket gives; no bucket when that changes nothing.
fn given(bucket: Bucket, rate: Rate, number: u32, waited: bool, now: Timestamp) -> (Answer, Option<Bucket>) {
    let (answer, next) = ask(bucket, rate, number, waited, now);
    (answer, (next != bucket).then_some(next))
}

/// The earliest start that may still be used.
fn unused(starts: &Mutex<Vec<Timestamp>>, now: Timestamp) -> Option<Timestamp> {
    let mut starts = starts.lock().unwrap_or_else(PoisonError::into_inner);
    starts.retain(|start| *start + KEEP >= now);
    let earliest = starts.iter().enumerate().min_by_key(|(_, start)| **start)?.0;
    Some(starts.swap_remove(earliest))
}

/// How long until a job asks again that got nothing. One that finds the line full comes back when there may be room; one that
/// has waited comes back soon, and later each time.
fn again(times: u8, dice: f64) -> Duration {
    let longest = Duration::try_from(HORIZON).unwrap_or_default();
    let most = if times == 0 { longest } else { Duration::from_secs(1 << times.min(10)).min(longest) };
    most.mul_f64(0.5 + dice.clamp(0.0, 1.0) / 2.0).max(Duration::try_from(SOON).unwrap_or_default())
}

#[cfg(test)]
#[path = "limits_tests.rs"]
mod tests;
