use super::*;
use crate::accept::{Intake, NewJob, fingerprint, submit};
use crate::domain::id::JobId;
use crate::domain::job::State;
use crate::domain::lane::Priority;
use crate::jobs::{Echo, Fail, Worker, kind};
use crate::ports::Queue as _;
use crate::queues::JobQueues;
use crate::testing::{ManualClock, MemoryBlobs, MemoryJobs, MemoryLimits, MemoryQueue, MemoryQueues};
use serde_json::json;

pub(super) struct World {
    pub(super) clock: ManualClock,
    pub(super) jobs: MemoryJobs,
    pub(super) blobs: MemoryBlobs,
    pub(super) queues: MemoryQueues,
    pub(super) queue: MemoryQueue,
    pub(super) dead_letters: MemoryQueue,
    pub(super) intake: Intake,
    pub(super) runner: Runner,
}

const TIMEOUT: Duration = Duration::from_secs(30);
/// How much longer a lease may be than an invocation.
const LEASE_MARGIN: Duration = Duration::from_secs(2);
const VISIBILITY: Duration = Duration::from_secs(180);

impl World {
    pub(super) fn new() -> Self {
        let clock = ManualClock::default();
        let (jobs, blobs) = (MemoryJobs::default(), MemoryBlobs::default());
        let queues = MemoryQueues::new(Arc::new(clock.clone()));
        let runner = Runner {
            jobs: Arc::new(jobs.clone()),
            blobs: Arc::new(blobs.clone()),
            queues: OwnQueues::open(Worker::Echo, |name| queues.open(name)),
            limiter: Arc::new(Limiter::new(Arc::new(MemoryLimits::default()))),
            clock: Arc::new(clock.clone()),
            dice: || 0.5,
        };
        let job_queues = JobQueues::open(|name| queues.open(name));
        let intake = Intake { jobs: Arc::new(jobs.clone()), blobs: Arc::new(blobs.clone()), queues: job_queues };
        let (queue, dead_letters) = (queues.get("echo"), queues.get("echo-dead"));
        Self { clock, jobs, blobs, queues, queue, dead_letters, intake, runner }
    }

    pub(super) async fn submit(&self, name: &str, payload: Value) -> JobId {
        self.submit_as(name, payload, |_| ()).await
    }

    pub(super) async fn submit_as(&self, name: &str, payload: Value, change: impl FnOnce(&mut NewJob)) -> JobId {
        let id = JobId::derived(&[name]);
        let mut new = NewJob {
            id: id.clone(),
            repeatable: true,
            fingerprint: fingerprint(&payload),
            tenant: crate::domain::id::Tenant::parse("t").unwrap(),
            kind: kind("echo").unwrap(),
            payload,
            priority: Priority::Normal,
            ordering_key: None,
            run_at: None,
            expires_at: None,
            max_attempts: Some(3),
            timeout: None,
            callback_url: None,
            group: None,
            tags: vec![],
        };
        change(&mut new);
        submit(&self.intake, new, self.clock.now()).await.unwrap();
        id
    }

    /// Delivers what is visible to a worker and settles the batch as Lambda does. Gives the number of messages.
    async fn deliver(&self, handlers: &Handlers) -> usize {
        self.deliver_from(&self.queue, handlers).await
    }

    pub(super) async fn deliver_from(&self, queue: &MemoryQueue, handlers: &Handlers) -> usize {
        let event = queue.receive(10, VISIBILITY, || 0.99);
        let deadline = self.clock.now() + TIMEOUT;
        let response = self.runner.batch(handlers, event.clone(), deadline).await;
        queue.answered(&event, &response);
        event.records.len()
    }

    pub(super) async fn job(&self, id: &JobId) -> Job {
        self.jobs.get(id).await.unwrap().unwrap()
    }
}

