//! The steps from each state, and what must hold in all of them.

use super::*;
use millrace::testing::conformance::queued_job;
use stateright::{Model, Property};

/// The model, from a queued job with so much that may go wrong.
pub(super) struct Protocol(pub(super) Budget);

impl Model for Protocol {
    type State = World;
    type Action = Step;

    fn init_states(&self) -> Vec<World> {
        let job = Job { max_attempts: MAX_ATTEMPTS, ..queued_job("1", at(0)) };
        let world = |job: Job, due: Option<i64>, messages: [i64; 2]| World {
            now: 0,
            job: Row(job),
            due,
            messages: messages.map(Some).to_vec(),
            workers: [None; 2],
            releasing: None,
            budget: self.0,
            lease: if self.0.beats > 0 { LEASE } else { TIMEOUT + MARGIN },
            claims: 0,
            spent: 0,
            broken: None,
        };
        let expiring = Job { expires_at: Some(at(3)), ..job.clone() };
        let scheduled = Job { state: State::Scheduled, run_at: Some(at(3)), ..job.clone() };
        // The clock brings the scheduled one, and ticks that were killed have sent its messages already.
        vec![world(job, None, [0, 0]), world(expiring, None, [0, 0]), world(scheduled, Some(3), [3, 3])]
    }

    fn actions(&self, world: &World, steps: &mut Vec<Step>) {
        let budget = world.budget;
        let calls: &[Call] =
            if budget.faults > 0 { &[Call::Answered, Call::Refused, Call::Lost] } else { &[Call::Answered] };
        for worker in 0..world.workers.len() {
            let Some(busy) = world.workers[worker] else {
                steps.extend(world.receivable().map(|message| Step::Receive { worker, message }));
                continue;
            };
            if budget.crashes > 0 {
                steps.push(Step::Crash { worker });
            }
            if budget.freezes > 0 && !busy.frozen {
                steps.push(Step::Freeze { worker });
            }
            match busy.doing {
                Doing::Acknowledging => steps.push(Step::Acknowledge { worker }),
                Doing::Received => steps.extend(calls.iter().map(|call| Step::Claim { worker, call: *call })),
                Doing::Copying { .. } => steps.extend(calls.iter().map(|call| Step::Copy { worker, call: *call })),
                Doing::Condemning => steps.extend(calls.iter().map(|call| Step::Condemn { worker, call: *call })),
                Doing::Writing { .. } => {
                    steps.extend(calls.iter().map(|call| Step::WriteAgain { worker, call: *call }));
                }
                Doing::Working { lease, .. } => {
                    if budget.beats > 0 && world.lease(worker) > lease {
                        steps.extend(calls.iter().map(|call| Step::Beat { worker, call: *call }));
                    }
                    let mut outcomes = vec![Outcome::Succeed, Outcome::Bury];
                    if world.job.0.attempt < MAX_ATTEMPTS {
                        outcomes.push(Outcome::Retry);
                    }
                    if budget.waits > 0 {
                        outcomes.push(Outcome::Snooze);
                        if world.job.0.attempt < MAX_ATTEMPTS {
                            outcomes.push(Outcome::RetryLate);
                        }
                    }
                    for outcome in outcomes {
                        steps.extend(calls.iter().map(|call| Step::Finish { worker, outcome, call: *call }));
                    }
                }
            }
        }
        if world.clock_is_due() {
            steps.push(Step::ClockSends);
        }
        if world.releasing.is_some() {
            steps.push(Step::ClockReleases);
            if budget.crashes > 0 {
                steps.push(Step::ClockCrashes);
            }
        }
        if world.time_may_move() {
            steps.push(Step::Tick);
        }
    }

