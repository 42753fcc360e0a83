//! Callers, workers, the clock, queue, table and mail service under a seeded scheduler that ends or freezes any of them
//! between any two calls, refuses calls, loses answers, delivers twice and out of order, cancels and retries, and jumps in time.

use super::World;
use super::*;
use crate::accept::{Accepted, NewJob, SubmitError, fingerprint, submit};
use crate::domain::id::{JobId, Tenant};
use crate::jobs::kind;
use crate::operate;
use crate::ports::{Mail, MailError, MailLedger as _};
use crate::release::release_due;
use crate::single_mail::{Post, send_once};
use crate::testing::{Faults, MemoryJobs, MemoryMailLedger, MemoryMailer};
use aws_lambda_events::event::sqs::{SqsBatchResponse, SqsEvent};
use fastrand::Rng;
use futures::future::LocalBoxFuture;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;
use std::task::Poll;

const SEEDS: u64 = 10_000;
const PARTS: u64 = 4;
const CALLERS: usize = 6;
/// Steps with faults. After them everything has to come to its end.
const STORM: usize = 50;
const SETTLE: Duration = Duration::from_secs(900);
/// Nobody is frozen for so long, or a mail is sent again because no event has come of a request that had not left yet.
const LONGEST_FREEZE: Duration = Duration::from_secs(600);

/// Who is at work on each job now and until when, the jobs at which two were found within their leases, and when each job
/// was first started. A handler's own panic would be fenced off.
#[derive(Clone, Default)]
struct Owners(Arc<Mutex<AtWork>>);

#[derive(Default)]
struct AtWork {
    by_job: BTreeMap<JobId, (u64, Timestamp)>,
    shared: Vec<JobId>,
    outlived: usize,
    first_start: BTreeMap<JobId, Timestamp>,
}

struct Owner(Owners, JobId, u64);

impl Owners {
    fn enter(&self, jobs: &MemoryJobs, attempt: &Attempt) -> Owner {
        let mut work = self.0.lock().unwrap();
        work.first_start.entry(attempt.id.clone()).or_insert(attempt.now());
        let job = jobs.all().into_iter().find(|job| job.id == attempt.id).expect("the job");
        match job.lease_until.filter(|until| job.fence == attempt.fence && *until > attempt.now()) {
            None => work.outlived += 1, // frozen between its claim and here: it owns nothing any more
            Some(until) => match work.by_job.insert(attempt.id.clone(), (attempt.fence, until)) {
                Some((_, until)) if until > attempt.now() => work.shared.push(attempt.id.clone()),
                other => work.outlived += usize::from(other.is_some()),
            },
        }
        Owner(self.clone(), attempt.id.clone(), attempt.fence)
    }
}

impl Drop for Owner {
    fn drop(&mut self) {
        let mut work = self.0.0.lock().unwrap();
        if work.by_job.get(&self.1).is_some_and(|(fence, _)| *fence == self.2) {
            work.by_job.remove(&self.1);
        }
    }
}