/// Fails as the payload says, and gives the message back.
fn handlers() -> Handlers {
    Handlers::new().on::<Echo, _, _>(|job: Echo, attempt: Attempt| async move {
        if job.progress == Some(true) {
            attempt.progress(50, None).await?;
        }
        if let Some(ms) = job.sleep_ms {
            tokio::time::sleep(Duration::from_millis(ms)).await;
        }
        if let Some(ms) = job.snooze_ms
            && attempt.fence == 1
        {
            return Err(Failure::Snooze(Duration::from_millis(ms)));
        }
        match job.fail.filter(|_| job.fail_attempts.is_none_or(|n| attempt.number <= n)) {
            None => Ok(json!({ "message": job.message })),
            Some(Fail::Transient | Fail::Exit) => Err(Failure::Retry(anyhow::anyhow!("away"))),
            Some(Fail::Throttled) => Err(Failure::Throttled(Some(Duration::from_secs(77)), anyhow::anyhow!("slow"))),
            Some(Fail::Permanent) => Err(Failure::Dead(anyhow::anyhow!("never"))),
            Some(Fail::Panic) => panic!("as asked"),
        }
    })
}

#[tokio::test(start_paused = true)]
async fn a_job_runs_and_its_message_goes() {
    let world = World::new();
    let id = world.submit("a", json!({"message": "hi"})).await;
    world.deliver(&handlers()).await;
    let job = world.job(&id).await;
    assert_eq!((job.state, job.attempt), (State::Succeeded, 1));
    assert_eq!(job.result, Some(Stored::Inline(json!({"message": "hi"}))));
    assert!(world.queue.all().is_empty());
}

#[tokio::test(start_paused = true)]
async fn one_bad_message_does_not_hurt_its_neighbours() {
    let world = World::new();
    let good = world.submit("good", json!({"message": 1})).await;
    let panics = world.submit("panics", json!({"fail": "panic"})).await;
    let slow = world.submit("slow", json!({"sleep_ms": 600_000})).await;
    let garbled = Message { body: "{{".into(), delay: Duration::ZERO, group: None };
    world.queue.send_one(garbled).await.unwrap();
    let last = world.submit("last", json!({"message": 2})).await;
    world.deliver(&handlers()).await;
    assert_eq!(world.job(&good).await.state, State::Succeeded);
    assert_eq!(world.job(&last).await.state, State::Succeeded);
    assert_eq!(world.job(&panics).await.error.unwrap().class, "panic");
    assert_eq!(world.job(&slow).await.error.unwrap().class, "timeout");
    assert_eq!(world.dead_letters.all()[0].body, "{{");
    assert_eq!(world.queue.all().len(), 2, "the two that failed wait for their next attempt");
}

