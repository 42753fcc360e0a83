use super::*;
use crate::accept::Intake;
use crate::domain::job::{Event, Job, State};
use crate::domain::lane::Priority;
use crate::domain::local_time::Zone;
use crate::domain::schedule::Cron;
use crate::domain::target::{CallbackUrl, Reach};
use crate::ports::{Applied, Jobs as _};
use crate::queues::JobQueues;
use crate::release::release_due;
use crate::testing::{ManualClock, MemoryBlobs, MemoryJobs, MemoryQueue, MemoryQueues, MemorySchedules};
use std::sync::Arc;
use std::time::Duration;

struct World {
    clock: ManualClock,
    jobs: MemoryJobs,
    schedules: MemorySchedules,
    queue: MemoryQueue,
    intake: Intake,
}

fn ts(text: &str) -> Timestamp {
    text.parse().unwrap()
}

fn world(now: &str) -> World {
    let clock = ManualClock::at(ts(now));
    let (jobs, schedules) = (MemoryJobs::default(), MemorySchedules::default());
    let queues = MemoryQueues::new(Arc::new(clock.clone()));
    let queue = queues.get("echo-low");
    let queues = JobQueues::open(|name| queues.open(name));
    let intake = Intake { jobs: Arc::new(jobs.clone()), blobs: Arc::new(MemoryBlobs::default()), queues };
    World { clock, jobs, schedules, queue, intake }
}

fn wanted(cron: &str, kind: &str, payload: serde_json::Value) -> Wanted {
    let job = Template {
        kind: kind.into(),
        payload,
        priority: Priority::Low,
        max_attempts: Some(7),
        timeout: None,
        callback_url: Some(CallbackUrl::parse("https://example.com/over", Reach::Public).unwrap()),
        tags: vec!["t".into()],
    };
    Wanted { cron: Cron::parse(cron).unwrap(), time_zone: Zone::parse("UTC").unwrap(), job }
}

impl World {
    fn now(&self) -> Timestamp {
        use crate::ports::Clock as _;
        self.clock.now()
    }

    fn at(&self, now: &str) {
        let ahead = ts(now).duration_since(self.now());
        self.clock.advance(Duration::try_from(ahead).unwrap());
    }

    async fn put(&self, cron: &str, message: &str) -> (Schedule, bool) {
        let wanted = wanted(cron, "echo", json!({ "message": message }));
        put(&self.schedules, &tenant(), &name(), &wanted, self.now()).await.unwrap()
    }

    async fn fire(&self) -> Fired {
        fire_due(&self.schedules, &self.intake, self.now(), 100).await.unwrap()
    }

    async fn schedule(&self) -> Schedule {
        self.schedules.get(&tenant(), &name()).await.unwrap().unwrap()
    }

    /// The jobs by their times.
    fn ticks(&self) -> Vec<(Timestamp, Job)> {
        let mut ticks: Vec<_> = self.jobs.all().into_iter().map(|job| (job.run_at.unwrap(), job)).collect();
        ticks.sort_by_key(|(at, _)| *at);
        ticks
    }

    fn times(&self) -> Vec<Timestamp> {
        self.ticks().into_iter().map(|(at, _)| at).collect()
    }
}

fn tenant() -> Tenant {
    Tenant::parse("acme").unwrap()
}

fn name() -> ScheduleName {
    ScheduleName::parse("nightly").unwrap()
}

#[tokio::test]
async fn a_tick_gets_its_job_ahead_and_its_message_arrives_on_time() {
    let world = world("2026-01-01T00:00:20Z");
    let (schedule, new) = world.put("*/5 * * * *", "hello").await;
    assert!(new);
    assert_eq!(world.fire().await, Fired::default(), "it is too early");
    world.at("2026-01-01T00:04:10Z");
    assert_eq!(world.fire().await, Fired { due: 1, jobs: 1, failed: 0 });
    let (at, job) = world.ticks().remove(0);
    assert_eq!((at, job.state, job.max_attempts), (ts("2026-01-01T00:05:00Z"), State::Queued, 7));
    assert_eq!(job.callback_url, schedule.job.callback_url);
    assert_eq!((&job.tags, job.id), (&vec!["t".to_owned()], schedule.job_id(at)));
    assert_eq!(world.queue.all()[0].visible_at, at);
    assert_eq!(world.schedule().await.next, Some(ts("2026-01-01T00:10:00Z")));
    assert_eq!(world.fire().await, Fired::default(), "a tick fires once");
    assert_eq!(world.queue.all().len(), 1);
}

