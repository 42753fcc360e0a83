//! One storm.

use super::caller::Caller;
use super::work::{Owners, mailing};
use super::*;
use crate::accept::{Accepted, SubmitError, submit_many};
use crate::domain::id::JobId;
use crate::domain::rate::{Limit, Period, Rate, Whose};
use crate::jobs::kind;
use crate::operate;
use crate::ports::{Limits as _, MailError, MailLedger as _};
use crate::release::release_due;
use crate::testing::{Faults, MemoryLimits, MemoryMailLedger, MemoryMailer, MemoryQueue};
use aws_lambda_events::event::sqs::{SqsBatchResponse, SqsEvent};
use fastrand::Rng;
use futures::future::LocalBoxFuture;
use std::collections::BTreeSet;
use std::task::Poll;

/// The lanes' queues.
const QUEUES: [&str; 4] = ["echo", "echo-high", "echo-low", "echo-ordered.fifo"];

enum Done {
    Batch(SqsBatchResponse),
    Ticked,
    Answers(Vec<Result<Accepted, SubmitError>>),
}

enum Role {
    Worker(MemoryQueue, SqsEvent),
    Clock,
    /// Who asks for which job, in the order of the request, and whether for the first time.
    Api(Vec<(usize, JobId, bool)>),
}

/// A process at work.
struct Task<'a> {
    role: Role,
    deadline: Timestamp,
    frozen: bool,
    work: LocalBoxFuture<'a, Done>,
}

pub(super) struct Storm<'a> {
    pub(super) world: &'a World,
    handlers: &'a Handlers,
    ledger: MemoryMailLedger,
    limits: MemoryLimits,
    pub(super) mailer: MemoryMailer,
    dice: Rng,
    step: usize,
    /// In some storms somebody cancels and retries without looking.
    meddles: bool,
    pub(super) callers: Vec<Caller>,
    tasks: Vec<Task<'a>>,
    pub(super) ended: BTreeMap<JobId, Job>,
    pub(super) meddled: BTreeSet<JobId>,
    /// Jobs of one ordering key of which the first has to be over before the second is started.
    pub(super) promised: BTreeSet<(JobId, JobId)>,
    told: usize,
    told_at: Timestamp,
    unkeyed: usize,
    pub(super) killed: usize,
}

pub(super) async fn storm(seed: u64, tally: &mut Tally) {
    let mut dice = Rng::with_seed(seed);
    fastrand::seed(seed);
    let world = World::new();
    let limits = MemoryLimits::default();
    // In some storms jobs may start at a rate only.
    if seed % PARTS == 2 {
        let limit = Limit { kind: "echo".into(), whose: Whose::All, rate: Rate::new(dice.u32(1..20), Period::Minute) };
        limits.set(&limit).await.unwrap();
    }
    let (ledger, mailer) = (MemoryMailLedger::default(), MemoryMailer::default());
    let owners = Owners::default();
    let handlers = mailing(world.jobs.clone(), ledger.clone(), mailer.clone(), owners.clone());
    let callers = (0..CALLERS).map(|i| Caller::new(seed, i, &mut dice)).collect();
    let mut storm = Storm {
        world: &world,
        handlers: &handlers,
        ledger,
        limits,
        mailer,
        dice,
        step: 0,
        meddles: seed % PARTS == 1,
        callers,
        tasks: Vec::new(),
        ended: BTreeMap::new(),
        meddled: BTreeSet::new(),
        promised: BTreeSet::new(),
        told: 0,
        told_at: world.clock.now(),
        unkeyed: 0,
        killed: 0,
    };
    for faults in storm.faults() {
        let mut dice = storm.dice.fork();
        faults.at_random(0.05, 0.05, move |_| dice.f64());
    }
    for step in 0..2_000 {
        storm.step = step;
        if step == STORM {
            storm.faults().iter().for_each(Faults::none);
        }
        storm.start_processes();
        storm.let_callers_ask();
        storm.meddle();
        storm.let_processes_run().await;
        storm.let_time_pass().await;
        storm.end_processes();
        storm.check_ended();
        if storm.is_over() {
            break;
        }
    }
    storm.tasks.clear();
    storm.check(&owners.0.lock().unwrap(), tally);
}

