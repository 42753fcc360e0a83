use super::*;
use crate::domain::change::Step;
use crate::domain::group::{Group, Member};
use crate::domain::id::{JobId, Tenant};
use crate::domain::job::{Event, Job, JobError, State, Stored};
use crate::domain::stats::{Count, Counts, What};
use crate::domain::target::{CallbackUrl, Reach};
use crate::groups::{NewGroup, submit};
use crate::ports::{Applied, Clock as _, Jobs as _};
use crate::queues::JobQueues;
use crate::testing::{
    Faults, ManualClock, MemoryBlobs, MemoryBus, MemoryCounters, MemoryGroups, MemoryJobs, MemoryQueue, MemoryQueues,
};
use serde_json::json;
use std::collections::BTreeSet;
use std::time::Duration;

struct World {
    clock: ManualClock,
    jobs: MemoryJobs,
    queue: MemoryQueue,
    counters: MemoryCounters,
    groups: MemoryGroups,
    bus: MemoryBus,
    outbox: Outbox,
}

fn world() -> World {
    let (clock, jobs) = (ManualClock::default(), MemoryJobs::streamed());
    let queues = MemoryQueues::new(Arc::new(clock.clone()));
    let queue = queues.get("webhook");
    let (counters, groups, bus) = (MemoryCounters::default(), MemoryGroups::default(), MemoryBus::default());
    let intake = Intake {
        jobs: Arc::new(jobs.clone()),
        blobs: Arc::new(MemoryBlobs::default()),
        queues: JobQueues::open(|name| queues.open(name)),
    };
    let outbox = Outbox {
        counters: Arc::new(counters.clone()),
        groups: Arc::new(groups.clone()),
        intake,
        bus: Some(Arc::new(bus.clone())),
    };
    World { clock, jobs, queue, counters, groups, bus, outbox }
}

fn tenant() -> Tenant {
    Tenant::parse("t").unwrap()
}

fn echo(name: &str, callback: bool) -> NewJob {
    let payload = json!({ "message": name });
    NewJob {
        id: JobId::derived(&[name]),
        repeatable: true,
        fingerprint: fingerprint(&payload),
        tenant: tenant(),
        kind: kind("echo").unwrap(),
        payload,
        priority: Priority::Normal,
        ordering_key: None,
        run_at: None,
        expires_at: None,
        max_attempts: Some(3),
        timeout: None,
        callback_url: callback.then(|| CallbackUrl::parse("https://example.com/", Reach::Public).unwrap()),
        group: None,
        tags: Vec::new(),
    }
}

impl World {
    fn faults(&self) -> [&Faults; 5] {
        [&self.jobs.faults, &self.queue.faults, &self.counters.faults, &self.groups.faults, &self.bus.faults]
    }

    /// Takes a batch, and again until it is taken.
    async fn take(&self, batch: &[Change]) {
        for _ in 0..10_000 {
            if self.outbox.take(&Shard::new("one"), batch, self.clock.now()).await.is_ok() {
                return;
            }
        }
        panic!("the batch was never taken");
    }

    async fn apply(&self, id: &JobId, event: Event) -> Option<Job> {
        match self.jobs.apply(id, &event, self.clock.now()).await.unwrap() {
            Applied::Done(job) => Some(*job),
            Applied::Refused(..) | Applied::Missing => None,
        }
    }

    async fn group(&self, name: &str, size: u16) -> Group {
        let new = NewGroup {
            id: GroupId::derived(&[name]),
            repeatable: true,
            fingerprint: name.into(),
            tenant: tenant(),
            jobs: (0..size).map(|i| echo(&format!("{name}-{i}"), i % 2 == 0)).collect(),
            on_complete: echo(&format!("after {name}"), true),
        };
        submit(&self.groups, &self.outbox.intake, new, self.clock.now()).await.unwrap().group
    }

    fn webhooks(&self) -> Vec<Job> {
        self.jobs.all().into_iter().filter(|job| job.kind == "webhook").collect()
    }
}

