use super::*;
use crate::domain::id::JobId;
use crate::domain::job::State;
use crate::job::{Failure, Outcome};
use crate::jobs::{Echo, Worker};
use crate::testing::Kit;
use crate::worker::handlers::Attempt;
use proptest::prelude::*;
use serde_json::{Value, json};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use tokio::time::sleep;

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// A worker whose function is this one, whatever the payload.
fn kit<Fut>(handler: impl Fn(Attempt) -> Fut + Send + Sync + 'static) -> Kit
where
    Fut: Future<Output = Outcome> + Send + 'static,
{
    Kit::new(Worker::Echo).on::<Echo, _, _>(move |_: Echo, attempt| handler(attempt))
}

async fn submit(kit: &Kit) -> JobId {
    kit.submit(&Echo::default()).await
}

/// Counts the writes of the table of jobs.
fn count_writes(kit: &Kit) -> Arc<AtomicUsize> {
    let writes = Arc::new(AtomicUsize::new(0));
    let counted = writes.clone();
    kit.jobs.faults.at_random(f64::MIN_POSITIVE, 0.0, move |call| {
        counted.fetch_add(usize::from(call == "apply"), Ordering::Relaxed);
        1.0
    });
    writes
}

async fn ask_cancel(kit: &Kit, id: &JobId) {
    let asked = kit.jobs.apply(id, &Event::AskCancel, kit.clock.now()).await.unwrap();
    assert!(matches!(asked, Applied::Done(_)), "{asked:?}");
}

#[tokio::test(start_paused = true)]
async fn a_short_job_costs_no_heartbeat() {
    let kit = kit(|_| async {
        sleep(Duration::from_millis(4_900)).await;
        Ok(Value::Null)
    });
    let writes = count_writes(&kit);
    assert_eq!(kit.run(&Echo::default()).await.state, State::Succeeded);
    assert_eq!(writes.load(Ordering::Relaxed), 2, "a claim and a finish");
}

#[tokio::test(start_paused = true)]
async fn a_long_job_is_held_together_with_its_message() {
    let kit = kit(|_| async {
        sleep(seconds(28)).await;
        Ok(json!("done"))
    });
    let (id, began, queue) = (submit(&kit).await, kit.clock.now(), kit.queues.get("echo"));
    let mut seen = Vec::new();
    let look = async {
        for at in [1, 6, 12, 17, 22] {
            sleep(seconds(at) - Duration::try_from(kit.clock.now().duration_since(began)).unwrap()).await;
            let (until, message) = (kit.job(&id).await.lease_until.unwrap(), &queue.all()[0]);
            let after = |at: Timestamp| at.duration_since(began).as_secs();
            seen.push((at, after(until), after(message.visible_at)));
            assert_eq!(kit.deliver().await, 0, "no other worker is shown it");
        }
    };
    tokio::join!(kit.deliver(), look);
    // For half of 30 s at first and from each heartbeat, at most to two seconds beyond the end.
    assert_eq!(seen, [(1, 15, 180), (6, 20, 20), (12, 25, 25), (17, 30, 30), (22, 32, 32)]);
    let job = kit.job(&id).await;
    assert_eq!((job.state, job.attempt), (State::Succeeded, 1));
    assert!(queue.all().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_dead_workers_job_is_taken_up_when_its_lease_ends() {
    let killed = Arc::new(AtomicBool::new(false));
    let first = killed.clone();
    let kit = kit(move |_| {
        let first = !first.swap(true, Ordering::Relaxed);
        async move {
            sleep(if first { seconds(28) } else { seconds(1) }).await;
            Ok(Value::Null)
        }
    });
    let (id, began) = (submit(&kit).await, kit.clock.now());
    kit.kill_after(seconds(12)).await;
    let until = kit.job(&id).await.lease_until.unwrap();
    kit.drain().await;
    let job = kit.job(&id).await;
    assert_eq!((job.state, job.attempt), (State::Succeeded, 2));
    assert_eq!(job.started_at, Some(until), "not only when the queue's own time is over");
    assert_eq!(until.duration_since(began).as_secs(), 25);
}

#[tokio::test(start_paused = true)]
async fn a_heartbeat_that_fails_is_repeated_and_the_work_goes_on() {
    let kit = kit(|_| async {
        sleep(seconds(20)).await;
        Ok(Value::Null)
    });
    let id = submit(&kit).await;
    let fail = async {
        sleep(seconds(2)).await;
        kit.jobs.faults.refuse_next("apply");
        kit.jobs.faults.lose_next_answer("apply");
        kit.queues.get("echo").faults.refuse_next("hide");
    };
    tokio::join!(kit.deliver(), fail);
    let job = kit.job(&id).await;
    assert_eq!((job.state, job.attempt), (State::Succeeded, 1));
}

/// Runs a job on a worker whose table is away from 2 s to `away` seconds after the start, and one that has nothing to do
/// beside it. Gives the job, and when each attempt was at work.
async fn with_the_table_away(away: u64) -> (Job, Vec<(u32, i64)>) {
    let at_work: Arc<Mutex<Vec<(u32, i64)>>> = Arc::default();
    let (noted, start) = (at_work.clone(), Timestamp::from_second(1_800_000_000).unwrap());
    let kit = kit(move |attempt| {
        let noted = noted.clone();
        async move {
            for _ in 0..25 {
                noted.lock().unwrap().push((attempt.number, attempt.now().duration_since(start).as_secs()));
                sleep(seconds(1)).await;
            }
            Ok(Value::Null)
        }
    });
    let id = submit(&kit).await;
    let fail = async {
        sleep(seconds(2)).await;
        kit.jobs.faults.at_random(1.0, 0.0, |_| 0.0);
        sleep(seconds(away - 2)).await;
        kit.jobs.faults.none();
    };
    tokio::join!(kit.deliver(), fail);
    kit.drain().await;
    let noted = at_work.lock().unwrap().clone();
    (kit.job(&id).await, noted)
}

#[tokio::test(start_paused = true)]
async fn a_worker_that_cannot_extend_its_lease_waits_at_its_end() {
    let (job, at_work) = with_the_table_away(18).await;
    assert_eq!((job.state, job.attempt), (State::Succeeded, 1), "{at_work:?}");
    let times: Vec<i64> = at_work.into_iter().map(|(_, at)| at).collect();
    // Its lease was until 15, and at 18 the job was still its own.
    assert!(!times.iter().any(|at| (15..18).contains(at)) && times.iter().any(|at| *at >= 18), "{times:?}");
}

#[tokio::test(start_paused = true)]
async fn a_worker_that_lost_its_lease_is_stopped_and_writes_nothing() {
    let ended = Arc::new(AtomicBool::new(false));
    let noted = ended.clone();
    let kit = kit(move |attempt| {
        let noted = noted.clone();
        async move {
            sleep(seconds(16)).await;
            noted.store(true, Ordering::Relaxed);
            Ok(json!(attempt.number))
        }
    });
    let id = submit(&kit).await;
    let steal = async {
        sleep(seconds(2)).await;
        kit.jobs.faults.at_random(1.0, 0.0, |_| 0.0);
        sleep(Duration::from_millis(13_500)).await;
        kit.jobs.faults.none();
        // The lease is over: somebody else takes the job before the next heartbeat, and is at work for a minute.
        let claim = Event::Claim { lease_until: kit.clock.now() + seconds(60), owner: 9 };
        assert!(matches!(kit.jobs.apply(&id, &claim, kit.clock.now()).await.unwrap(), Applied::Done(_)));
    };
    tokio::join!(kit.deliver(), steal);
    assert!(!ended.load(Ordering::Relaxed), "it went on with a job that is another's");
    let job = kit.job(&id).await;
    assert_eq!((job.state, job.attempt, job.fence), (State::Running, 2, 2));
    assert_eq!(kit.queues.get("echo").all().len(), 1, "its message stays");
    kit.drain().await;
    assert_eq!((kit.job(&id).await.attempt, kit.result(&id).await), (3, json!(3)));
}

#[tokio::test(start_paused = true)]
async fn what_was_frozen_goes_on_only_with_a_lease() {
    let kit = Arc::new(Mutex::new(None::<Arc<Kit>>));
    let inner = kit.clone();
    let worker = Kit::new(Worker::Echo).on::<Echo, _, _>(move |_: Echo, attempt: Attempt| {
        let kit = inner.lock().unwrap().clone().unwrap();
        async move {
            // Everything stands still for 16 s, the lease was for 15.
            tokio::time::advance(seconds(16)).await;
            let job = kit.job(&attempt.id).await;
            assert!(job.lease_until > Some(attempt.now()), "it runs without a lease");
            Ok(Value::Null)
        }
    });
    let worker = Arc::new(worker);
    *kit.lock().unwrap() = Some(worker.clone());
    let job = worker.run(&Echo::default()).await;
    assert_eq!((job.state, job.attempt), (State::Succeeded, 1), "{job:?}");
    *kit.lock().unwrap() = None;
}

#[tokio::test(start_paused = true)]
async fn a_handler_hears_of_a_cancel_while_it_works() {
    let kit = kit(|attempt| async move {
        assert!(!attempt.should_stop());
        attempt.cancelled().await;
        assert!(attempt.should_stop());
        sleep(seconds(5)).await; // undoes what should not stay
        Err(Failure::Cancelled)
    });
    let (id, began) = (submit(&kit).await, kit.clock.now());
    let ask = async {
        sleep(seconds(1)).await;
        ask_cancel(&kit, &id).await;
    };
    tokio::join!(kit.deliver(), ask);
    let job = kit.job(&id).await;
    assert_eq!((job.state, job.attempt, job.error), (State::Cancelled, 1, None));
    assert_eq!(job.finished_at.unwrap().duration_since(began).as_secs(), 10, "heard after 5 s, and 5 s to undo");
    assert!(kit.queues.get("echo").all().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_handler_that_does_not_listen_is_stopped_and_one_that_is_done_has_done_it() {
    for (work, state, took) in [(25, State::Cancelled, 15), (12, State::Succeeded, 12)] {
        let kit = kit(move |_| async move {
            sleep(seconds(work)).await;
            Ok(Value::Null)
        });
        let (id, began) = (submit(&kit).await, kit.clock.now());
        let ask = async {
            sleep(seconds(1)).await;
            ask_cancel(&kit, &id).await;
        };
        tokio::join!(kit.deliver(), ask);
        let job = kit.job(&id).await;
        assert_eq!((job.state, job.finished_at.unwrap().duration_since(began).as_secs()), (state, took));
        assert!(kit.queues.get("echo").all().is_empty());
    }
}

#[tokio::test(start_paused = true)]
async fn what_a_handler_has_left_running_hears_that_the_attempt_is_over() {
    let left = Arc::new(Mutex::new(None::<Attempt>));
    let kept = left.clone();
    let kit = kit(move |attempt| {
        *kept.lock().unwrap() = Some(attempt);
        async {
            sleep(seconds(600)).await;
            Ok(Value::Null)
        }
    });
    let job = kit.run(&Echo::default()).await;
    assert_eq!(job.error.unwrap().class, "timeout");
    let attempt = left.lock().unwrap().take().unwrap();
    assert!(attempt.should_stop());
    attempt.cancelled().await;
}

proptest! {
    #[test]
    fn a_lease_is_short_and_ends_soon_after_the_invocation(now in 0i64..1_000, left_ms in -10_000i64..1_000_000) {
        let now = Timestamp::from_second(now).unwrap();
        let deadline = now + jiff::SignedDuration::from_millis(left_ms);
        let until = first_lease(now, deadline);
        prop_assert!(until <= deadline + MARGIN && until <= now + LONGEST);
        prop_assert!(until == deadline + MARGIN || until >= now + SHORTEST);
        prop_assert_eq!(until.as_nanosecond() % 1_000_000, 0);
    }
}
