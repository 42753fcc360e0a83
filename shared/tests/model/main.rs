//! Claim, lease, finish and redelivery as a model: every order of events of two workers, the clock and two messages of one
//! job, with crashes between any two calls, calls refused, answers lost, and processes frozen beyond their lease.
//!
//! What happens to the job is decided by [`transition`] itself; the steps around it are those of `worker/runner.rs` and
//! `release.rs`. Time is counted in ticks. It moves freely at first, and later only when nothing else is left to do, so a
//! message may be late but not for ever. What goes wrong is limited by [`Budget`], which makes the states finite: a run
//! ends where no step is left, and there the job has to be final.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod protocol;

use jiff::Timestamp;
use millrace::domain::job::{Carrier, Event, Job, JobError, Refused, State, transition};
use protocol::Protocol;
use stateright::{Checker, Model as _};
use std::hash::{Hash, Hasher};
use std::time::Instant;

/// An invocation's time.
const TIMEOUT: i64 = 2;
/// How much longer the lease may be.
const MARGIN: i64 = 1;
/// How long a claim or a heartbeat holds the job, in the runs with heartbeats. In the others a claim holds it to the end of the
/// invocation and a little longer, as for one so short that no heartbeat comes in it.
const LEASE: i64 = 2;
/// How long a received message is hidden.
const VISIBILITY: i64 = 4;
/// The longest delay of a message.
const MAX_DELAY: i64 = 2;
/// How far the clock looks ahead.
const AHEAD: i64 = 1;
/// Until then messages may be late.
const LATE: i64 = 3;
const MAX_ATTEMPTS: u32 = 2;

fn at(tick: i64) -> Timestamp {
    Timestamp::from_second(1_800_000_000 + tick).unwrap()
}

fn tick(at: Timestamp) -> i64 {
    at.as_second() - 1_800_000_000
}

/// The job as it is in the table. Two are one state of the model when nothing that a guard reads tells them apart.
#[derive(Debug, Clone)]
struct Row(Job);

impl Row {
    fn seen(&self) -> impl Hash + PartialEq {
        let Job { state, attempt, fence, run_at, lease_until, expires_at, .. } = &self.0;
        (*state, *attempt, *fence, run_at.map(tick), lease_until.map(tick), expires_at.map(tick))
    }
}

impl PartialEq for Row {
    fn eq(&self, other: &Self) -> bool {
        self.seen() == other.seen()
    }
}

impl Hash for Row {
    fn hash<H: Hasher>(&self, hasher: &mut H) {
        self.seen().hash(hasher);
    }
}

/// What may still go wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Budget {
    /// Processes that end.
    crashes: u8,
    /// Calls that are refused, or whose answer is lost.
    faults: u8,
    /// Processes that are frozen and go on after their time.
    freezes: u8,
    /// Attempts that end in a snooze, or in a wait too long for the queue.
    waits: u8,
    /// Heartbeats.
    beats: u8,
}

/// What a handler comes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Outcome {
    Succeed,
    Bury,
    Retry,
    Snooze,
    /// A retry that the clock has to bring.
    RetryLate,
}