#[tokio::test]
async fn a_schedule_that_is_put_between_two_looks_of_the_clock_is_not_late() {
    let world = world("2026-03-10T12:00:30Z");
    let (schedule, _) = world.put("* * * * *", "soon").await;
    fire_soon(&world.schedules, &world.intake, &schedule, world.now()).await.unwrap();
    let ticks = ["2026-03-10T12:01:00Z", "2026-03-10T12:02:00Z"].map(ts);
    assert_eq!(world.times(), ticks);
    assert_eq!(world.queue.all().iter().map(|sent| sent.visible_at).collect::<Vec<_>>(), ticks);
    assert_eq!(world.fire().await.jobs, 0, "the clock finds them made");
    assert_eq!(world.times(), ticks);

    let (far, _) = put(
        &world.schedules,
        &tenant(),
        &ScheduleName::parse("far").unwrap(),
        &wanted("0 0 1 1 *", "echo", json!({})),
        world.now(),
    )
    .await
    .unwrap();
    fire_soon(&world.schedules, &world.intake, &far, world.now()).await.unwrap();
    assert_eq!(world.times(), ticks, "what is far away is the clock's");
}

#[tokio::test]
async fn every_minute_means_every_minute() {
    let world = world("2026-01-01T00:00:20Z");
    world.put("* * * * *", "hello").await;
    for _ in 0..10 {
        world.fire().await;
        world.clock.advance(Duration::from_secs(60));
    }
    let expected: Vec<Timestamp> =
        (1..=10).map(|minute| ts("2026-01-01T00:00:00Z") + Duration::from_secs(60 * minute)).collect();
    assert_eq!(world.times(), expected);
    let early = world.queue.all().iter().all(|message| world.times().contains(&message.visible_at));
    assert!(early, "{:?}", world.queue.all());
}

#[tokio::test]
async fn what_the_clock_missed_is_caught_up_on_once() {
    let world = world("2026-01-01T00:00:20Z");
    world.put("*/10 * * * *", "hello").await;
    world.at("2026-01-01T03:05:30Z");
    assert_eq!(world.fire().await, Fired { due: 1, jobs: 1, failed: 0 });
    assert_eq!(world.times(), [ts("2026-01-01T00:10:00Z")]);
    assert_eq!(world.queue.all()[0].visible_at, world.now(), "at once");
    world.at("2026-01-01T03:09:30Z");
    world.fire().await;
    assert_eq!(world.times()[1..], [ts("2026-01-01T03:10:00Z")]);
}

#[tokio::test]
async fn a_run_that_dies_between_job_and_schedule_neither_repeats_nor_loses() {
    let world = world("2026-01-01T00:09:30Z");
    world.put("*/10 * * * *", "hello").await;
    // The job is recorded, then the process ends.
    world.schedules.faults.refuse_next("put_schedule");
    assert_eq!(world.fire().await, Fired { due: 1, jobs: 1, failed: 1 });
    assert_eq!(world.fire().await, Fired { due: 1, jobs: 0, failed: 0 });
    assert_eq!(world.times(), [ts("2026-01-01T00:10:00Z")]);
    assert_eq!(world.schedule().await.next, Some(ts("2026-01-01T00:20:00Z")));

    // The same, and the clock is away for an hour: the tick before was on time, so those after it are still owed one job.
    world.at("2026-01-01T00:19:30Z");
    world.schedules.faults.refuse_next("put_schedule");
    world.fire().await;
    world.at("2026-01-01T01:15:00Z");
    world.fire().await;
    let expected = ["2026-01-01T00:10:00Z", "2026-01-01T00:20:00Z", "2026-01-01T00:30:00Z"].map(ts);
    assert_eq!(world.times(), expected);
    assert_eq!(world.schedule().await.next, Some(ts("2026-01-01T01:20:00Z")));
}

#[tokio::test]
async fn a_job_that_was_recorded_and_not_sent_is_sent_by_the_next_run() {
    let world = world("2026-01-01T00:09:30Z");
    world.put("*/10 * * * *", "hello").await;
    world.queue.faults.refuse_next("send");
    world.fire().await;
    assert_eq!(world.ticks()[0].1.state, State::Scheduled);
    world.clock.advance(Duration::from_secs(10));
    let released = release_due(&world.jobs, &world.intake.queues, world.now(), 10).await.unwrap();
    assert_eq!(released.released, 1);
    assert_eq!(world.queue.all()[0].visible_at, ts("2026-01-01T00:10:00Z"));
}

#[tokio::test]
async fn two_runs_at_once_make_one_job() {
    let world = world("2026-01-01T00:09:30Z");
    world.put("*/10 * * * *", "hello").await;
    let (one, two) = tokio::join!(world.fire(), world.fire());
    assert_eq!(one.jobs + two.jobs, 1);
    assert_eq!(world.times(), [ts("2026-01-01T00:10:00Z")]);
    assert_eq!(world.schedule().await.next, Some(ts("2026-01-01T00:20:00Z")));
}

