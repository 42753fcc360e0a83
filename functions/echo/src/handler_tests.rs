use super::*;
use millrace::domain::job::State;
use millrace::jobs::Worker;
use millrace::ports::Jobs as _;
use millrace::testing::Kit;

fn kit() -> Kit {
    Kit::new(Worker::Echo).on::<Echo, _, _>(handle)
}

#[tokio::test(start_paused = true)]
async fn the_sample_job_is_echoed() {
    let kit = kit();
    assert!(kit.sample(include_str!("../../../events/echo.json")).await.is_empty() && kit.dead_letters().is_empty());
    let done = kit.jobs.all().remove(0);
    assert_eq!(kit.result(&done.id).await, json!({"message": "hello", "attempt": 1}));
}

#[tokio::test(start_paused = true)]
async fn the_garbled_one_of_the_sample_batch_is_put_aside_and_the_others_run() {
    let kit = kit();
    assert!(kit.sample(include_str!("../../../events/echo.garbled.json")).await.is_empty());
    assert_eq!(kit.dead_letters().len(), 1);
    assert!(kit.jobs.all().iter().all(|job| job.state.is_final()) && kit.jobs.all().len() == 2);
}

#[tokio::test(start_paused = true)]
async fn it_fails_as_often_as_it_is_asked_to_and_then_does_not() {
    let kit = kit();
    let job = Echo { fail: Some(Fail::Transient), fail_attempts: Some(2), ..Echo::default() };
    let id = kit.submit(&job).await;
    kit.drain().await;
    assert_eq!(kit.result(&id).await, json!({"message": null, "attempt": 3}));
    for (fail, class) in [(Fail::Permanent, "permanent"), (Fail::Throttled, "throttled"), (Fail::Panic, "panic")] {
        let job = kit.run(&Echo { fail: Some(fail), ..Echo::default() }).await;
        assert_eq!(job.error.unwrap().class, class);
    }
}

#[tokio::test(start_paused = true)]
async fn it_snoozes_once_and_tells_how_far_it_is() {
    let kit = kit();
    let job = Echo { snooze_ms: Some(600_000), sleep_ms: Some(10_000), progress: Some(true), ..Echo::default() };
    let id = kit.submit(&job).await;
    kit.drain().await;
    let job = kit.job(&id).await;
    assert_eq!((job.state, job.attempt, job.fence, job.progress.unwrap().percent), (State::Succeeded, 1, 2, 100));
    assert_eq!(job.finished_at.unwrap().duration_since(job.created_at).as_secs(), 610);
}

#[tokio::test(start_paused = true)]
async fn it_stops_when_somebody_wants_it_cancelled() {
    let kit = kit();
    let id = kit.submit(&Echo { sleep_ms: Some(25_000), ..Echo::default() }).await;
    let ask = async {
        tokio::time::sleep(Duration::from_secs(2)).await;
        kit.jobs.apply(&id, &millrace::domain::job::Event::AskCancel, kit.job(&id).await.updated_at).await.unwrap();
    };
    tokio::join!(kit.deliver(), ask);
    let job = kit.job(&id).await;
    assert_eq!(job.state, State::Cancelled);
    assert!(job.finished_at.unwrap().duration_since(job.created_at).as_secs() <= 10, "by its next heartbeat");
}

#[tokio::test(start_paused = true)]
async fn a_result_is_padded() {
    let kit = kit();
    let id = kit.submit(&Echo { result_bytes: Some(5_000), ..Echo::default() }).await;
    kit.drain().await;
    assert!(kit.result(&id).await.to_string().len() >= 5_000);
}

#[tokio::test(start_paused = true)]
async fn of_the_sample_keys_one_waits_for_its_failing_job_and_the_other_does_not() {
    let kit = kit();
    assert_eq!(kit.sample(include_str!("../../../events/echo.ordered.json")).await.len(), 2);
    let states: Vec<_> = kit.jobs.all().iter().map(|job| (job.state, job.fence)).collect();
    assert_eq!(states, [(State::Queued, 1), (State::Queued, 0), (State::Succeeded, 1)]);
}