#[tokio::test]
async fn the_end_of_a_job_calls_back_once_however_often_it_is_told() {
    let world = world();
    let job = crate::accept::submit(&world.outbox.intake, echo("one", true), world.clock.now()).await.unwrap().job;
    let claim = Event::Claim { lease_until: world.clock.now() + Duration::from_secs(60), owner: 1 };
    world.apply(&job.id, claim).await.unwrap();
    let result = Some(Stored::Inline(json!({"sum": 3})));
    world.apply(&job.id, Event::Succeed { fence: 1, result }).await.unwrap();
    for _ in 0..3 {
        world.take(&world.jobs.changes(0)).await;
    }
    let calls = world.webhooks();
    assert_eq!(calls.len(), 1);
    let Stored::Inline(payload) = &calls[0].payload else { panic!("a small payload") };
    assert_eq!((&payload["type"], &payload["url"]), (&json!("job.succeeded"), &json!("https://example.com/")));
    assert_eq!((&payload["data"]["id"], &payload["data"]["result"]), (&json!(job.id), &json!({"sum": 3})));
    assert_eq!(calls[0].tenant, tenant());
    // The event of each state was told at least once, and always with the same id.
    let told = world.bus.told().into_iter().filter(|event| event.job == job.id);
    let told: BTreeSet<(String, String)> = told.map(|event| (event.name(), event.id)).collect();
    let names: Vec<&str> = told.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["millrace.job.queued", "millrace.job.running", "millrace.job.succeeded"]);
}

#[tokio::test]
async fn a_group_is_followed_by_its_job_when_the_last_is_over_and_only_then() {
    let world = world();
    let group = world.group("g", 3).await;
    let mut told = 0;
    for (index, id) in (0_u16..).zip(group.jobs()) {
        assert!(world.jobs.get(&group.completion()).await.unwrap().is_none(), "before job {index} was over");
        world.apply(&id, Event::Cancel).await.unwrap();
        world.take(&world.jobs.changes(told)).await;
        told = world.jobs.changes(0).len();
    }
    let after = world.jobs.get(&group.completion()).await.unwrap().unwrap();
    assert_eq!((after.state, after.group), (State::Queued, None));
    assert!(world.groups.get(&group.id).await.unwrap().unwrap().completed_at.is_some());
    // A member that is retried, and ends again, is followed by nothing.
    let member = group.member(0).job();
    world.apply(&after.id, Event::Cancel).await.unwrap();
    world.apply(&member, Event::Retry { payload: None, death: None }).await.unwrap();
    world.apply(&member, Event::Cancel).await.unwrap();
    world.take(&world.jobs.changes(0)).await;
    assert_eq!(world.jobs.get(&after.id).await.unwrap().unwrap().state, State::Cancelled);
    let followers = world.jobs.all().into_iter().filter(|job| job.fingerprint == after.fingerprint).count();
    assert_eq!(followers, 1);
}

#[tokio::test]
async fn a_place_in_a_group_that_is_gone_holds_nothing_up() {
    let world = world();
    let gone = Member { group: GroupId::derived(&["gone"]), index: 1 };
    let job = NewJob { group: Some(gone), ..echo("orphan", false) };
    let job = crate::accept::submit(&world.outbox.intake, job, world.clock.now()).await.unwrap().job;
    world.apply(&job.id, Event::Cancel).await.unwrap();
    world.take(&world.jobs.changes(0)).await;
}

#[tokio::test]
async fn without_a_bus_nobody_is_told() {
    let world = world();
    let outbox = Outbox { bus: None, ..world.outbox.clone() };
    crate::accept::submit(&world.outbox.intake, echo("one", false), world.clock.now()).await.unwrap();
    let done = outbox.take(&Shard::new("one"), &world.jobs.changes(0), world.clock.now()).await.unwrap();
    assert_eq!((done.pages, done.events), (2, 0));
}

/// Jobs in groups live through anything while every call of the outbox may fail or lose its answer; batches are told again
/// whole, in part, and long after. In the end everything is as if each change had been told once.
#[tokio::test]
async fn in_any_storm_it_comes_out_as_if_told_once() {
    for seed in 0..200 {
        storm(seed).await;
    }
}