    fn next_state(&self, last: &World, step: Step) -> Option<World> {
        let mut world = last.clone();
        match step {
            Step::Tick => world.now += 1,
            Step::Receive { worker, message } => {
                world.messages[message] = Some(world.now + VISIBILITY);
                let deadline = world.now + TIMEOUT;
                world.workers[worker] = Some(Busy { message, deadline, frozen: false, doing: Doing::Received });
            }
            Step::Claim { worker, call } => world.claim(worker, call),
            Step::Beat { worker, call } => {
                let Doing::Working { fence, claim, .. } = world.busy(worker).doing else { return None };
                world.beat(worker, (fence, claim), call);
            }
            Step::Finish { worker, outcome, call } => {
                let Doing::Working { fence, claim, .. } = world.busy(worker).doing else { return None };
                if matches!(outcome, Outcome::Snooze | Outcome::RetryLate) {
                    world.budget.waits -= 1;
                }
                let wait = if outcome == Outcome::RetryLate { MAX_DELAY + 1 } else { 1 };
                world.write(worker, (fence, claim), outcome, world.now + wait, call);
            }
            Step::WriteAgain { worker, call } => {
                let Doing::Writing { fence, claim, outcome, run_at } = world.busy(worker).doing else { return None };
                world.write(worker, (fence, claim), outcome, run_at, call);
            }
            Step::Copy { worker, call } => {
                let Doing::Copying { run_at } = world.busy(worker).doing else { return None };
                let visible = run_at.max(world.now);
                match world.call(call, |world| world.messages.push(Some(visible))) {
                    Some(()) => world.goes_on(worker, Doing::Acknowledging),
                    None => world.keeps(worker, Some(visible)),
                }
            }
            Step::Condemn { worker, call } => world.condemn(worker, call),
            Step::Acknowledge { worker } => {
                let message = world.busy(worker).message;
                world.messages[message] = None;
                world.workers[worker] = None;
            }
            Step::Crash { worker } => {
                world.budget.crashes -= 1;
                world.workers[worker] = None;
            }
            Step::Freeze { worker } => {
                world.budget.freezes -= 1;
                world.workers[worker] = Some(Busy { frozen: true, ..world.busy(worker) });
            }
            Step::ClockSends => {
                let due = world.due?;
                world.messages.push(Some(due.max(world.now)));
                world.releasing = Some(due);
            }
            Step::ClockReleases => {
                let run_at = at(world.releasing.take()?);
                let _ = world.apply(&Event::Release { run_at });
            }
            Step::ClockCrashes => {
                world.budget.crashes -= 1;
                world.releasing = None;
            }
        }
        world.forget_names();
        Some(world)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always("one owner, no write by a loser, final is final", |_, world: &World| {
                world.broken.is_none()
            }),
            Property::always("attempts are counted and bounded", |_, world: &World| {
                world.job.0.attempt == world.spent && world.spent <= MAX_ATTEMPTS
            }),
            Property::always("a job that is not final is carried", |_, world: &World| {
                world.job.0.state.is_final() || world.is_carried()
            }),
            Property::always("where nothing is left to do the job is final", |model: &Self, world: &World| {
                let mut steps = Vec::new();
                model.actions(world, &mut steps);
                !steps.is_empty() || world.job.0.state.is_final()
            }),
            Property::sometimes("a job succeeds", |_, world: &World| world.job.0.state == State::Succeeded),
            Property::sometimes("a job dies of its last attempt's crash", |model: &Self, world: &World| {
                let dead = world.job.0.state == State::Dead && world.spent == MAX_ATTEMPTS;
                model.0.crashes == 0 || dead && world.budget.crashes < model.0.crashes
            }),
            Property::sometimes(
                "a worker outlives its lease and another has the job",
                |model: &Self, world: &World| {
                    let working = |busy: &&Busy| matches!(busy.doing, Doing::Working { .. });
                    model.0.freezes == 0 || world.workers.iter().flatten().filter(working).count() == 2
                },
            ),
            Property::sometimes("a job is held for longer than one lease", |model: &Self, world: &World| {
                let held = world.job.0.lease_until.zip(world.job.0.started_at);
                model.0.beats == 0 || held.is_some_and(|(until, began)| tick(until) - tick(began) > LEASE)
            }),
            Property::sometimes(
                "a dead worker's job is taken up before its invocation is over",
                |model: &Self, world: &World| {
                    let taken = world.claims == 2 && world.now < TIMEOUT + MARGIN;
                    model.0.crashes == 0 || model.0.beats == 0 || taken && world.budget.crashes < model.0.crashes
                },
            ),
            Property::sometimes("a job waits for the clock", |model: &Self, world: &World| {
                model.0.waits == 0 || world.due.is_some() && world.claims > 0
            }),
        ]
    }
}
