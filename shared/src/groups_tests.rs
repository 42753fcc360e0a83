use super::*;
use crate::domain::job::State;
use crate::domain::target::Reach;
use crate::ports::{Clock as _, Jobs as _};
use crate::queues::JobQueues;
use crate::testing::{ManualClock, MemoryBlobs, MemoryGroups, MemoryJobs, MemoryQueue, MemoryQueues};
use serde_json::json;
use std::sync::Arc;

struct World {
    clock: ManualClock,
    jobs: MemoryJobs,
    queue: MemoryQueue,
    groups: MemoryGroups,
    intake: Intake,
}

fn world() -> World {
    let (clock, jobs) = (ManualClock::default(), MemoryJobs::default());
    let queues = MemoryQueues::new(Arc::new(clock.clone()));
    let queue = queues.get("echo");
    let intake = Intake {
        jobs: Arc::new(jobs.clone()),
        blobs: Arc::new(MemoryBlobs::default()),
        queues: JobQueues::open(|name| queues.open(name)),
    };
    World { clock, jobs, queue, groups: MemoryGroups::default(), intake }
}

fn job(payload: Value) -> NewJob {
    NewJob {
        id: crate::domain::id::JobId::derived(&["whatever"]),
        repeatable: false,
        fingerprint: crate::accept::fingerprint(&payload),
        tenant: Tenant::parse("t").unwrap(),
        kind: kind("echo").unwrap(),
        payload,
        priority: Priority::Normal,
        ordering_key: None,
        run_at: None,
        expires_at: None,
        max_attempts: Some(7),
        timeout: Some(Duration::from_secs(3)),
        callback_url: Some(CallbackUrl::parse("https://example.com/", Reach::Public).unwrap()),
        group: None,
        tags: vec!["a".into()],
    }
}

fn group(name: &str, size: usize, repeatable: bool) -> NewGroup {
    NewGroup {
        id: GroupId::derived(&[name]),
        repeatable,
        fingerprint: format!("{name}-{size}"),
        tenant: Tenant::parse("t").unwrap(),
        jobs: (0..size).map(|i| job(json!({ "message": i }))).collect(),
        on_complete: job(json!({"message": "all"})),
    }
}

impl World {
    async fn submit(&self, new: NewGroup) -> Result<AcceptedGroup, SubmitError> {
        submit(&self.groups, &self.intake, new, self.clock.now()).await
    }
}

#[tokio::test]
async fn a_group_is_its_jobs_each_in_its_place() {
    let world = world();
    let accepted = world.submit(group("g", 5, true)).await.unwrap();
    assert!(!accepted.replayed);
    assert_eq!((accepted.group.open.len(), accepted.group.accepted_at), (5, Some(world.clock.now())));
    for (index, id) in (0..).zip(accepted.group.jobs()) {
        let job = world.jobs.get(&id).await.unwrap().unwrap();
        assert_eq!(job.group, Some(accepted.group.member(index)));
        assert_eq!(job.payload, Stored::Inline(json!({ "message": index })));
    }
    assert_eq!(world.queue.all().len(), 5);
    assert_eq!(world.jobs.get(&accepted.group.completion()).await.unwrap(), None, "it follows when all are over");
}

#[tokio::test]
async fn asked_again_it_is_the_same_group_and_nothing_is_sent_twice() {
    let world = world();
    let first = world.submit(group("g", 3, true)).await.unwrap();
    let again = world.submit(group("g", 3, true)).await.unwrap();
    assert!(again.replayed);
    assert_eq!(again.group, first.group);
    assert_eq!(world.queue.all().len(), 3);
    assert!(matches!(world.submit(group("g", 4, true)).await, Ok(_) | Err(SubmitError::Mismatch)));
    let other = NewGroup { fingerprint: "other".into(), ..group("g", 3, true) };
    assert!(matches!(world.submit(other).await, Err(SubmitError::Mismatch)));
}

#[tokio::test]
async fn what_broke_half_way_is_done_when_it_is_asked_for_again() {
    // At the group, at a job, at a message, at the last note; refused, or done with the answer lost.
    for call in ["create_group", "create", "send", "accepted"] {
        for lost in [false, true] {
            let world = world();
            let break_next = |call| {
                for faults in [&world.groups.faults, &world.jobs.faults, &world.queue.faults] {
                    if lost { faults.lose_next_answer(call) } else { faults.refuse_next(call) }
                }
            };
            break_next(call);
            assert!(world.submit(group("g", 3, true)).await.is_err(), "{call}");
            let after = world.groups.get(&GroupId::derived(&["g"])).await.unwrap();
            assert!(after.is_none_or(|group| group.abandoned_at.is_none()), "{call}");
            for faults in [&world.groups.faults, &world.jobs.faults, &world.queue.faults] {
                faults.none();
            }
            let accepted = world.submit(group("g", 3, true)).await.unwrap();
            assert_eq!(accepted.group.open.len(), 3, "{call}");
            for id in accepted.group.jobs() {
                assert_eq!(world.jobs.get(&id).await.unwrap().unwrap().state, State::Queued, "{call}");
                assert!(world.queue.all().iter().any(|message| message.body.contains(id.as_str())), "{call}");
            }
        }
    }
}

#[tokio::test]
async fn a_group_that_nobody_can_ask_for_again_is_given_up_when_it_breaks() {
    let world = world();
    world.queue.faults.refuse_next("send");
    assert!(world.submit(group("g", 3, false)).await.is_err());
    let group = world.groups.get(&GroupId::derived(&["g"])).await.unwrap().unwrap();
    assert!(group.abandoned_at.is_some());
    for id in group.jobs() {
        assert_eq!(world.jobs.get(&id).await.unwrap().unwrap().state, State::Dead);
    }
    let all: Vec<u16> = (0..3).collect();
    assert!(!world.groups.close(&group.id, &all).await.unwrap().unwrap().is_due(), "nothing follows");
}

#[tokio::test]
async fn the_job_that_follows_is_as_it_was_asked_for() {
    let world = world();
    for payload in [json!({"message": "small"}), json!({"message": "x".repeat(5_000)})] {
        let name = payload.to_string();
        let new = NewGroup { on_complete: job(payload.clone()), ..group(&name, 1, true) };
        let made = world.submit(new).await.unwrap().group;
        let following = completion(&world.intake, &made).await.unwrap();
        assert_eq!(following.id, made.completion());
        let expected = NewJob { id: made.completion(), repeatable: true, ..job(payload) };
        assert_eq!(format!("{following:?}"), format!("{expected:?}"));
        assert!(made.on_complete.to_string().len() < 1_000, "the group is small, whatever follows it");
    }
}
