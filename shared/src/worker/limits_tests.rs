use super::*;
use crate::domain::id::JobId;
use crate::domain::job::{Job, State};
use crate::domain::lane::OrderingKey;
use crate::domain::rate::{Period, Whose};
use crate::job::{Job as Kind, Outcome};
use crate::jobs::{Echo, Worker};
use crate::ports::Jobs as _;
use crate::testing::{Kit, MemoryLimits, builders};
use crate::worker::handlers::{Attempt, Handlers};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// The kind `echo`, if it were limited.
#[derive(Serialize, Deserialize, JsonSchema)]
struct Limited(Echo);

impl Kind for Limited {
    const KIND: &'static str = Echo::KIND;
    const RATE: Option<Rate> = Some(Rate::new(4, Period::Second).burst(2));
}

async fn done(_: Limited, _: Attempt) -> Outcome {
    Ok(Value::Null)
}

async fn free(_: Echo, _: Attempt) -> Outcome {
    Ok(Value::Null)
}

fn tenant(name: &str) -> Tenant {
    Tenant::parse(name).unwrap()
}

async fn submit_for(kit: &Kit, name: &str, number: usize) -> Vec<JobId> {
    let mut ids = Vec::new();
    for _ in 0..number {
        ids.push(kit.submit_with(&Echo::default(), |new| new.tenant = tenant(name)).await);
    }
    ids
}

async fn limit(kit: &Kit, whose: Whose, rate: &str) {
    let limit = Limit { kind: Echo::KIND.into(), whose, rate: rate.parse().unwrap() };
    kit.limits.set(&limit).await.unwrap();
}

/// How often each call was made of the store of limits, from now on.
fn count_calls(limits: &MemoryLimits) -> Arc<Mutex<BTreeMap<&'static str, usize>>> {
    let calls: Arc<Mutex<BTreeMap<&'static str, usize>>> = Arc::default();
    let counted = calls.clone();
    limits.faults.at_random(f64::MIN_POSITIVE, 0.0, move |call| {
        *counted.lock().unwrap().entry(call).or_default() += 1;
        1.0
    });
    calls
}

/// Milliseconds from the first start to each.
fn starts(jobs: &[Job]) -> Vec<i128> {
    let mut starts: Vec<Timestamp> = jobs.iter().map(|job| job.started_at.expect("it was started")).collect();
    starts.sort();
    starts.iter().map(|at| at.duration_since(starts[0]).as_millis()).collect()
}

/// No stretch of time has more starts than the rate allows, if each is at most `late` after it was granted.
fn assert_within(starts: &[i128], rate: Rate, burst: i128, late: i128) {
    let interval = rate.interval().as_millis().max(1);
    for (i, first) in starts.iter().enumerate() {
        for (j, last) in starts.iter().enumerate().skip(i) {
            let most = (last - first + late) / interval + burst;
            assert!((j - i + 1) as i128 <= most, "{} starts in {} ms: {starts:?}", j - i + 1, last - first);
        }
    }
}

async fn all_done(kit: &Kit) -> Vec<Job> {
    kit.drain().await;
    let jobs = kit.jobs.all();
    assert!(jobs.iter().all(|job| (job.state, job.attempt, job.fence) == (State::Succeeded, 1, 1)), "{jobs:?}");
    jobs
}

#[tokio::test(start_paused = true)]
async fn a_kind_without_a_limit_costs_one_read_for_all_its_jobs() {
    let kit = Kit::new(Worker::Echo).on::<Echo, _, _>(free);
    let calls = count_calls(&kit.limits);
    submit_for(&kit, "t", 25).await;
    all_done(&kit).await;
    assert_eq!(*calls.lock().unwrap(), BTreeMap::from([("all", 1)]));
}

#[tokio::test(start_paused = true)]
async fn a_batch_takes_its_starts_by_one_write() {
    let kit = Kit::new(Worker::Echo).on::<Echo, _, _>(free);
    limit(&kit, Whose::All, "100/s").await;
    submit_for(&kit, "t", 10).await;
    kit.deliver().await;
    submit_for(&kit, "t", 10).await;
    let calls = count_calls(&kit.limits);
    let jobs = all_done(&kit).await;
    assert_eq!(*calls.lock().unwrap(), BTreeMap::from([("swap", 1)]));
    assert_within(&starts(&jobs), Rate::new(100, Period::Second), 1, 0);
}

#[tokio::test(start_paused = true)]
async fn jobs_start_no_faster_than_their_kind_allows_and_spend_no_attempt() {
    let kit = Kit::new(Worker::Echo).on::<Limited, _, _>(done);
    submit_for(&kit, "t", 40).await;
    let calls = count_calls(&kit.limits);
    let starts = starts(&all_done(&kit).await);
    assert_within(&starts, Limited::RATE.unwrap(), 2, 0);
    let ideal = 38 * 250;
    assert!((ideal..ideal * 2).contains(starts.last().unwrap()), "the rate is made use of: {starts:?}");
    assert!(calls.lock().unwrap()["swap"] < 40, "{calls:?}");
}

