use super::*;
use crate::accept::{NewJob, fingerprint, submit};
use crate::domain::id::{JobId, Tenant};
use crate::domain::job::{JobError, Stored};
use crate::domain::lane::{OrderingKey, Priority};
use crate::jobs::kind;
use crate::ports::SystemClock;
use crate::queues::JobQueues;
use crate::testing::{MemoryBlobs, MemoryJobs, MemoryQueue, MemoryQueues, conformance};
use serde_json::json;
use std::sync::Arc;
use std::time::Duration;

struct World {
    jobs: MemoryJobs,
    queues: MemoryQueues,
    queue: MemoryQueue,
    intake: Intake,
}

fn world() -> World {
    let (jobs, memory) = (MemoryJobs::default(), MemoryQueues::new(Arc::new(SystemClock)));
    let (queues, queue) = (JobQueues::open(|name| memory.open(name)), memory.get("echo"));
    let intake = Intake { jobs: Arc::new(jobs.clone()), blobs: Arc::new(MemoryBlobs::default()), queues };
    World { jobs, queues: memory, queue, intake }
}

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_800_000_000 + second).unwrap()
}

impl World {
    async fn accepted(&self) -> Job {
        let payload = json!({"message": "old"});
        let new = NewJob {
            id: JobId::derived(&["t", "1"]),
            repeatable: true,
            fingerprint: fingerprint(&payload),
            tenant: Tenant::parse("t").unwrap(),
            kind: kind("echo").unwrap(),
            payload,
            priority: Priority::Normal,
            ordering_key: None,
            run_at: None,
            expires_at: None,
            max_attempts: None,
            timeout: None,
            callback_url: None,
            group: None,
            tags: vec![],
        };
        submit(&self.intake, new, at(0)).await.unwrap().job
    }

    async fn dead(&self) -> Job {
        let job = self.accepted().await;
        let error = JobError::new("permanent", "no", 0, at(1));
        match self.jobs.apply(&job.id, &Event::Condemn { error }, at(1)).await.unwrap() {
            Applied::Done(job) => *job,
            other => panic!("{other:?}"),
        }
    }

    async fn retry(&self, job: &Job, payload: Option<Value>) -> Wished {
        retry(&self.intake, job, kind("echo").unwrap(), payload, at(2)).await.unwrap()
    }
}

fn done(wished: Wished) -> Job {
    match wished {
        Wished::Done(job) => *job,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_cancel_and_a_claim_at_the_same_moment_are_decided_by_the_table() {
    let world = world();
    let read = world.accepted().await;
    // Claimed after the caller's look and before its write.
    let claim = Event::Claim { lease_until: at(10), owner: 1 };
    world.jobs.apply(&read.id, &claim, at(1)).await.unwrap();
    let job = done(cancel(&world.jobs, read, at(2)).await.unwrap());
    assert_eq!((job.state, job.cancel_requested), (State::Running, true));
    // Given back after the look and before the write.
    let second = self::world();
    let read = Job { state: State::Running, ..second.accepted().await };
    assert_eq!(done(cancel(&second.jobs, read, at(2)).await.unwrap()).state, State::Cancelled);
}

#[tokio::test]
async fn what_is_over_cannot_be_cancelled() {
    let world = world();
    let job = world.dead().await;
    assert_eq!(cancel(&world.jobs, job.clone(), at(2)).await.unwrap(), Wished::Refused(Box::new(job)));
}

#[tokio::test]
async fn a_retried_job_is_queued_and_its_message_carries_no_payload() {
    let world = world();
    let dead = world.dead().await;
    let job = done(world.retry(&dead, None).await);
    assert_eq!((job.state, job.attempt), (State::Queued, 0));
    let messages = world.queue.all();
    assert_eq!(JobMessage::parse(&messages[1].body).unwrap().payload, None);
    assert!(world.jobs.due(at(1_000), 10).await.unwrap().is_empty());
    assert!(matches!(world.retry(&job, None).await, Wished::Refused(_)), "it is not dead any more");
}

#[tokio::test]
async fn a_retried_job_goes_to_its_own_lane() {
    let world = world();
    for (lane, queue) in [(Some(Priority::Low), "echo-low"), (None, "echo-ordered.fifo")] {
        let job = Job {
            priority: lane.unwrap_or_default(),
            ordering_key: lane.is_none().then(|| OrderingKey::parse("k").unwrap()),
            state: State::Dead,
            ..conformance::queued_job(queue, at(0))
        };
        world.jobs.create(&job, false).await.unwrap();
        // Twice within the time in which SQS drops what it has seen.
        for second in [1, 2] {
            let sent = || world.queues.get(queue).all().len();
            let before = sent();
            let retried = retry(&world.intake, &job, kind("echo").unwrap(), None, at(second)).await.unwrap();
            assert_eq!((done(retried).state, sent()), (State::Queued, before + 1), "{queue}");
            let error = JobError::new("permanent", "no", 0, at(second));
            world.jobs.apply(&job.id, &Event::Condemn { error }, at(second)).await.unwrap();
        }
    }
}

#[tokio::test]
async fn the_clock_brings_a_retried_job_to_its_own_lane_in_the_order_of_the_retries() {
    let world = world();
    let fifo = world.queues.get("echo-ordered.fifo");
    let mut retried = Vec::new();
    for (i, name) in ["c", "a", "d", "b", "e"].into_iter().enumerate() {
        let ordering_key = Some(OrderingKey::parse("k").unwrap());
        let job = Job { ordering_key, state: State::Dead, ..conformance::queued_job(name, at(0)) };
        world.jobs.create(&job, false).await.unwrap();
        fifo.faults.refuse_next("send");
        let second = 1 + i64::try_from(i).unwrap();
        let job = done(retry(&world.intake, &job, kind("echo").unwrap(), None, at(second)).await.unwrap());
        assert_eq!(job.state, State::Scheduled);
        retried.push(job.id);
    }
    let queues = &world.intake.queues;
    let released = crate::release::release_due(&world.jobs, queues, at(60), 10).await.unwrap();
    assert_eq!((released.released, released.failed), (5, 0));
    let brought: Vec<JobId> = fifo.all().iter().map(|sent| JobMessage::parse(&sent.body).unwrap().id).collect();
    assert_eq!(brought, retried);
}

#[tokio::test]
async fn a_large_payload_of_a_retry_is_kept_under_a_key_of_its_own() {
    let world = world();
    let dead = world.dead().await;
    let large = json!({"message": "x".repeat(Stored::INLINE_MAX)});
    let job = done(world.retry(&dead, Some(large.clone())).await);
    let Stored::Blob(key) = job.payload else { panic!("it is inline") };
    let bytes = world.intake.blobs.get(&key).await.unwrap().unwrap();
    assert_eq!(serde_json::from_slice::<Value>(&bytes).unwrap(), large);
    assert!(job.edited);
}

#[tokio::test]
async fn a_retry_whose_message_never_left_is_brought_by_the_clock() {
    let world = world();
    let dead = world.dead().await;
    world.queue.faults.refuse_next("send");
    let job = done(world.retry(&dead, None).await);
    assert_eq!(job.state, State::Scheduled);
    let sent = world.queue.all().len();
    let queues = &world.intake.queues;
    let released = crate::release::release_due(&world.jobs, queues, at(2) + Duration::from_secs(1), 10).await.unwrap();
    assert_eq!((released.released, world.queue.all().len()), (1, sent + 1));
    assert_eq!(world.jobs.get(&job.id).await.unwrap().unwrap().state, State::Queued);
}