/// Fails or waits as the payload says, and else sends a mail. `snooze_ms` counts seconds here, to go beyond what a message
/// can wait.
fn mailing(jobs: MemoryJobs, ledger: MemoryMailLedger, mailer: MemoryMailer, owners: Owners) -> Handlers {
    Handlers::new().on::<Echo, _, _>(move |job: Echo, attempt: Attempt| {
        let (jobs, ledger, mailer, owners) = (jobs.clone(), ledger.clone(), mailer.clone(), owners.clone());
        async move {
            let _owner = owners.enter(&jobs, &attempt);
            if let Some(seconds) = job.snooze_ms.filter(|_| attempt.fence == 1) {
                return Err(Failure::Snooze(Duration::from_secs(seconds)));
            }
            match job.fail.filter(|_| job.fail_attempts.is_none_or(|n| attempt.number <= n)) {
                None => {}
                Some(Fail::Transient | Fail::Exit) => return Err(Failure::Retry(anyhow::anyhow!("away"))),
                Some(Fail::Throttled) => {
                    let wait = Duration::from_secs(if attempt.number == 1 { 77 } else { 1_000 });
                    return Err(Failure::Throttled(Some(wait), anyhow::anyhow!("slow")));
                }
                Some(Fail::Permanent) => return Err(Failure::Dead(anyhow::anyhow!("never"))),
                Some(Fail::Panic) => panic!("as asked"),
            }
            attempt.progress(50, None).await?;
            let mail = Mail {
                from: "a@example.com".into(),
                reply_to: None,
                to: "b@example.com".into(),
                subject: String::new(),
                text: String::new(),
                html: String::new(),
                headers: vec![],
                tags: vec![],
            };
            let post = Post { ledger: &ledger, mailer: &mailer, settle: SETTLE };
            let id = send_once(post, attempt.id.as_str(), mail, attempt.now()).await?;
            Ok(json!(id))
        }
    })
}

/// Somebody who wants one job and asks again, with the same key, until the answer is good or patience ends.
struct Caller {
    key: Option<String>,
    payload: Value,
    delay: Duration,
    expires_after: Option<Duration>,
    max_attempts: u32,
    next: usize,
    tries: usize,
    asked_at: Timestamp,
    accepted: Option<JobId>,
    created: usize,
}

impl Caller {
    fn new(seed: u64, i: usize, dice: &mut Rng) -> Self {
        let fail = ["transient", "throttled", "panic", "permanent"].get(dice.usize(0..8));
        let mut payload = json!({ "message": "x".repeat(if dice.u8(0..8) == 0 { Stored::INLINE_MAX } else { 1 }) });
        if let Some(fail) = fail {
            payload["fail"] = json!(fail);
            if dice.bool() {
                payload["fail_attempts"] = json!(dice.u32(1..3));
            }
        } else if dice.u8(0..3) == 0 {
            payload["snooze_ms"] = json!(dice.u64(1..2_000));
        }
        let delays = [0..1, 0..1, 1..60, 800..901, 901..4_000];
        let range = delays[dice.usize(0..5)].clone();
        let delay = Duration::from_secs(dice.u64(range));
        Self {
            key: (i > 0).then(|| format!("{seed}-{i}")),
            payload,
            delay,
            expires_after: (dice.u8(0..5) == 0).then(|| delay + Duration::from_secs(dice.u64(1..600))),
            max_attempts: dice.u32(1..5),
            next: dice.usize(0..STORM / 2),
            tries: dice.usize(2..8),
            asked_at: Timestamp::MAX,
            accepted: None,
            created: 0,
        }
    }

    fn request(&self, unkeyed: usize, now: Timestamp) -> NewJob {
        let key = self.key.clone().unwrap_or_else(|| format!("fresh-{unkeyed}"));
        NewJob {
            id: JobId::derived(&[&key]),
            repeatable: self.key.is_some(),
            fingerprint: fingerprint(&self.payload),
            tenant: Tenant::parse("t").unwrap(),
            kind: kind("echo").unwrap(),
            payload: self.payload.clone(),
            run_at: (!self.delay.is_zero()).then(|| now + self.delay),
            expires_at: self.expires_after.map(|after| now + after),
            max_attempts: Some(self.max_attempts),
            timeout: None,
            tags: vec![],
        }
    }

    /// Hears an answer, or none at all.
    fn hears(&mut self, answer: Option<Result<Accepted, SubmitError>>, step: usize, dice: &mut Rng) {
        match answer {
            Some(Ok(Accepted { job, replayed })) => {
                assert!(self.key.is_some() || !replayed, "{} is somebody else's", job.id);
                assert!(self.accepted.as_ref().is_none_or(|id| *id == job.id), "two jobs under one key");
                self.created += usize::from(!replayed);
                assert!(self.created <= 1, "{} was made twice", job.id);
                self.accepted = Some(job.id);
                // Now and then the good answer is lost on its way, and the question repeated.
                self.next =
                    if self.key.is_some() && dice.u8(0..5) == 0 { step + dice.usize(0..20) } else { usize::MAX };
            }
            Some(Err(SubmitError::Mismatch)) => panic!("the same request is taken for another"),
            Some(Err(SubmitError::Unavailable(_))) | None => self.next = step + dice.usize(0..6),
        }
    }
}

