use super::*;
use aws_lambda_events::event::sqs::SqsEvent;
use millrace::domain::id::{JobId, Tenant};
use millrace::domain::job::{JobError, Progress, State as JobState, Stored};
use millrace::jobs::{JobMessage, Worker};
use millrace::ports::{Clock as _, Message, Queue as _};
use millrace::queues::OwnQueues;
use millrace::testing::{
    ManualClock, MemoryBlobs, MemoryCheckpoints, MemoryJobs, MemoryLimits, MemoryQueue, MemoryQueues, conformance,
};
use millrace::worker::handlers::Handlers;
use millrace::worker::limits::Limiter;
use millrace::worker::runner::Runner;

struct World {
    clock: ManualClock,
    jobs: MemoryJobs,
    checkpoints: MemoryCheckpoints,
    echo: MemoryQueue,
    operations: MemoryQueue,
    runner: Runner,
    handlers: Handlers,
}

fn tenant(name: &str) -> Tenant {
    Tenant::parse(name).unwrap()
}

fn world() -> World {
    let clock = ManualClock::default();
    let (jobs, checkpoints) = (MemoryJobs::default(), MemoryCheckpoints::default());
    let queues = MemoryQueues::new(Arc::new(clock.clone()));
    let (echo, operations) = (queues.get("echo"), queues.get("operations"));
    let retrier = Retrier {
        jobs: Arc::new(jobs.clone()),
        dead: Arc::new(jobs.clone()),
        checkpoints: Arc::new(checkpoints.clone()),
        queues: JobQueues::open(|name| queues.open(name)),
    };
    let runner = Runner {
        jobs: Arc::new(jobs.clone()),
        blobs: Arc::new(MemoryBlobs::default()),
        queues: OwnQueues::open(Worker::Operations, |name| queues.open(name)),
        limiter: Arc::new(Limiter::new(Arc::new(MemoryLimits::default()))),
        clock: Arc::new(clock.clone()),
        dice: || 0.5,
    };
    let handlers = Handlers::new().on::<RetryJobs, _, _>(move |job, attempt| {
        let retrier = retrier.clone();
        async move { retrier.run(job, attempt).await }
    });
    World { clock, jobs, checkpoints, echo, operations, runner, handlers }
}

impl World {
    async fn apply(&self, id: &JobId, event: Event) -> Job {
        match self.jobs.apply(id, &event, self.clock.now()).await.unwrap() {
            Applied::Done(job) => *job,
            other => panic!("{event:?}: {other:?}"),
        }
    }

    async fn die(&self, id: &JobId, why: &str) {
        self.apply(id, Event::Condemn { error: JobError::new("permanent", why, 1, self.clock.now()) }).await;
    }

    async fn dead(&self, name: &str, why: &str, change: impl FnOnce(&mut Job)) -> JobId {
        let mut job = Job { tenant: tenant("acme"), ..conformance::queued_job(name, self.clock.now()) };
        change(&mut job);
        self.jobs.create(&job, false).await.unwrap();
        self.die(&job.id, why).await;
        job.id
    }

    async fn state(&self, id: &JobId) -> JobState {
        self.jobs.get(id).await.unwrap().unwrap().state
    }

    /// Puts the operation on its queue.
    async fn submit(&self, wanted: &RetryJobs) -> JobId {
        let job = Job {
            tenant: tenant("acme"),
            kind: RetryJobs::KIND.into(),
            payload: Stored::Inline(json!(wanted)),
            max_attempts: RetryJobs::MAX_ATTEMPTS,
            timeout: None,
            ..conformance::queued_job("operation", self.clock.now())
        };
        self.jobs.create(&job, false).await.unwrap();
        self.operations.send_one(JobMessage::carrying(&job, None, Duration::ZERO)).await.unwrap();
        job.id
    }

    /// One invocation of the worker, with so many seconds to its end.
    async fn invoke(&self, seconds: u64) {
        let event: SqsEvent = self.operations.receive(10, Duration::from_secs(180), || 0.0);
        let deadline = self.clock.now() + Duration::from_secs(seconds);
        let copy = event.clone();
        let failed = self.runner.batch(&self.handlers, event, deadline).await.batch_item_failures;
        let failed: Vec<String> = failed.into_iter().map(|failure| failure.item_identifier).collect();
        self.operations.settle(&copy, &failed);
    }