/// What becomes of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Call {
    Answered,
    Refused,
    /// Carried out, but the caller does not hear of it.
    Lost,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Doing {
    /// About to claim.
    Received,
    /// In the handler. `claim` counts the claims there were, apart from the job's own fence; the worker knows of a lease until
    /// `lease`, and runs the handler only so long.
    Working { fence: u64, claim: u8, lease: i64 },
    /// The outcome could not be written, or nobody said so.
    Writing { fence: u64, claim: u8, outcome: Outcome, run_at: i64 },
    /// About to send the copy that carries the retry.
    Copying { run_at: i64 },
    /// About to end a job that may not be started.
    Condemning,
    /// About to delete its message.
    Acknowledging,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct Busy {
    message: usize,
    deadline: i64,
    frozen: bool,
    doing: Doing,
}

#[derive(Debug, Clone, PartialEq, Hash)]
struct World {
    now: i64,
    job: Row,
    /// When the index of scheduled jobs shows it, if it does.
    due: Option<i64>,
    /// When each message is visible; `None` when it is deleted.
    messages: Vec<Option<i64>>,
    workers: [Option<Busy>; 2],
    /// The clock has sent the message and not yet released the job, which it found due then.
    releasing: Option<i64>,
    budget: Budget,
    /// How long a claim or a heartbeat holds the job.
    lease: i64,
    claims: u8,
    /// Claims, less those that a snooze gave back.
    spent: u32,
    /// What must never happen and did.
    broken: Option<&'static str>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Step {
    Tick,
    Receive { worker: usize, message: usize },
    Claim { worker: usize, call: Call },
    Beat { worker: usize, call: Call },
    Finish { worker: usize, outcome: Outcome, call: Call },
    WriteAgain { worker: usize, call: Call },
    Copy { worker: usize, call: Call },
    Condemn { worker: usize, call: Call },
    Acknowledge { worker: usize },
    Crash { worker: usize },
    Freeze { worker: usize },
    ClockSends,
    ClockReleases,
    ClockCrashes,
}

fn error() -> JobError {
    JobError::new("transient", "no", 1, at(0))
}

impl World {
    /// Lets the event happen to the job, if the machine allows it.
    fn apply(&mut self, event: &Event) -> Result<Job, Refused> {
        let next = transition(&self.job.0, event, at(self.now))?;
        if self.job.0.state.is_final() && next != self.job.0 {
            self.broken = Some("a final job changed");
        }
        match event {
            Event::Claim { .. } => {
                self.claims += 1;
                self.spent += 1;
            }
            Event::GiveBack { spent: false, .. } => self.spent -= 1,
            _ => {}
        }
        self.due = match event {
            Event::GiveBack { by: Carrier::Clock, run_at, .. } => Some(tick(*run_at)),
            _ => None,
        };
        self.job = Row(next.clone());
        Ok(next)
    }

    /// The call as its caller sees it: `None` when it knows nothing.
    fn call<T>(&mut self, call: Call, work: impl FnOnce(&mut Self) -> T) -> Option<T> {
        if call != Call::Answered {
            self.budget.faults -= 1;
        }
        if call == Call::Refused {
            return None;
        }
        let done = work(self);
        (call == Call::Answered).then_some(done)
    }

    fn busy(&self, worker: usize) -> Busy {
        self.workers[worker].unwrap()
    }

    fn goes_on(&mut self, worker: usize, doing: Doing) {
        self.workers[worker] = Some(Busy { doing, ..self.busy(worker) });
    }

    /// Done with the message, which the queue keeps; with `show` it is visible again then.
    fn keeps(&mut self, worker: usize, show: Option<i64>) {
        let message = self.busy(worker).message;
        if let (Some(show), Some(visible)) = (show, &mut self.messages[message]) {
            *visible = show.max(self.now);
        }
        self.workers[worker] = None;
    }

    /// Until when a claim or a heartbeat of now holds the job.
    fn lease(&self, worker: usize) -> i64 {
        (self.now + self.lease).min(self.busy(worker).deadline + MARGIN)
    }

    fn claim(&mut self, worker: usize, call: Call) {
        let lease = self.lease(worker);
        let lease_until = at(lease);
        let owned = self.workers.iter().flatten().any(|other| match other.doing {
            Doing::Working { lease, .. } => lease > self.now,
            _ => false,
        });
        let claims = self.claims;
        let claimed = self.call(call, |world| world.apply(&Event::Claim { lease_until, owner: 1 }));
        if self.claims > claims && owned {
            self.broken = Some("two owners at a time");
        }
        match claimed {
            None => self.keeps(worker, None),
            Some(Ok(job)) => self.goes_on(worker, Doing::Working { fence: job.fence, claim: self.claims, lease }),
            Some(Err(why)) => match why {
                Refused::Final => self.goes_on(worker, Doing::Acknowledging),
                Refused::Leased { until } => self.keeps(worker, Some(tick(until))),
                Refused::NotYet { run_at } => {
                    let wait = tick(run_at) - self.now;
                    if self.job.0.state == State::Scheduled && wait > MAX_DELAY {
                        self.goes_on(worker, Doing::Acknowledging);
                    } else {
                        self.keeps(worker, Some(tick(run_at)));
                    }
                }
                Refused::Spent | Refused::Expired => self.goes_on(worker, Doing::Condemning),
                _ => self.keeps(worker, None),
            },
        }
    }

    /// Extends the lease, then the message's visibility. A worker that is not answered goes on with the lease it knows of.
    fn beat(&mut self, worker: usize, (fence, claim): (u64, u8), call: Call) {
        self.budget.beats -= 1;
        let lease = self.lease(worker);
        let beaten = self.call(call, |world| {
            let beaten = world.apply(&Event::Heartbeat { fence, lease_until: at(lease) });
            if beaten.is_ok() && claim != world.claims {
                world.broken = Some("a worker extended the lease of another");
            }
            beaten
        });
        match beaten {
            None => {}
            Some(Err(_)) => self.keeps(worker, None),
            Some(Ok(_)) => {
                let message = self.busy(worker).message;
                if let Some(visible) = &mut self.messages[message] {
                    *visible = lease;
                }
                self.goes_on(worker, Doing::Working { fence, claim, lease });
            }
        }
    }

    fn write(&mut self, worker: usize, (fence, claim): (u64, u8), outcome: Outcome, run_at: i64, call: Call) {
        let back = |spent, by| Event::GiveBack { fence, run_at: at(run_at), spent, by, error: None };
        let event = match outcome {
            Outcome::Succeed => Event::Succeed { fence, result: None },
            Outcome::Bury => Event::Bury { fence, error: error() },
            Outcome::Retry => back(true, Carrier::Queue),
            Outcome::Snooze => back(false, Carrier::Queue),
            Outcome::RetryLate => back(true, Carrier::Clock),
        };
        let written = self.call(call, |world| {
            let written = world.apply(&event);
            if written.is_ok() && claim != world.claims {
                world.broken = Some("a worker wrote to a job that another had claimed");
            }
            written
        });
        match written {
            None => self.goes_on(worker, Doing::Writing { fence, claim, outcome, run_at }),
            Some(Err(_)) => self.keeps(worker, None),
            Some(Ok(_)) => match outcome {
                Outcome::Retry | Outcome::Snooze => self.goes_on(worker, Doing::Copying { run_at }),
                _ => self.goes_on(worker, Doing::Acknowledging),
            },
        }
    }

    fn condemn(&mut self, worker: usize, call: Call) {
        match self.call(call, |world| world.apply(&Event::Condemn { error: error() })) {
            None => self.keeps(worker, None),
            Some(Err(Refused::Leased { until })) => self.keeps(worker, Some(tick(until))),
            Some(_) => self.goes_on(worker, Doing::Acknowledging),
        }
    }

    /// Which worker and which message it is makes no difference: sorts them, and drops deleted messages nobody holds.
    fn forget_names(&mut self) {
        let held = |message: usize| self.workers.iter().flatten().any(|busy| busy.message == message);
        let mut order: Vec<usize> =
            (0..self.messages.len()).filter(|i| self.messages[*i].is_some() || held(*i)).collect();
        order.sort_by_key(|i| (self.messages[*i], held(*i)));
        self.messages = order.iter().map(|i| self.messages[*i]).collect();
        for busy in self.workers.iter_mut().flatten() {
            busy.message = order.iter().position(|i| *i == busy.message).unwrap();
        }
        self.workers.sort();
    }

    /// Whether something will bring the job to a worker again.
    fn is_carried(&self) -> bool {
        self.due.is_some() || self.messages.iter().any(Option::is_some) || self.workers.iter().any(Option::is_some)
    }

    fn receivable(&self) -> impl Iterator<Item = usize> {
        let visible = |(i, at): (usize, &Option<i64>)| at.is_some_and(|at| at <= self.now).then_some(i);
        self.messages.iter().enumerate().filter_map(visible)
    }

    fn clock_is_due(&self) -> bool {
        self.releasing.is_none() && self.due.is_some_and(|due| due <= self.now + AHEAD)
    }

    /// Time moves when nobody is at the end of their time, and either is free to or has nothing else to wait for.
    fn time_may_move(&self) -> bool {
        let held = |busy: &Busy| self.now >= busy.deadline + if busy.frozen { MARGIN + 1 } else { 0 };
        let waits = |at: &Option<i64>| at.is_some_and(|at| at > self.now);
        let idle = self.workers.iter().any(Option::is_none);
        let urgent = self.clock_is_due() || self.releasing.is_some() || (idle && self.receivable().next().is_some());
        let ahead = self.due.is_some() || self.messages.iter().any(waits) || self.workers.iter().any(Option::is_some);
        !self.workers.iter().flatten().any(held) && if self.now < LATE { ahead } else { ahead && !urgent }
    }
}

/// Looks at every state that can be reached.
fn check(budget: Budget) {
    let began = Instant::now();
    let checker = Protocol(budget).checker().threads(2).spawn_bfs().join();
    eprintln!("{} states with {budget:?} in {:.1?}", checker.unique_state_count(), began.elapsed());
    checker.assert_properties();
}

#[test]
fn with_two_crashes_at_any_step_a_job_has_one_owner_and_ends() {
    check(Budget { crashes: 2, faults: 0, freezes: 0, waits: 1, beats: 0 });
}

#[test]
fn with_a_crash_and_a_lost_call_a_job_has_one_owner_and_ends() {
    check(Budget { crashes: 1, faults: 1, freezes: 0, waits: 1, beats: 0 });
}

#[test]
fn with_a_worker_that_outlives_its_lease_a_job_has_one_owner_and_ends() {
    check(Budget { crashes: 1, faults: 0, freezes: 1, waits: 0, beats: 0 });
}

#[test]
fn with_a_worker_that_outlives_its_lease_and_long_waits_a_job_has_one_owner_and_ends() {
    check(Budget { crashes: 0, faults: 0, freezes: 1, waits: 1, beats: 0 });
}

#[test]
fn with_heartbeats_and_two_crashes_a_job_has_one_owner_and_ends() {
    check(Budget { crashes: 2, faults: 0, freezes: 0, waits: 0, beats: 2 });
}

#[test]
fn with_heartbeats_of_which_one_is_lost_a_job_has_one_owner_and_ends() {
    check(Budget { crashes: 0, faults: 1, freezes: 0, waits: 0, beats: 2 });
}

#[test]
fn with_heartbeats_and_a_worker_that_outlives_its_lease_a_job_has_one_owner_and_ends() {
    check(Budget { crashes: 0, faults: 0, freezes: 1, waits: 0, beats: 1 });
}