#[tokio::test]
async fn a_schedule_that_is_replaced_while_it_ticks_goes_on_as_replaced() {
    let world = world("2026-01-01T00:09:30Z");
    world.put("*/10 * * * *", "old").await;
    // A run has made the job of 00:10; before it moves the schedule on, the schedule is replaced.
    world.schedules.faults.refuse_next("put_schedule");
    world.fire().await;
    let (replaced, new) = world.put("*/5 * * * *", "new").await;
    assert!(!new);
    assert_eq!(replaced.next, Some(ts("2026-01-01T00:10:00Z")));
    world.fire().await;
    world.at("2026-01-01T00:14:30Z");
    world.fire().await;
    let payloads: Vec<_> = world.ticks().into_iter().map(|(at, job)| (at, job.payload)).collect();
    let payload = |message: &str| crate::domain::job::Stored::Inline(json!({ "message": message }));
    let expected = [(ts("2026-01-01T00:10:00Z"), payload("old")), (ts("2026-01-01T00:15:00Z"), payload("new"))];
    assert_eq!(payloads, expected, "a tick that has its job keeps it");
}

#[tokio::test]
async fn a_schedule_that_is_deleted_ticks_no_more() {
    let world = world("2026-01-01T00:00:20Z");
    world.put("* * * * *", "hello").await;
    assert!(world.schedules.delete(&tenant(), &name()).await.unwrap());
    world.at("2026-01-01T00:05:00Z");
    assert_eq!(world.fire().await, Fired::default());
}

#[tokio::test]
async fn an_unknown_kind_waits_for_a_build_that_knows_it_and_harms_no_other() {
    let world = world("2026-01-01T00:00:20Z");
    world.put("* * * * *", "hello").await;
    let other = ScheduleName::parse("other").unwrap();
    let unknown = wanted("* * * * *", "gone", json!({}));
    put(&world.schedules, &tenant(), &other, &unknown, world.now()).await.unwrap();
    assert_eq!(world.fire().await, Fired { due: 2, jobs: 1, failed: 1 });
    let waiting = world.schedules.get(&tenant(), &other).await.unwrap().unwrap();
    assert_eq!(waiting.next, Some(ts("2026-01-01T00:01:00Z")), "its tick is not lost");
}

#[tokio::test]
async fn putting_meets_another_write_and_tries_again() {
    let world = world("2026-01-01T00:00:20Z");
    world.put("* * * * *", "one").await;
    let (a, b) = tokio::join!(world.put("0 * * * *", "two"), world.put("0 0 * * *", "three"));
    assert!(!a.1 && !b.1);
    assert_eq!(world.schedule().await.version, 3);
}

#[tokio::test]
async fn any_storm_gives_each_tick_one_job_that_leaves() {
    for seed in 0..200 {
        let world = world("2026-01-01T00:00:20Z");
        world.put("*/2 * * * *", "hello").await;
        let mut dice = fastrand::Rng::with_seed(seed);
        let mut plan = dice.fork();
        let mut others = dice.fork();
        let mut more = dice.fork();
        world.jobs.faults.at_random(0.1, 0.1, move |_| plan.f64());
        world.schedules.faults.at_random(0.1, 0.1, move |_| others.f64());
        world.queue.faults.at_random(0.1, 0.1, move |_| more.f64());
        for _ in 0..15 {
            let run = async || {
                let _ = fire_due(&world.schedules, &world.intake, world.now(), 100).await;
                let _ = release_due(&world.jobs, &world.intake.queues, world.now(), 100).await;
            };
            if dice.bool() {
                tokio::join!(run(), run());
            } else {
                run().await;
            }
            world.clock.advance(Duration::from_secs(dice.u64(20..70)));
        }
        world.jobs.faults.none();
        world.schedules.faults.none();
        world.queue.faults.none();
        world.clock.advance(Duration::from_secs(120));
        world.fire().await;
        release_due(&world.jobs, &world.intake.queues, world.now(), 100).await.unwrap();

        let mut before = None;
        for (at, job) in world.ticks() {
            assert_eq!(at.as_second() % 120, 0, "seed {seed}");
            assert_eq!(job.state, State::Queued, "seed {seed}: {at} has left");
            let sent = world.queue.all().iter().filter(|message| message.body.contains(job.id.as_str())).count();
            assert!(sent >= 1, "seed {seed}: {at} has a message");
            // Where a tick has no job, the one before it was late and caught up on it.
            if let Some((earlier, recorded)) = before {
                let gap = at.duration_since(earlier).as_secs();
                assert!(gap == 120 || recorded >= at - Duration::from_secs(120), "seed {seed}: {earlier}, {at}");
            }
            before = Some((at, job.created_at));
        }
        let claimed = world.ticks().remove(0).1;
        let claim = Event::Claim { lease_until: world.now() + Duration::from_secs(9), owner: 1 };
        let applied = world.jobs.apply(&claimed.id, &claim, world.now()).await.unwrap();
        assert!(matches!(applied, Applied::Done(_)), "{applied:?}");
    }
}