#[tokio::test(start_paused = true)]
async fn a_tenants_limit_binds_nobody_else() {
    let kit = Kit::new(Worker::Echo).on::<Echo, _, _>(free);
    limit(&kit, Whose::Tenant(tenant("slow")), "2/m").await;
    limit(&kit, Whose::EachTenant, "100/s burst 20").await;
    submit_for(&kit, "slow", 4).await;
    submit_for(&kit, "quick", 10).await;
    let (slow, quick): (Vec<Job>, Vec<Job>) =
        all_done(&kit).await.into_iter().partition(|job| job.tenant.as_str() == "slow");
    assert_within(&starts(&slow), Rate::new(2, Period::Minute), 1, 0);
    assert!(*starts(&slow).last().unwrap() < 100_000, "{slow:?}");
    assert_eq!(starts(&quick), [0; 10]);
}

#[tokio::test(start_paused = true)]
async fn under_two_limits_neither_is_broken_and_nobody_starves() {
    let kit = Kit::new(Worker::Echo).on::<Echo, _, _>(free);
    limit(&kit, Whose::All, "1/s").await;
    limit(&kit, Whose::Tenant(tenant("flood")), "20/m").await;
    submit_for(&kit, "flood", 30).await;
    let few = submit_for(&kit, "few", 5).await;
    let jobs = all_done(&kit).await;
    assert_within(&starts(&jobs), Rate::new(1, Period::Second), 1, 0);
    let whole = *starts(&jobs).last().unwrap();
    assert!(whole < 30 * 3_000 * 2, "30 jobs at 20 a minute took {whole} ms");
    for id in few {
        let job = kit.job(&id).await;
        let wait = job.started_at.unwrap().duration_since(job.created_at).as_secs();
        assert!(wait < 30, "a tenant without a limit of its own waited {wait} s");
    }
}

#[tokio::test(start_paused = true)]
async fn a_full_line_lets_the_rest_come_back_later() {
    let kit = Kit::new(Worker::Echo).on::<Echo, _, _>(free);
    limit(&kit, Whose::All, "2/h").await;
    submit_for(&kit, "t", 3).await;
    let calls = count_calls(&kit.limits);
    let starts = starts(&all_done(&kit).await);
    assert_within(&starts, Rate::new(2, Period::Hour), 1, 0);
    assert!(*starts.last().unwrap() < 3 * 3_600_000, "{starts:?}");
    assert!(calls.lock().unwrap().values().sum::<usize>() < 80, "they ask seldom: {calls:?}");
}

#[tokio::test(start_paused = true)]
async fn a_new_limit_holds_soon_and_a_removed_one_no_more() {
    let kit = Kit::new(Worker::Echo).on::<Echo, _, _>(free);
    submit_for(&kit, "t", 1).await;
    kit.deliver().await;
    limit(&kit, Whose::All, "1/d").await;
    tokio::time::sleep(Duration::try_from(REFRESH).unwrap()).await;
    let ids = submit_for(&kit, "t", 2).await;
    kit.deliver().await;
    let [first, second] = [kit.job(&ids[0]).await, kit.job(&ids[1]).await];
    let (done, waits) = if first.state == State::Succeeded { (first, second) } else { (second, first) };
    assert_eq!((done.state, waits.state, waits.attempt), (State::Succeeded, State::Queued, 0));
    kit.limits.remove(Echo::KIND, &Whose::All).await.unwrap();
    all_done(&kit).await;
}

#[tokio::test(start_paused = true)]
async fn while_nobody_can_say_whether_a_job_may_start_it_waits() {
    let kit = Kit::new(Worker::Echo).on::<Limited, _, _>(done);
    for call in ["all", "swap"] {
        let id = submit_for(&kit, "t", 1).await.remove(0);
        kit.limits.faults.refuse_next(call);
        kit.deliver().await;
        assert_eq!((kit.job(&id).await.state, kit.job(&id).await.attempt), (State::Queued, 0), "{call}");
        let message = kit.queues.get("echo").all().remove(0);
        assert!(message.visible_at.duration_since(kit.clock.now()).as_secs() < 10);
        kit.drain().await;
        assert_eq!((kit.job(&id).await.state, kit.job(&id).await.attempt), (State::Succeeded, 1), "{call}");
    }
    // What was read once holds while it cannot be read again.
    tokio::time::sleep(Duration::try_from(REFRESH).unwrap()).await;
    kit.limits.faults.refuse_next("all");
    assert_eq!(kit.run(&Echo::default()).await.state, State::Succeeded);
}