async fn storm(seed: u64) {
    let (world, mut random) = (world(), fastrand::Rng::with_seed(seed));
    let mut groups = Vec::new();
    for i in 0..random.u32(1..4) {
        groups.push(world.group(&format!("g{i}"), random.u16(1..6)).await);
    }
    let members: Vec<JobId> = groups.iter().flat_map(Group::jobs).collect();
    let mut told = 0;
    for _ in 0..random.usize(20..80) {
        world.clock.advance(Duration::from_millis(random.u64(0..5_000)));
        let id = &members[random.usize(..members.len())];
        let now = world.clock.now();
        let fence = world.jobs.get(id).await.unwrap().map_or(0, |job| job.fence);
        let error = JobError::new("transient", "no", 1, now);
        let event = match random.u8(..8) {
            0..=2 => Event::Claim { lease_until: now + Duration::from_secs(10), owner: 1 },
            3..=4 => Event::Succeed { fence, result: None },
            5 => Event::Bury { fence, error },
            6 => Event::Cancel,
            _ => Event::Retry { payload: None, death: None },
        };
        world.apply(id, event).await;
        if random.f64() < 0.3 {
            told = broken(&world, told, &mut random).await;
        }
    }
    for id in &members {
        world.apply(id, Event::Cancel).await;
        world.clock.advance(Duration::from_secs(20));
        world.apply(id, Event::Cancel).await;
    }
    while told < world.jobs.changes(0).len() {
        told = broken(&world, told, &mut random).await;
    }
    check(&world, &groups, seed).await;
}

/// Takes the next batch while calls fail, then some older changes once more. Gives how far it came.
async fn broken(world: &World, told: usize, random: &mut fastrand::Rng) -> usize {
    for faults in world.faults() {
        let mut dice = random.fork();
        faults.at_random(0.03, 0.03, move |_| dice.f64());
    }
    let rest = world.jobs.changes(told);
    let batch = &rest[..random.usize(..=rest.len())];
    world.take(batch).await;
    let told = told + batch.len();
    if random.f64() < 0.3 {
        let from = random.usize(..=told);
        world.take(&world.jobs.changes(from)[..told - from]).await;
    }
    for faults in world.faults() {
        faults.none();
    }
    told
}

async fn check(world: &World, groups: &[Group], seed: u64) {
    let mut expected = Counts::new();
    for job in world.jobs.all() {
        *expected.entry(Count { kind: job.kind, what: What::In(job.state) }).or_default() += 1;
    }
    let mut counted = world.counters.states(&tenant()).await.unwrap();
    counted.retain(|_, by| *by != 0);
    assert_eq!(counted, expected, "seed {seed}");

    for group in groups {
        let found = world.groups.get(&group.id).await.unwrap().unwrap();
        assert!(found.open.is_empty() && found.completed_at.is_some(), "seed {seed}: {found:?}");
        assert!(world.jobs.get(&group.completion()).await.unwrap().is_some(), "seed {seed}");
        // No member had its first end after the job that follows was recorded.
        let changes = world.jobs.changes(0);
        let place = |id: &JobId, what: fn(&Job) -> bool| {
            changes.iter().position(|change| {
                matches!(&change.step, Step::Created(new) | Step::Changed { new, .. } if new.id == *id && what(new))
            })
        };
        let follower = place(&group.completion(), |_| true).unwrap();
        for id in group.jobs() {
            assert!(place(&id, |job| job.state.is_final()).unwrap() < follower, "seed {seed}: {id}");
        }
    }

    let mut ends = BTreeSet::new();
    for change in world.jobs.changes(0) {
        ends.extend(effects(&change).callback.map(|callback| callback.id));
    }
    let called: BTreeSet<JobId> = world.webhooks().into_iter().map(|job| job.id).collect();
    assert_eq!(called, ends, "seed {seed}: each end of a job calls back, and nothing else does");
    let told: BTreeSet<String> = world.bus.told().into_iter().map(|event| event.id).collect();
    let events: BTreeSet<String> =
        world.jobs.changes(0).iter().filter_map(|change| effects(change).event).map(|event| event.id).collect();
    assert_eq!(told, events, "seed {seed}");
}