#[tokio::test(start_paused = true)]
async fn a_permanent_failure_is_dead_at_once() {
    let world = World::new();
    let id = world.submit("a", json!({"fail": "permanent"})).await;
    world.deliver(&handlers()).await;
    let job = world.job(&id).await;
    let error = job.error.unwrap();
    assert_eq!(
        (job.state, job.attempt, error.class.as_str(), error.message.as_str()),
        (State::Dead, 1, "permanent", "never")
    );
    assert!(world.queue.all().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_transient_failure_waits_longer_each_time_and_ends_dead() {
    let world = World::new();
    let id = world.submit("a", json!({"fail": "transient"})).await;
    let mut waits = Vec::new();
    while world.deliver(&handlers()).await > 0 {
        let job = world.job(&id).await;
        if let [copy] = &world.queue.all()[..] {
            waits.push(copy.visible_at.duration_since(world.clock.now()).as_secs());
            assert_eq!(copy.received, 0, "the retry is a new message");
            assert_eq!(job.run_at, Some(copy.visible_at));
            world.clock.advance(Duration::from_secs(3_600));
        }
    }
    let job = world.job(&id).await;
    assert_eq!((job.state, job.attempt), (State::Dead, 3));
    assert!(waits.len() == 2 && waits[0] < waits[1], "{waits:?}");
}

#[tokio::test(start_paused = true)]
async fn a_service_that_says_how_long_is_heard() {
    let world = World::new();
    let id = world.submit("a", json!({"fail": "throttled"})).await;
    world.deliver(&handlers()).await;
    assert_eq!(world.job(&id).await.run_at, Some(world.clock.now() + Duration::from_secs(77)));
}

#[tokio::test(start_paused = true)]
async fn a_snooze_spends_no_attempt() {
    let world = World::new();
    let id = world.submit("a", json!({"snooze_ms": 5_000})).await;
    world.deliver(&handlers()).await;
    assert_eq!((world.job(&id).await.state, world.job(&id).await.attempt), (State::Queued, 0));
    assert_eq!(world.deliver(&handlers()).await, 0, "it is not yet visible");
    world.clock.advance(Duration::from_secs(5));
    world.deliver(&handlers()).await;
    assert_eq!((world.job(&id).await.state, world.job(&id).await.attempt), (State::Succeeded, 1));
}

#[tokio::test(start_paused = true)]
async fn a_worker_that_died_is_followed_by_another_when_its_lease_ends() {
    let world = World::new();
    let id = world.submit("a", json!({"message": 1})).await;
    // Claimed and never heard of again.
    let lease_until = world.clock.now() + TIMEOUT + LEASE_MARGIN;
    let claim = Event::Claim { lease_until, owner: 9 };
    world.jobs.apply(&id, &claim, world.clock.now()).await.unwrap();
    world.deliver(&handlers()).await;
    assert_eq!(world.job(&id).await.state, State::Running);
    assert_eq!(world.queue.all()[0].visible_at, lease_until, "the message comes back when the lease ends");
    world.clock.advance(TIMEOUT + LEASE_MARGIN);
    world.deliver(&handlers()).await;
    assert_eq!((world.job(&id).await.state, world.job(&id).await.attempt), (State::Succeeded, 2));
}

#[tokio::test(start_paused = true)]
async fn a_job_that_kills_its_workers_ends_dead() {
    let world = World::new();
    let id = world.submit("a", json!({})).await;
    for _ in 0..3 {
        let claim = Event::Claim { lease_until: world.clock.now() + TIMEOUT, owner: 9 };
        world.jobs.apply(&id, &claim, world.clock.now()).await.unwrap();
        world.clock.advance(TIMEOUT);
    }
    world.deliver(&handlers()).await;
    let job = world.job(&id).await;
    assert_eq!((job.state, job.error.unwrap().class.as_str()), (State::Dead, "crashed"));
    assert!(world.queue.all().is_empty());
}

/// A handler that is asked to stop while it works, then ends as `then` says.
fn asked_while_working(world: &World, then: fn() -> Failure) -> Handlers {
    let jobs = world.jobs.clone();
    Handlers::new().on::<Echo, _, _>(move |_: Echo, attempt: Attempt| {
        let jobs = jobs.clone();
        async move {
            jobs.apply(&attempt.id, &Event::AskCancel, attempt.now()).await?;
            attempt.progress(50, None).await.map_err(|heard| match then() {
                Failure::Cancelled => heard,
                other => other,
            })?;
            Ok(Value::Null)
        }
    })
}

#[tokio::test(start_paused = true)]
async fn a_handler_hears_of_the_cancel_when_it_tells_its_progress() {
    let world = World::new();
    let id = world.submit("a", json!({})).await;
    world.deliver(&asked_while_working(&world, || Failure::Cancelled)).await;
    let job = world.job(&id).await;
    assert_eq!((job.state, job.attempt, job.error), (State::Cancelled, 1, None));
    assert!(world.queue.all().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_cancelled_job_is_not_tried_again_whatever_its_handler_says() {
    let failures: [fn() -> Failure; 2] =
        [|| Failure::Retry(anyhow::anyhow!("away")), || Failure::Snooze(Duration::from_secs(3_600))];
    for failure in failures {
        let world = World::new();
        let id = world.submit("a", json!({})).await;
        world.deliver(&asked_while_working(&world, failure)).await;
        assert_eq!(world.job(&id).await.state, State::Cancelled);
        assert!(world.queue.all().is_empty());
    }
}

#[tokio::test(start_paused = true)]
async fn a_cancelled_jobs_message_is_acknowledged_though_its_worker_died() {
    let world = World::new();
    let waiting = world.submit("waiting", json!({})).await;
    let died = world.submit("died", json!({})).await;
    let now = world.clock.now();
    world.jobs.apply(&waiting, &Event::Cancel, now).await.unwrap();
    let claim = Event::Claim { lease_until: now + TIMEOUT, owner: 9 };
    world.jobs.apply(&died, &claim, now).await.unwrap();
    world.jobs.apply(&died, &Event::AskCancel, now).await.unwrap();
    world.clock.advance(TIMEOUT);
    world.deliver(&handlers()).await;
    for id in [waiting, died] {
        assert_eq!(world.job(&id).await.state, State::Cancelled);
    }
    assert!(world.queue.all().is_empty());
}

#[tokio::test(start_paused = true)]
async fn an_old_message_does_not_bring_an_old_payload_to_a_retried_job() {
    let world = World::new();
    let id = world.submit("a", json!({"message": "old"})).await;
    let now = world.clock.now();
    world.jobs.apply(&id, &Event::Cancel, now).await.unwrap();
    let edit = Event::Retry { payload: Some(Stored::Inline(json!({"message": "new"}))), death: None };
    world.jobs.apply(&id, &edit, now).await.unwrap();
    world.deliver(&handlers()).await;
    assert_eq!(world.job(&id).await.result, Some(Stored::Inline(json!({"message": "new"}))));
}

#[tokio::test(start_paused = true)]
async fn a_kind_this_worker_does_not_know_is_dead_and_not_lost() {
    let world = World::new();
    let id = world.submit("a", json!({})).await;
    world.deliver(&Handlers::new()).await;
    assert_eq!(world.job(&id).await.error.unwrap().class, "unknown_kind");
}

#[tokio::test(start_paused = true)]
async fn near_the_end_of_an_invocation_nothing_is_started() {
    let world = World::new();
    let id = world.submit("a", json!({})).await;
    let event = world.queue.receive(10, VISIBILITY, || 0.0);
    let deadline = world.clock.now() + Duration::from_secs(3);
    let handlers = handlers();
    let response = world.runner.batch(&handlers, event.clone(), deadline).await;
    world.queue.answered(&event, &response);
    assert_eq!((world.job(&id).await.state, world.job(&id).await.attempt), (State::Queued, 0));
    assert_eq!(world.queue.all()[0].visible_at, world.clock.now(), "another invocation may take it at once");
}

#[tokio::test(start_paused = true)]
async fn a_lost_answer_to_the_finish_costs_nothing() {
    let world = World::new();
    let id = world.submit("a", json!({})).await;
    world.jobs.faults.lose_next_answer("apply");
    // The claim's answer is lost: the message stays, and the lease keeps others off until it ends.
    world.deliver(&handlers()).await;
    assert_eq!(world.queue.all().len(), 1);
    world.clock.advance(VISIBILITY);
    world.deliver(&handlers()).await;
    assert_eq!(world.job(&id).await.state, State::Succeeded);
}

#[tokio::test(start_paused = true)]
async fn the_happy_path_costs_three_table_writes_and_one_message() {
    let world = World::new();
    let calls: Arc<std::sync::Mutex<Vec<&str>>> = Arc::default();
    for faults in [&world.jobs.faults, &world.queue.faults, &world.dead_letters.faults] {
        let calls = calls.clone();
        // Refuses nothing: 1 is never below the part to be refused.
        faults.at_random(f64::MIN_POSITIVE, 0.0, move |call| {
            calls.lock().unwrap().push(call);
            1.0
        });
    }
    world.submit("a", json!({"message": "hi"})).await;
    world.deliver(&handlers()).await;
    assert_eq!(*calls.lock().unwrap(), ["create", "send", "apply", "apply"]);
}

#[tokio::test(start_paused = true)]
async fn a_large_result_is_kept_beside_the_table() {
    let world = World::new();
    let id = world.submit("a", json!({"message": "x".repeat(Stored::INLINE_MAX)})).await;
    world.deliver(&handlers()).await;
    assert!(matches!(world.job(&id).await.result, Some(Stored::Blob(_))));
}

#[tokio::test(start_paused = true)]
async fn a_job_is_tried_again_on_its_own_lane() {
    let world = World::new();
    let high = world.queues.get("echo-high");
    let id = world.submit_as("a", json!({"fail": "transient"}), |new| new.priority = Priority::High).await;
    assert_eq!((high.all().len(), world.queue.all().len()), (1, 0));
    world.deliver_from(&high, &handlers()).await;
    assert_eq!(world.job(&id).await.attempt, 1);
    assert_eq!((high.all().len(), world.queue.all().len()), (1, 0));
    assert_eq!(Some(high.all()[0].visible_at), world.job(&id).await.run_at);
}

#[path = "ordered_tests.rs"]
mod ordered_tests;
#[path = "simulation/mod.rs"]
mod simulation;
