//! The ordered lane: what one message group goes through.

use super::World;
use super::*;
use crate::domain::lane::OrderingKey;
use crate::ports::Group;
use crate::testing::MemoryQueue;
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::sync::Mutex;

fn fifo(world: &World) -> MemoryQueue {
    world.queues.get("echo-ordered.fifo")
}

impl World {
    async fn ordered(&self, key: &str, name: &str, payload: Value) -> JobId {
        self.submit_as(name, payload, |new| new.ordering_key = Some(OrderingKey::parse(key).unwrap())).await
    }

    async fn deliver_ordered(&self, handlers: &Handlers) -> usize {
        self.deliver_from(&fifo(self), handlers).await
    }
}

#[tokio::test(start_paused = true)]
async fn a_failing_job_holds_up_its_key_and_no_other() {
    let world = World::new();
    let fails = world.ordered("a", "a1", json!({"fail": "transient", "fail_attempts": 1})).await;
    let behind = world.ordered("a", "a2", json!({})).await;
    let other = world.ordered("b", "b1", json!({})).await;
    assert_eq!(world.deliver_ordered(&handlers()).await, 3);
    assert_eq!(world.job(&other).await.state, State::Succeeded);
    let job = world.job(&fails).await;
    assert_eq!((job.state, job.attempt), (State::Queued, 1));
    assert_eq!(
        (world.job(&behind).await.state, world.job(&behind).await.fence),
        (State::Queued, 0),
        "not even claimed"
    );
    let messages = fifo(&world).all();
    assert_eq!(Some(messages[0].visible_at), job.run_at, "the message itself waits");
    assert_eq!(messages[1].visible_at, world.clock.now(), "and those behind it are not hidden for longer");
    assert_eq!(world.deliver_ordered(&handlers()).await, 0);
    world.clock.advance(wait_until(job.run_at, world.clock.now()));
    assert_eq!(world.deliver_ordered(&handlers()).await, 2);
    for id in [fails, behind] {
        assert_eq!(world.job(&id).await.state, State::Succeeded);
    }
    assert!(fifo(&world).all().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_dead_job_lets_its_key_go_on() {
    let world = World::new();
    let dies = world.ordered("a", "a1", json!({"fail": "permanent"})).await;
    let unreadable = Group::Ordered {
        group: OrderingKey::parse("a").unwrap().group(&world.job(&dies).await.tenant, "echo"),
        deduplication: "1".into(),
    };
    let garbled = Message { body: "{{".into(), delay: Duration::ZERO, group: Some(unreadable) };
    fifo(&world).send_one(garbled).await.unwrap();
    let behind = world.ordered("a", "a2", json!({})).await;
    assert_eq!(world.deliver_ordered(&handlers()).await, 3);
    assert_eq!(world.job(&dies).await.state, State::Dead);
    assert_eq!(world.job(&behind).await.state, State::Succeeded);
    assert!(fifo(&world).all().is_empty() && world.dead_letters.all().is_empty());
    assert_eq!(world.queues.get("echo-dead.fifo").all()[0].body, "{{");
}

#[tokio::test(start_paused = true)]
async fn a_job_cancelled_while_it_waits_lets_its_key_go_on() {
    let world = World::new();
    let fails = world.ordered("a", "a1", json!({"fail": "transient"})).await;
    let behind = world.ordered("a", "a2", json!({})).await;
    let later = Handlers::new().on::<Echo, _, _>(|_: Echo, _| async {
        Err(Failure::RetryAfter(Duration::from_secs(6 * 3_600), anyhow::anyhow!("away")))
    });
    world.deliver_ordered(&later).await;
    world.jobs.apply(&fails, &Event::Cancel, world.clock.now()).await.unwrap();
    world.clock.advance(Duration::from_secs(30 * 60));
    world.deliver_ordered(&handlers()).await;
    assert_eq!((world.job(&fails).await.state, world.job(&behind).await.state), (State::Cancelled, State::Succeeded));
}

#[tokio::test(start_paused = true)]
async fn however_long_a_job_waits_its_message_stays_and_no_attempt_is_spent() {
    let world = World::new();
    let id = world.ordered("a", "a1", json!({})).await;
    let behind = world.ordered("a", "a2", json!({})).await;
    let began = world.clock.now();
    let snoozes = Handlers::new()
        .on::<Echo, _, _>(|_: Echo, _| async { Err(Failure::Snooze(Duration::from_secs(40 * 24 * 3_600))) });
    world.deliver_ordered(&snoozes).await;
    let job = world.job(&id).await;
    let last = began + Duration::from_secs(12 * 24 * 3_600);
    assert_eq!((job.state, job.attempt, job.run_at), (State::Queued, 0, Some(last)), "not longer than SQS keeps it");
    assert_eq!(world.jobs.due(last, 10).await.unwrap(), [], "the clock does not bring it");
    let mut looks = 0;
    while world.clock.now() < last {
        world.clock.advance(Duration::from_secs(30 * 60));
        assert_eq!(world.deliver_ordered(&snoozes).await, 2);
        looks += 1;
    }
    assert_eq!(looks, 12 * 48);
    assert_eq!(world.job(&id).await.error.map(|error| error.class).as_deref(), Some("expired"));
    // The one behind is as old, but has its turn.
    assert_eq!(world.job(&behind).await.fence, 1);
    assert!(fifo(&world).all().is_empty());
}

/// Takes so many seconds of the invocation as its message says; more than 100: until it is cut off.
fn working(world: &World) -> Handlers {
    let clock = world.clock.clone();
    Handlers::new().on::<Echo, _, _>(move |job: Echo, _| {
        let clock = clock.clone();
        async move {
            match job.sleep_ms.unwrap_or(0) {
                ms if ms > 100_000 => std::future::pending().await,
                ms => clock.advance(Duration::from_millis(ms)),
            }
            Ok(Value::Null)
        }
    })
}

#[tokio::test(start_paused = true)]
async fn a_job_behind_others_has_the_time_that_the_first_has() {
    let world = World::new();
    let first = world.ordered("a", "a1", json!({"sleep_ms": 10_000})).await;
    let hangs = world.ordered("a", "a2", json!({"sleep_ms": 500_000})).await;
    world.deliver_ordered(&working(&world)).await;
    assert_eq!(world.job(&first).await.state, State::Succeeded);
    let job = world.job(&hangs).await;
    assert_eq!((job.state, job.attempt, job.fence, job.error), (State::Queued, 0, 1, None), "it had not its due");
    assert_eq!(fifo(&world).all()[0].visible_at, world.clock.now());
    world.deliver_ordered(&working(&world)).await;
    let job = world.job(&hangs).await;
    assert_eq!((job.attempt, job.error.unwrap().class.as_str()), (1, "timeout"), "now it was the first");
}

#[tokio::test(start_paused = true)]
async fn a_limit_of_its_own_counts_wherever_a_job_stands() {
    let world = World::new();
    world.ordered("a", "a1", json!({"sleep_ms": 10_000})).await;
    let key = OrderingKey::parse("a").unwrap();
    let hangs = world.submit_as("a2", json!({"sleep_ms": 500_000}), |new| {
        (new.ordering_key, new.timeout) = (Some(key), Some(Duration::from_secs(3)));
    });
    let hangs = hangs.await;
    world.deliver_ordered(&working(&world)).await;
    assert_eq!(world.job(&hangs).await.error.unwrap().class, "timeout");
}

#[tokio::test(start_paused = true)]
async fn late_in_an_invocation_the_rest_of_a_key_is_handed_back() {
    let world = World::new();
    let first = world.ordered("a", "a1", json!({"sleep_ms": 16_000})).await;
    let second = world.ordered("a", "a2", json!({})).await;
    let third = world.ordered("a", "a3", json!({})).await;
    world.deliver_ordered(&working(&world)).await;
    assert_eq!(world.job(&first).await.state, State::Succeeded);
    for id in [&second, &third] {
        assert_eq!(world.job(id).await.fence, 0, "it was not begun");
    }
    assert!(fifo(&world).all().iter().all(|message| message.visible_at == world.clock.now()));
    world.deliver_ordered(&working(&world)).await;
    assert_eq!(world.job(&third).await.state, State::Succeeded);
}

/// What an attempt comes to.
#[derive(Debug, Clone, Copy)]
enum Comes {
    End,
    Retry,
    Snooze,
    Panic,
    Death,
    Nothing,
}

/// The jobs of the lane by key, in the order in which they were submitted, with what their attempts come to.
type Plan = BTreeMap<String, Vec<(JobId, Vec<Comes>)>>;

/// Does what is planned, and says so of a job that is begun before those before it are over.
fn planned(world: &World, plan: Arc<Mutex<Plan>>) -> Handlers {
    let jobs = world.jobs.clone();
    Handlers::new().on::<Echo, _, _>(move |_: Echo, attempt: Attempt| {
        let (jobs, plan) = (jobs.clone(), plan.clone());
        async move {
            tokio::task::yield_now().await;
            let final_now: Vec<JobId> = jobs.all().into_iter().filter(|j| j.state.is_final()).map(|j| j.id).collect();
            let comes = {
                let mut plan = plan.lock().unwrap();
                let key = plan.values_mut().find(|jobs| jobs.iter().any(|(id, _)| *id == attempt.id)).expect("planned");
                let place = key.iter().position(|(id, _)| *id == attempt.id).expect("planned");
                if key[..place].iter().any(|(id, _)| !final_now.contains(id)) {
                    return Err(Failure::Dead(anyhow::anyhow!("out of order")));
                }
                let left = &mut key[place].1;
                if left.is_empty() { Comes::End } else { left.remove(0) }
            };
            match comes {
                Comes::End => Ok(Value::Null),
                Comes::Retry => Err(Failure::Retry(anyhow::anyhow!("planned"))),
                Comes::Snooze => Err(Failure::Snooze(Duration::from_secs(3_000))),
                Comes::Panic => panic!("as asked"),
                Comes::Death => Err(Failure::Dead(anyhow::anyhow!("planned"))),
                Comes::Nothing => std::future::pending().await,
            }
        }
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn whatever_attempts_come_to_a_key_keeps_its_order(
        jobs in prop::collection::vec((0_u8..3, prop::collection::vec(0_usize..6, 0..4)), 1..20), seed: u64,
    ) {
        const WHAT: [Comes; 6] = [
            Comes::End, Comes::Retry, Comes::Snooze, Comes::Panic, Comes::Death, Comes::Nothing,
        ];
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        let (world, mut dice) = (World::new(), fastrand::Rng::with_seed(seed));
        runtime.block_on(async {
            let plan = Arc::new(Mutex::new(Plan::new()));
            let handlers = planned(&world, plan.clone());
            for (i, (key, comes)) in jobs.iter().enumerate() {
                let id = world.ordered(&key.to_string(), &i.to_string(), json!({})).await;
                let comes = comes.iter().map(|i| WHAT[*i]).collect();
                plan.lock().unwrap().entry(key.to_string()).or_default().push((id, comes));
            }
            let queue = fifo(&world);
            for _ in 0..1_000 {
                let event = queue.receive(dice.usize(1..=10), VISIBILITY, || dice.f64());
                let deadline = world.clock.now() + TIMEOUT;
                let response = world.runner.batch(&handlers, event.clone(), deadline).await;
                queue.answered(&event, &response);
                let Some(next) = queue.all().iter().map(|message| message.visible_at).max() else { break };
                world.clock.advance(wait_until(Some(next), world.clock.now()).min(Duration::from_secs(600)));
            }
            assert!(queue.all().is_empty(), "{:?}", queue.all());
        });
        for job in world.jobs.all() {
            prop_assert!(job.state.is_final(), "{job:?}");
            let message = job.error.map(|error| error.message).unwrap_or_default();
            prop_assert!(message != "out of order", "{}", job.id);
        }
    }
}