#[tokio::test(start_paused = true)]
async fn a_start_that_a_job_does_not_use_is_anothers() {
    let kit = Kit::new(Worker::Echo).on::<Echo, _, _>(free);
    limit(&kit, Whose::All, "1/m").await;
    let unwanted = submit_for(&kit, "t", 1).await.remove(0);
    kit.jobs.apply(&unwanted, &crate::domain::job::Event::Cancel, kit.clock.now()).await.unwrap();
    kit.deliver().await;
    assert_eq!(kit.run(&Echo::default()).await.state, State::Succeeded, "at once");
}

#[tokio::test(start_paused = true)]
async fn an_ordered_job_waits_in_its_place() {
    let kit = Kit::new(Worker::Echo).on::<Echo, _, _>(free);
    limit(&kit, Whose::All, "6/m").await;
    let mut ordered = Vec::new();
    for i in 0..6 {
        let key = OrderingKey::parse(["a", "b"][i % 2]).unwrap();
        ordered.push(kit.submit_with(&Echo::default(), |new| new.ordering_key = Some(key)).await);
    }
    // The other lane's jobs are always more than the rate lets through.
    submit_for(&kit, "t", 20).await;
    let jobs = all_done(&kit).await;
    assert_within(&starts(&jobs), Rate::new(6, Period::Minute), 1, 0);
    let mut began = Vec::new();
    for id in &ordered {
        began.push(kit.job(id).await.started_at.unwrap());
    }
    for key in 0..2 {
        let of_key: Vec<Timestamp> = began.iter().skip(key).step_by(2).copied().collect();
        assert!(of_key.is_sorted(), "{of_key:?}");
    }
    let last = began.iter().max().unwrap().duration_since(kit.job(&ordered[0]).await.created_at).as_secs();
    assert!(last < 26 * 10 * 2, "the ordered ones are not kept back: {last} s");
}

/// Workers of several processes, each with a memory of its own, ask at random for many jobs: however they do, and though calls
/// fail, no more start than the rate allows.
#[tokio::test(start_paused = true)]
async fn many_workers_keep_one_limit() {
    fn dice() -> f64 {
        fastrand::f64()
    }
    for seed in 0..40 {
        fastrand::seed(seed);
        let kit = Kit::new(Worker::Echo);
        let store = kit.limits.clone();
        store.faults.at_random(0.05, 0.05, |_| fastrand::f64());
        let burst = fastrand::u32(1..10);
        let rate = Rate::new(fastrand::u32(1..200), Period::Second).burst(burst);
        let handlers = Handlers::new().on::<Echo, _, _>(free);
        let entry = handlers.get(Echo::KIND).unwrap();
        let limit = Limit { kind: Echo::KIND.into(), whose: Whose::All, rate };
        while store.set(&limit).await.is_err() {}
        let workers: Vec<Limiter> = (0..5).map(|_| Limiter::new(Arc::new(store.clone()))).collect();
        let granted: Mutex<Vec<Timestamp>> = Mutex::default();
        let jobs = (0..120).map(|i| {
            let (clock, worker, granted) = (&kit.clock, &workers[i % 5], &granted);
            async move {
                let mut before = Before::Told(None);
                tokio::time::sleep(Duration::from_millis(fastrand::u64(0..3_000))).await;
                loop {
                    match worker.pass(entry, &builders::tenant(), before, clock, dice).await {
                        Ok(Passed::Go(ticket)) if fastrand::u8(0..10) == 0 => drop(ticket),
                        Ok(Passed::Go(ticket)) => {
                            ticket.spend();
                            granted.lock().unwrap().push(clock.now());
                            return;
                        }
                        Ok(Passed::Wait(wait, waited)) => {
                            tokio::time::sleep(wait).await;
                            before = Before::Told(waited);
                        }
                        Err(_) => tokio::time::sleep(Duration::from_secs(5)).await,
                    }
                }
            }
        });
        futures::future::join_all(jobs).await;
        let mut granted = granted.into_inner().unwrap();
        granted.sort();
        let starts: Vec<i128> = granted.iter().map(|at| at.duration_since(granted[0]).as_millis()).collect();
        assert_eq!(starts.len(), 120);
        // One that was given back may be used a second later.
        assert_within(&starts, rate, burst.into(), KEEP.as_millis() + 1);
    }
}

#[test]
fn whoever_waits_asks_ever_more_seldom() {
    let seconds: Vec<u64> = [1, 2, 5, 9, 200].iter().map(|times| again(*times, 1.0).as_secs()).collect();
    assert_eq!(seconds, [2, 4, 32, 512, 900]);
    assert_eq!(again(1, 0.0).as_secs(), 1);
    assert!((450..=900).contains(&again(0, 0.5).as_secs()));
    assert_eq!(json!(Waited { line: Line::Kind, times: 3 }), json!({"line": "kind", "times": 3}));
}