enum Done {
    Batch(SqsBatchResponse),
    Ticked,
    Answer(Box<Result<Accepted, SubmitError>>),
}

enum Role {
    Worker(SqsEvent),
    Clock,
    Api(usize),
}

/// A process at work.
struct Task<'a> {
    role: Role,
    deadline: Timestamp,
    frozen: bool,
    work: LocalBoxFuture<'a, Done>,
}

/// What many storms came to, to see that they reached what they are for.
#[derive(Debug, Default)]
struct Tally(BTreeMap<String, usize>);

impl Tally {
    fn count(&mut self, what: &str, times: usize) {
        *self.0.entry(what.to_owned()).or_default() += times;
    }
}

async fn storm(seed: u64, tally: &mut Tally) {
    let mut dice = Rng::with_seed(seed);
    let world = World::new();
    let (ledger, mailer) = (MemoryMailLedger::default(), MemoryMailer::default());
    let owners = Owners::default();
    let handlers = mailing(world.jobs.clone(), ledger.clone(), mailer.clone(), owners.clone());
    let faults: [&Faults; 4] = [&world.jobs.faults, &world.queue.faults, &world.blobs.faults, &ledger.faults];
    for faults in faults {
        let mut dice = dice.fork();
        faults.at_random(0.05, 0.05, move |_| dice.f64());
    }
    let mut callers: Vec<Caller> = (0..CALLERS).map(|i| Caller::new(seed, i, &mut dice)).collect();
    let mut tasks: Vec<Task> = Vec::new();
    let mut ended: BTreeMap<JobId, Job> = BTreeMap::new();
    let mut meddled: BTreeSet<JobId> = BTreeSet::new();
    let (mut told, mut told_at, mut unkeyed) = (0, world.clock.now(), 0);
    for step in 0..2_000 {
        let stormy = step < STORM;
        if step == STORM {
            faults.iter().for_each(|faults| faults.none());
        }
        let now = world.clock.now();
        for _ in 0..2 {
            let event = world.queue.receive(dice.usize(1..=4), VISIBILITY, || dice.f64());
            if !event.records.is_empty() {
                let (deadline, records) = (now + TIMEOUT, event.clone());
                let (runner, handlers) = (&world.runner, &handlers);
                let work = Box::pin(async move {
                    let one = async |record: &_| runner.run(handlers, record, deadline).await;
                    Done::Batch(batch::run(records, one).await)
                });
                tasks.push(Task { role: Role::Worker(event), deadline, frozen: false, work });
            }
        }
        if !stormy || dice.u8(0..4) == 0 {
            let intake = &world.intake;
            let work = Box::pin(async move {
                let _ = release_due(&*intake.jobs, &intake.queues, now, 100).await;
                Done::Ticked
            });
            tasks.push(Task { role: Role::Clock, deadline: now + TIMEOUT, frozen: false, work });
        }
        for (i, caller) in callers.iter_mut().enumerate() {
            if caller.next > step || caller.tries == 0 {
                continue;
            }
            // An impatient one does not wait for the answer.
            caller.next = if caller.key.is_some() && dice.u8(0..3) == 0 { step } else { usize::MAX };
            caller.tries -= 1;
            unkeyed += 1;
            caller.asked_at = caller.asked_at.min(now);
            let (new, intake) = (caller.request(unkeyed, now), &world.intake);
            let work = Box::pin(async move { Done::Answer(Box::new(submit(intake, new, now).await)) });
            tasks.push(Task { role: Role::Api(i), deadline: now + TIMEOUT, frozen: false, work });
        }
        // In some storms somebody cancels and retries without looking.
        let any = world.jobs.all();
        if stormy && seed % PARTS == 1 && !any.is_empty() && dice.u8(0..6) == 0 {
            let (job, cancel) = (any[dice.usize(0..any.len())].clone(), dice.bool());
            meddled.insert(job.id.clone());
            let (jobs, intake) = (&world.jobs, &world.intake);
            let work = Box::pin(async move {
                if cancel {
                    let _ = operate::cancel(jobs, job, now).await;
                } else {
                    let _ = operate::retry(intake, &job, kind("echo").unwrap(), None, now).await;
                }
                Done::Ticked
            });
            tasks.push(Task { role: Role::Clock, deadline: now + TIMEOUT, frozen: false, work });
        }
        if stormy && dice.u8(0..20) == 0 {
            let accept = dice.bool();
            mailer.fail_next(accept, MailError::Unknown("no answer".into()));
        }
        let mut polls = if stormy { dice.usize(0..60) } else { 1_000 };
        while polls > 0 && !tasks.is_empty() {
            polls -= 1;
            // The runtime wakes what a port's yield has put to sleep.
            tokio::task::yield_now().await;
            let at = dice.usize(0..tasks.len());
            let Poll::Ready(done) = futures::poll!(&mut tasks[at].work) else { continue };
            match (tasks.swap_remove(at).role, done) {
                (Role::Worker(event), Done::Batch(response)) => world.settle(&event, &response),
                (Role::Api(caller), Done::Answer(answer)) => callers[caller].hears(Some(*answer), step, &mut dice),
                _ => {}
            }
        }
        let jump = stormy && dice.u8(0..12) == 0;
        let wait = Duration::from_secs(if jump || !stormy { dice.u64(0..1_500) } else { dice.u64(0..40) });
        // SES's events come late and in bunches, but they come.
        let sent = mailer.sent();
        if dice.u8(0..3) == 0 || wait + wait_until(Some(now), told_at) > SETTLE / 3 {
            for (id, mail) in &sent[told..] {
                while ledger.accepted(&mail.tags[0].1, id, now).await.is_err() {}
            }
            (told, told_at) = (sent.len(), now);
        }
        if stormy && dice.u8(0..10) == 0 {
            world.queue.duplicate(dice.f64());
        }
        world.clock.advance(wait);
        tokio::time::advance(wait).await;
        let now = world.clock.now();
        // Processes end by chance or at their deadline; a frozen one goes on after it for a while.
        let mut i = 0;
        while i < tasks.len() {
            let task = &mut tasks[i];
            if stormy && task.deadline <= now && !task.frozen && dice.bool() {
                task.frozen = true;
            }
            let late = task.deadline + if task.frozen { LONGEST_FREEZE } else { Duration::ZERO } <= now;
            if late || (stormy && dice.u8(0..16) == 0) {
                if let Role::Api(caller) = tasks.swap_remove(i).role {
                    callers[caller].hears(None, step, &mut dice);
                }
                tally.count("killed", 1);
            } else {
                i += 1;
            }
        }
        let all = world.jobs.all();
        for job in all.iter().filter(|job| job.state.is_final() && !meddled.contains(&job.id)) {
            let first = ended.entry(job.id.clone()).or_insert_with(|| job.clone());
            assert_eq!(first, job, "a final job changed");
        }
        let asked = |id: &JobId| callers.iter().any(|caller| caller.accepted.as_ref() == Some(id));
        let over = |job: &Job| job.state.is_final() || (job.fence == 0 && !asked(&job.id));
        let idle = tasks.is_empty() && world.queue.all().is_empty();
        if !stormy && idle && all.iter().all(over) && callers.iter().all(|c| c.next == usize::MAX || c.tries == 0) {
            break;
        }
    }
    drop(tasks);
    assert!(world.queue.all().is_empty(), "messages are left: {:?}", world.queue.all());
    assert!(world.dead_letters.all().is_empty());
    let work = owners.0.lock().unwrap();
    assert_eq!(work.shared, Vec::<JobId>::new(), "jobs with two owners at a time");
    tally.count("outlived its lease", work.outlived);
    let mut mails: BTreeMap<String, usize> = BTreeMap::new();
    for (_, mail) in mailer.sent() {
        *mails.entry(mail.tags[0].1.clone()).or_default() += 1;
    }
    let jobs: BTreeMap<JobId, Job> = world.jobs.all().into_iter().map(|job| (job.id.clone(), job)).collect();
    for caller in &callers {
        let Some(id) = &caller.accepted else {
            tally.count("gave up", 1);
            continue;
        };
        let job = jobs.get(id).unwrap_or_else(|| panic!("{id} was accepted and is lost"));
        assert!(job.state.is_final(), "{id} was accepted and is stuck: {job:?}");
        if meddled.contains(id) {
            continue;
        }
        let wanted = job.created_at + caller.delay;
        assert!(work.first_start.get(id).is_none_or(|at| *at >= wanted), "{id} was started before its time");
        if caller.payload["fail"] == "permanent" && caller.payload["fail_attempts"].is_null() {
            assert_eq!(job.state, State::Dead, "{id} cannot succeed");
        }
    }
    for (id, job) in jobs {
        let sent = mails.get(id.as_str()).copied().unwrap_or(0);
        assert!(sent <= 1, "{id} sent {sent} mails");
        assert!(job.attempt <= job.max_attempts, "{id} had {} attempts of {}", job.attempt, job.max_attempts);
        if let (Some(started), Some(expires)) = (job.started_at, job.expires_at) {
            assert!(started < expires, "{id} was started after its time");
        }
        match job.state {
            State::Succeeded => {
                assert_eq!(sent, 1, "{id} succeeded without its mail");
                tally.count("succeeded", 1);
            }
            State::Dead => tally.count(&job.error.expect("a dead job says why").class, 1),
            State::Cancelled => tally.count("cancelled", 1),
            _ => tally.count("never queued", 1),
        }
    }
}