impl Storm<'_> {
    fn is_stormy(&self) -> bool {
        self.step < STORM
    }

    fn faults(&self) -> Vec<Faults> {
        let queues = self.queues().map(|queue| queue.faults);
        let others = [&self.world.jobs.faults, &self.world.blobs.faults, &self.ledger.faults, &self.limits.faults];
        queues.into_iter().chain(others.map(Faults::clone)).collect()
    }

    pub(super) fn queues(&self) -> [MemoryQueue; 4] {
        QUEUES.map(|name| self.world.queues.get(name))
    }

    /// A worker on some of what lies on each queue, and now and then the clock.
    fn start_processes(&mut self) {
        let (now, world, handlers) = (self.world.clock.now(), self.world, self.handlers);
        let deadline = now + TIMEOUT;
        for queue in self.queues() {
            let event = queue.receive(self.dice.usize(1..=4), VISIBILITY, || self.dice.f64());
            if !event.records.is_empty() {
                let records = event.clone();
                // Each is a process of its own.
                let limiter = Arc::new(Limiter::new(Arc::new(self.limits.clone())));
                let runner = Runner { limiter, dice: fastrand::f64, ..world.runner.clone() };
                let work = Box::pin(async move { Done::Batch(runner.batch(handlers, records, deadline).await) });
                self.tasks.push(Task { role: Role::Worker(queue, event), deadline, frozen: false, work });
            }
        }
        if !self.is_stormy() || self.dice.u8(0..4) == 0 {
            let work = Box::pin(async move {
                let _ = release_due(&*world.intake.jobs, &world.intake.queues, now, 100).await;
                Done::Ticked
            });
            self.tasks.push(Task { role: Role::Clock, deadline, frozen: false, work });
        }
    }

    fn let_callers_ask(&mut self) {
        let due = |caller: &Caller| caller.next <= self.step && caller.tries > 0;
        let due: Vec<usize> = (0..self.callers.len()).filter(|i| due(&self.callers[*i])).collect();
        // Those who ask at the same time may do so in one request.
        let size = if self.dice.bool() { due.len().max(1) } else { 1 };
        for together in due.chunks(size) {
            self.ask(together);
        }
    }

    fn ask(&mut self, callers: &[usize]) {
        let (now, world) = (self.world.clock.now(), self.world);
        let (mut asking, mut requests) = (Vec::new(), Vec::new());
        for &i in callers {
            self.unkeyed += 1;
            let request = self.callers[i].request(self.unkeyed, now);
            let first = self.callers[i].asks == 0 || self.callers[i].key.is_none();
            if first && request.ordering_key.is_some() {
                let before = self.callers.iter().filter(|other| other.ordering_key == request.ordering_key);
                let before = before.filter_map(|other| other.accepted.clone());
                self.promised.extend(before.map(|before| (before, request.id.clone())));
            }
            asking.push((i, request.id.clone(), first));
            requests.push(request);
            let caller = &mut self.callers[i];
            caller.asks += 1;
            caller.tries -= 1;
            // An impatient one does not wait for the answer.
            caller.next = if caller.key.is_some() && self.dice.u8(0..3) == 0 { self.step } else { usize::MAX };
        }
        let work = Box::pin(async move { Done::Answers(submit_many(&world.intake, requests, now).await) });
        self.tasks.push(Task { role: Role::Api(asking), deadline: now + TIMEOUT, frozen: false, work });
    }

    fn hear(&mut self, asked: &[(usize, JobId, bool)], answers: Option<&[Result<Accepted, SubmitError>]>) {
        for (place, (caller, id, first)) in asked.iter().enumerate() {
            let answer = answers.map(|answers| &answers[place]);
            self.callers[*caller].hears(answer, self.step, &mut self.dice);
            let Some(answers) = answers.filter(|answers| *first && answers[place].is_ok()) else { continue };
            let key = self.callers[*caller].ordering_key.as_ref();
            for ((other, before, _), answer) in asked[..place].iter().zip(answers) {
                // Who has asked again meanwhile may have been served by that request, in another order.
                let once = self.callers[*caller].asks == 1 && self.callers[*other].asks == 1;
                if once && key.is_some() && self.callers[*other].ordering_key.as_ref() == key && answer.is_ok() {
                    self.promised.insert((before.clone(), id.clone()));
                }
            }
        }
    }

    fn meddle(&mut self) {
        let (now, world) = (self.world.clock.now(), self.world);
        let any = world.jobs.all();
        if self.is_stormy() && self.meddles && !any.is_empty() && self.dice.u8(0..6) == 0 {
            let (job, cancel) = (any[self.dice.usize(0..any.len())].clone(), self.dice.bool());
            self.meddled.insert(job.id.clone());
            let work = Box::pin(async move {
                if cancel {
                    let _ = operate::cancel(&world.jobs, job, now).await;
                } else {
                    let _ = operate::retry(&world.intake, &job, kind("echo").unwrap(), None, now).await;
                }
                Done::Ticked
            });
            self.tasks.push(Task { role: Role::Clock, deadline: now + TIMEOUT, frozen: false, work });
        }
        if self.is_stormy() && self.dice.u8(0..20) == 0 {
            let accept = self.dice.bool();
            self.mailer.fail_next(accept, MailError::Unknown("no answer".into()));
        }
    }

    /// Each process goes on a little, in any order.
    async fn let_processes_run(&mut self) {
        let mut polls = if self.is_stormy() { self.dice.usize(0..60) } else { 1_000 };
        while polls > 0 && !self.tasks.is_empty() {
            polls -= 1;
            // The runtime wakes what a port's yield has put to sleep.
            tokio::task::yield_now().await;
            let at = self.dice.usize(0..self.tasks.len());
            let Poll::Ready(done) = futures::poll!(&mut self.tasks[at].work) else { continue };
            match (self.tasks.swap_remove(at).role, done) {
                (Role::Worker(queue, event), Done::Batch(response)) => queue.answered(&event, &response),
                (Role::Api(asked), Done::Answers(answers)) => self.hear(&asked, Some(&answers)),
                _ => {}
            }
        }
    }

    async fn let_time_pass(&mut self) {
        let now = self.world.clock.now();
        let jump = self.is_stormy() && self.dice.u8(0..12) == 0;
        let seconds = if jump || !self.is_stormy() { 1_500 } else { 40 };
        let wait = Duration::from_secs(self.dice.u64(0..seconds));
        // SES's events come late and in bunches, but they come.
        let sent = self.mailer.sent();
        if self.dice.u8(0..3) == 0 || wait + wait_until(Some(now), self.told_at) > SETTLE / 3 {
            for (id, mail) in &sent[self.told..] {
                while self.ledger.accepted(&mail.tags[0].1, id, now).await.is_err() {}
            }
            (self.told, self.told_at) = (sent.len(), now);
        }
        if self.is_stormy() && self.dice.u8(0..10) == 0 {
            self.queues()[self.dice.usize(0..QUEUES.len())].duplicate(self.dice.f64());
        }
        self.world.clock.advance(wait);
        tokio::time::advance(wait).await;
    }

    /// Processes end by chance or at their deadline; a frozen one goes on after it for a while.
    fn end_processes(&mut self) {
        let now = self.world.clock.now();
        let mut i = 0;
        while i < self.tasks.len() {
            let stormy = self.is_stormy();
            let task = &mut self.tasks[i];
            if stormy && task.deadline <= now && !task.frozen && self.dice.bool() {
                task.frozen = true;
            }
            let late = task.deadline + if task.frozen { LONGEST_FREEZE } else { Duration::ZERO } <= now;
            if late || (stormy && self.dice.u8(0..16) == 0) {
                if let Role::Api(asked) = self.tasks.swap_remove(i).role {
                    self.hear(&asked, None);
                }
                self.killed += 1;
            } else {
                i += 1;
            }
        }
    }

    /// Whether nothing can happen any more.
    fn is_over(&self) -> bool {
        let asked = |id: &JobId| self.callers.iter().any(|caller| caller.accepted.as_ref() == Some(id));
        let over = |job: &Job| job.state.is_final() || (job.fence == 0 && !asked(&job.id));
        let idle = self.tasks.is_empty() && self.queues().iter().all(|queue| queue.all().is_empty());
        let done = self.callers.iter().all(Caller::is_done);
        !self.is_stormy() && idle && done && self.world.jobs.all().iter().all(over)
    }
}