    /// Invokes until the operation is over; gives it, and how many invocations it took.
    async fn run(&self, id: &JobId, seconds: u64) -> (Job, usize) {
        for invocation in 1..=1_000 {
            self.invoke(seconds).await;
            let job = self.jobs.get(id).await.unwrap().unwrap();
            if job.state.is_final() {
                return (job, invocation);
            }
            self.clock.advance(Duration::from_secs(200));
        }
        panic!("it does not end");
    }
}

fn result(job: &Job) -> serde_json::Value {
    match &job.result {
        Some(Stored::Inline(value)) => value.clone(),
        other => panic!("{other:?}, {:?}", job.error),
    }
}

#[tokio::test]
async fn only_what_fits_is_retried() {
    let world = world();
    let mut fitting = Vec::new();
    for i in 0..3 {
        fitting.push(world.dead(&format!("fits-{i}"), "connection refused by db", |_| ()).await);
    }
    let others = [
        world.dead("other tenant", "connection refused", |job| job.tenant = tenant("rival")).await,
        world.dead("other kind", "connection refused", |job| job.kind = "welcome".into()).await,
        world.dead("other tag", "connection refused", |job| job.tags = vec!["b".into()]).await,
        world.dead("other error", "disk full", |_| ()).await,
    ];
    let part = Some("refused".to_owned());
    let wanted = RetryJobs { kind: Some("echo".into()), tag: Some("a".into()), error_contains: part, limit: None };
    let operation = world.submit(&wanted).await;
    let (job, invocations) = world.run(&operation, 30).await;
    assert_eq!((result(&job), invocations), (json!({"matched": 3, "retried": 3, "refused": 0}), 1));
    for id in &fitting {
        assert_eq!(world.state(id).await, JobState::Queued);
    }
    for id in &others {
        assert_eq!(world.state(id).await, JobState::Dead);
    }
    assert_eq!(world.echo.all().len(), 3, "each has its message");
}

#[tokio::test]
async fn the_longest_dead_come_first_and_the_limit_holds() {
    let world = world();
    let mut dead = Vec::new();
    for i in 0..250 {
        dead.push(world.dead(&format!("{i}"), "no", |_| ()).await);
        world.clock.advance(Duration::from_millis(1));
    }
    let operation = world.submit(&RetryJobs { limit: Some(120), ..RetryJobs::default() }).await;
    let (job, _) = world.run(&operation, 30).await;
    assert_eq!(result(&job), json!({"matched": 120, "retried": 120, "refused": 0}));
    for (i, id) in dead.iter().enumerate() {
        let expected = if i < 120 { JobState::Queued } else { JobState::Dead };
        assert_eq!(world.state(id).await, expected, "{i}");
    }
    assert_eq!(job.progress, Some(Progress { percent: 83, note: Some("100 of 120".into()) }));
}

#[tokio::test]
async fn what_no_worker_knows_is_refused_and_other_bulk_retries_are_left_out() {
    let world = world();
    let unknown = world.dead("unknown", "no", |job| job.kind = "gone".into()).await;
    let other = world.dead("other", "no", |job| job.kind = RetryJobs::KIND.into()).await;
    world.dead("known", "no", |_| ()).await;
    let operation = world.submit(&RetryJobs::default()).await;
    let (job, _) = world.run(&operation, 30).await;
    assert_eq!(result(&job), json!({"matched": 2, "retried": 1, "refused": 1}));
    assert_eq!(world.state(&unknown).await, JobState::Dead);
    assert_eq!(world.state(&other).await, JobState::Dead);
}

#[tokio::test]
async fn near_its_deadline_it_goes_on_in_the_next_invocation_and_spends_no_attempt() {
    let world = world();
    for i in 0..350 {
        world.dead(&format!("{i}"), "no", |_| ()).await;
    }
    // Every call to the table takes its time.
    let clock = world.clock.clone();
    world.jobs.faults.at_random(f64::MIN_POSITIVE, 0.0, move |_| {
        clock.advance(Duration::from_millis(40));
        1.0
    });
    let operation = world.submit(&RetryJobs::default()).await;
    let (job, invocations) = world.run(&operation, 10).await;
    assert_eq!(result(&job), json!({"matched": 350, "retried": 350, "refused": 0}));
    assert!(invocations >= 3, "{invocations}");
    assert_eq!(job.attempt, 1);
    assert_eq!(world.echo.all().len(), 350);
}