/// Says how to see a storm again in which something failed.
struct Replay(u64);

impl Drop for Replay {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("seed {0} failed: MILLRACE_SEED={0} cargo test -p millrace --lib storm", self.0);
        }
    }
}

async fn storms(part: u64) {
    let chosen =
        std::env::var("MILLRACE_SEED").ok().map(|seed| seed.parse::<u64>().expect("MILLRACE_SEED is a number"));
    std::panic::set_hook(Box::new(|info| {
        let text = info.to_string();
        if !text.contains("as asked") {
            eprintln!("{text}");
        }
    }));
    let mut tally = Tally::default();
    let seeds = chosen.map_or(0..SEEDS, |seed| seed..seed + 1);
    for seed in seeds.filter(|seed| seed % PARTS == part) {
        let _replay = Replay(seed);
        tokio::task::unconstrained(storm(seed, &mut tally)).await;
    }
    eprintln!("{tally:?}");
    let classes = ["succeeded", "transient", "throttled", "panic", "permanent", "crashed", "expired"];
    let cancelled = if part == 1 { ["cancelled"].as_slice() } else { &[] };
    for &what in classes.iter().chain(&["killed", "outlived its lease", "gave up"]).chain(cancelled) {
        assert!(chosen.is_some() || tally.0.contains_key(what), "no storm came to: {what}");
    }
}

#[tokio::test(start_paused = true)]
async fn storm_1_of_4() {
    storms(0).await;
}

#[tokio::test(start_paused = true)]
async fn storm_2_of_4() {
    storms(1).await;
}

#[tokio::test(start_paused = true)]
async fn storm_3_of_4() {
    storms(2).await;
}

#[tokio::test(start_paused = true)]
async fn storm_4_of_4() {
    storms(3).await;
}