#[tokio::test]
async fn after_any_crash_it_goes_on_and_its_counts_are_right() {
    for seed in 0..60 {
        let world = world();
        let mut dead = Vec::new();
        for i in 0..230 {
            dead.push(world.dead(&format!("{seed}-{i}"), "no", |_| ()).await);
        }
        let operation = world.submit(&RetryJobs::default()).await;
        let mut dice = fastrand::Rng::with_seed(seed);
        let mut others = dice.fork();
        world.jobs.faults.at_random(0.002, 0.002, move |_| dice.f64());
        world.checkpoints.faults.at_random(0.05, 0.05, move |_| others.f64());
        let mut job = world.jobs.get(&operation).await;
        for _ in 0..100 {
            world.invoke(30).await;
            world.clock.advance(Duration::from_secs(200));
            job = world.jobs.get(&operation).await;
            if matches!(&job, Ok(Some(job)) if job.state.is_final()) {
                break;
            }
        }
        world.jobs.faults.none();
        let job = job.unwrap().unwrap();
        assert_eq!(result(&job), json!({"matched": 230, "retried": 230, "refused": 0}), "seed {seed}");
        for id in &dead {
            // Sent here, or the clock's.
            assert_ne!(world.state(id).await, JobState::Dead, "seed {seed}");
        }
    }
}

#[tokio::test]
async fn a_job_that_dies_again_meanwhile_is_not_retried_another_time() {
    let world = world();
    for i in 0..150 {
        world.dead(&format!("{i}"), "no", |_| ()).await;
    }
    let operation = world.submit(&RetryJobs::default()).await;
    // The attempt ends after the first page, before that is written down: its third save, after the count and the page itself.
    let mut saves = 0;
    world.checkpoints.faults.at_random(0.5, 0.0, move |call| {
        saves += u32::from(call == "save");
        f64::from(u32::from((call, saves) != ("save", 3)))
    });
    world.invoke(30).await;
    world.checkpoints.faults.none();
    let retried: Vec<JobId> = world
        .jobs
        .all()
        .into_iter()
        .filter(|job| job.state == JobState::Queued && job.kind == "echo")
        .map(|job| job.id)
        .collect();
    assert_eq!(retried.len(), PAGE);
    world.clock.advance(Duration::from_secs(1));
    for id in &retried {
        world.die(id, "again").await;
    }
    let sent = world.echo.all().len();
    let (job, _) = world.run(&operation, 30).await;
    assert_eq!(result(&job), json!({"matched": 150, "retried": 150, "refused": 0}));
    for id in &retried {
        assert_eq!(world.state(id).await, JobState::Dead, "a second death is another matter");
    }
    assert_eq!(world.echo.all().len(), sent + 150 - retried.len());
}

#[tokio::test]
async fn it_is_cancelled_between_two_pages() {
    let world = world();
    for i in 0..250 {
        world.dead(&format!("{i}"), "no", |_| ()).await;
    }
    let operation = world.submit(&RetryJobs::default()).await;
    let (jobs, clock, id) = (world.jobs.clone(), world.clock.clone(), operation.clone());
    let cancel = tokio::spawn(async move {
        loop {
            let job = jobs.get(&id).await.unwrap().unwrap();
            if job.state == JobState::Running {
                jobs.apply(&id, &Event::AskCancel, clock.now()).await.unwrap();
                return;
            }
        }
    });
    let (job, _) = world.run(&operation, 30).await;
    cancel.await.unwrap();
    assert_eq!(job.state, JobState::Cancelled);
    let left = world.jobs.all().iter().filter(|job| job.state == JobState::Dead).count();
    assert_eq!(left, 150, "the page under way was finished");
}

#[tokio::test]
async fn the_sample_event_is_a_bulk_retry() {
    let world = world();
    let event: serde_json::Value = serde_json::from_str(include_str!("../../../events/operations.json")).unwrap();
    let body = event["Records"][0]["body"].as_str().unwrap();
    let message = JobMessage::parse(body).unwrap();
    let dead = world.dead("dead", "failed as asked: permanent", |job| job.tenant = message.tenant.clone()).await;
    let job = Job {
        id: message.id.clone(),
        tenant: message.tenant.clone(),
        kind: message.kind,
        timeout: None,
        ..conformance::queued_job("sample", world.clock.now())
    };
    world.jobs.create(&job, false).await.unwrap();
    world.operations.send_one(Message::now(body.to_owned(), job.tenant)).await.unwrap();
    world.invoke(30).await;
    assert_eq!(world.state(&job.id).await, JobState::Succeeded);
    assert_eq!(world.state(&dead).await, JobState::Queued);
}
