use super::*;
use crate::jobs::kind;
use crate::ports::SystemClock;
use crate::testing::{MemoryBlobs, MemoryJobs, MemoryQueue, MemoryQueues};
use serde_json::json;

struct World {
    jobs: MemoryJobs,
    queues: MemoryQueues,
    queue: MemoryQueue,
    intake: Intake,
}

fn world() -> World {
    let (jobs, memory) = (MemoryJobs::default(), MemoryQueues::new(Arc::new(SystemClock)));
    let queues = JobQueues::open(|name| memory.open(name));
    let intake = Intake { jobs: Arc::new(jobs.clone()), blobs: Arc::new(MemoryBlobs::default()), queues };
    World { jobs, queue: memory.get("echo"), queues: memory, intake }
}

fn now() -> Timestamp {
    Timestamp::from_second(1_800_000_000).unwrap()
}

fn new_job(key: Option<&str>, payload: Value) -> NewJob {
    NewJob {
        id: JobId::derived(&["t", key.unwrap_or("fresh")]),
        repeatable: key.is_some(),
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
    }
}

#[tokio::test]
async fn an_accepted_job_is_recorded_and_queued() {
    let world = world();
    let accepted = submit(&world.intake, new_job(None, json!({"message": 1})), now()).await.unwrap();
    assert_eq!((accepted.job.state, accepted.replayed), (State::Queued, false));
    assert_eq!(world.jobs.all(), std::slice::from_ref(&accepted.job));
    let message = JobMessage::parse(&world.queue.all()[0].body).unwrap();
    assert_eq!((message.id, message.payload), (accepted.job.id, Some(json!({"message": 1}))));
}

#[tokio::test]
async fn the_same_key_gives_the_same_job_and_a_different_request_is_told() {
    let world = world();
    let first = submit(&world.intake, new_job(Some("k"), json!({"message": 1})), now()).await.unwrap();
    let again = submit(&world.intake, new_job(Some("k"), json!({"message": 1})), now()).await.unwrap();
    assert_eq!((again.job.id, again.replayed), (first.job.id, true));
    assert_eq!(world.jobs.all().len(), 1);
    let other = submit(&world.intake, new_job(Some("k"), json!({"message": 2})), now()).await;
    assert!(matches!(other, Err(SubmitError::Mismatch)));
}

#[tokio::test]
async fn a_repeat_of_a_request_that_lost_its_message_brings_the_message() {
    let world = world();
    world.queue.faults.refuse_next("send");
    assert!(submit(&world.intake, new_job(Some("k"), json!({})), now()).await.is_err());
    assert!(world.queue.all().is_empty());
    let again = submit(&world.intake, new_job(Some("k"), json!({})), now()).await.unwrap();
    assert_eq!((again.job.state, world.queue.all().len()), (State::Queued, 1));
}

#[tokio::test]
async fn a_job_that_nobody_can_ask_for_again_does_not_wait_for_ever() {
    let world = world();
    world.queue.faults.refuse_next("send");
    assert!(submit(&world.intake, new_job(None, json!({})), now()).await.is_err());
    assert_eq!(world.jobs.all()[0].state, State::Dead);
}

#[tokio::test]
async fn nothing_is_queued_that_is_not_recorded() {
    let world = world();
    world.jobs.faults.refuse_next("create");
    assert!(submit(&world.intake, new_job(None, json!({})), now()).await.is_err());
    assert!(world.queue.all().is_empty());
}

#[tokio::test]
async fn a_short_delay_is_the_messages_own_and_a_long_one_the_clocks() {
    let world = world();
    let at = |seconds| Some(now() + Duration::from_secs(seconds));
    let short = NewJob { run_at: at(900), ..new_job(Some("short"), json!({})) };
    let long = NewJob { run_at: at(901), ..new_job(Some("long"), json!({})) };
    let short = submit(&world.intake, short, now()).await.unwrap().job;
    let long = submit(&world.intake, long, now()).await.unwrap().job;
    assert_eq!((short.state, long.state), (State::Scheduled, State::Scheduled));
    assert_eq!(world.queue.all().len(), 1);
    let due: Vec<_> = world.jobs.due(now() + Duration::from_secs(901), 10).await.unwrap();
    assert_eq!(due.iter().map(|due| &due.id).collect::<Vec<_>>(), [&long.id]);
}

#[tokio::test]
async fn a_repeat_that_is_older_than_the_recorded_job_brings_the_message_too() {
    let world = world();
    let at = |seconds| now() + Duration::from_secs(seconds);
    let request =
        |now: Timestamp| NewJob { run_at: Some(now + Duration::from_secs(890)), ..new_job(Some("k"), json!({})) };
    world.queue.faults.refuse_next("send");
    assert!(submit(&world.intake, request(at(60)), at(60)).await.is_err());
    // It was made before and arrives after, so to it the job is more than 15 minutes away.
    let again = submit(&world.intake, request(at(0)), at(0)).await.unwrap();
    assert_eq!((again.replayed, world.queue.all().len()), (true, 1));
}

#[tokio::test]
async fn a_large_payload_is_kept_beside_the_table() {
    let world = world();
    let large = json!({ "message": "x".repeat(Stored::INLINE_MAX) });
    let job = submit(&world.intake, new_job(None, large.clone()), now()).await.unwrap().job;
    let Stored::Blob(key) = job.payload else { panic!("it is inline") };
    let bytes = world.intake.blobs.get(&key).await.unwrap().unwrap();
    assert_eq!(serde_json::from_slice::<Value>(&bytes).unwrap(), large);
    assert!(world.queue.all()[0].body.len() > Stored::INLINE_MAX, "the message spares the worker a read");
}

#[tokio::test]
async fn a_payload_too_large_for_a_batch_is_not_in_the_message() {
    let world = world();
    let huge = json!({ "message": "x".repeat(JobMessage::PAYLOAD_MAX) });
    submit(&world.intake, new_job(None, huge), now()).await.unwrap();
    assert_eq!(JobMessage::parse(&world.queue.all()[0].body).unwrap().payload, None);
}

#[tokio::test]
async fn each_job_of_a_batch_is_told_what_came_of_it() {
    let world = world();
    submit(&world.intake, new_job(Some("used"), json!({"message": "other"})), now()).await.unwrap();
    let batch = vec![
        new_job(Some("a"), json!({"message": 0})),
        new_job(Some("used"), json!({"message": 1})),
        new_job(Some("b"), json!({"message": 2})),
        new_job(Some("a"), json!({"message": 0})),
    ];
    let results = submit_many(&world.intake, batch, now()).await;
    let accepted = |i: usize| results[i].as_ref().map(|accepted| accepted.replayed).ok();
    assert_eq!(accepted(2), Some(false));
    // The two of one key run at the same time: either may be the first.
    assert_eq!(accepted(0).zip(accepted(3)).map(|(first, second)| first != second), Some(true));
    assert!(matches!(results[1], Err(SubmitError::Mismatch)));
    assert_eq!((world.jobs.all().len(), world.queue.all().len()), (3, 4));
}

#[tokio::test]
async fn of_a_batch_only_what_the_queue_took_is_accepted() {
    let world = world();
    world.queue.faults.refuse_next("send");
    let fresh =
        |i: u32| NewJob { id: JobId::derived(&["fresh", &i.to_string()]), ..new_job(None, json!({"message": i})) };
    let results = submit_many(&world.intake, (0..40).map(fresh).collect(), now()).await;
    assert_eq!(results.iter().filter(|result| result.is_ok()).count(), 39);
    assert!(matches!(results[0], Err(SubmitError::Unavailable(_))));
    let dead: Vec<_> = world.jobs.all().into_iter().filter(|job| job.state == State::Dead).collect();
    assert_eq!(dead.iter().map(|job| &job.id).collect::<Vec<_>>(), [&JobId::derived(&["fresh", "0"])]);
    assert_eq!(world.queue.all().len(), 39);
}

fn ordered(key: &str, i: usize) -> NewJob {
    let name = format!("{key}{i}");
    NewJob { ordering_key: Some(OrderingKey::parse(key).unwrap()), ..new_job(Some(&name), json!({ "message": name })) }
}

/// What was sent to the ordered lane, by name.
fn sent_in_order(world: &World) -> Vec<String> {
    let messages = world.queues.get("echo-ordered.fifo").all();
    let payloads = messages.iter().map(|sent| JobMessage::parse(&sent.body).unwrap().payload.unwrap());
    payloads.map(|payload| payload["message"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn a_batch_keeps_the_order_of_each_key() {
    let world = world();
    let batch: Vec<NewJob> = (0..30).map(|i| ordered(["a", "b", "c"][i % 3], i)).collect();
    assert!(submit_many(&world.intake, batch, now()).await.iter().all(Result::is_ok));
    assert!(world.queue.all().is_empty());
    for key in ["a", "b", "c"] {
        let places = sent_in_order(&world).into_iter().filter_map(|name| name.strip_prefix(key)?.parse::<usize>().ok());
        let places: Vec<usize> = places.collect();
        assert!(places.len() == 10 && places.is_sorted(), "{key}: {places:?}");
    }
}

#[tokio::test]
async fn nothing_overtakes_an_entry_of_its_key_that_was_not_accepted() {
    let mut held_up = 0;
    // Puts are made at the same time, in any order: each of them is the one that is refused, and then each message.
    for (call, nth) in [("create", 0), ("create", 1), ("create", 2), ("create", 3), ("send", 0), ("send", 1)] {
        let world = world();
        submit(&world.intake, ordered("a", 0), now()).await.unwrap();
        let batch = || vec![ordered("a", 1), ordered("b", 1), ordered("a", 2), ordered("b", 2)];
        let faults = if call == "send" { &world.queues.get("echo-ordered.fifo").faults } else { &world.jobs.faults };
        let mut calls = 0;
        faults.at_random(0.5, 0.0, move |made| {
            calls += usize::from(made == call);
            if made == call && calls == nth + 1 { 0.0 } else { 1.0 }
        });
        let results = submit_many(&world.intake, batch(), now()).await;
        faults.none();
        assert!(results.iter().all(|result| !matches!(result, Err(SubmitError::Mismatch))));
        let taken: Vec<bool> = results.iter().map(Result::is_ok).collect();
        let first = taken.iter().position(|taken| !taken).expect("one is refused");
        for (entry, taken) in taken.iter().enumerate() {
            assert_eq!(*taken, entry < first || entry % 2 != first % 2, "{call} {nth}: {results:?}");
        }
        held_up += usize::from(first < 2);
        let names = ["a1", "b1", "a2", "b2"];
        let accepted = |wanted: bool| names.iter().zip(&taken).filter(move |(_, taken)| **taken == wanted);
        let mut expected: Vec<&str> = ["a0"].into_iter().chain(accepted(true).map(|(name, _)| *name)).collect();
        assert_eq!(sent_in_order(&world), expected, "{call} {nth}");
        let again = submit_many(&world.intake, batch(), now()).await;
        assert!(again.iter().all(Result::is_ok));
        expected.extend(accepted(false).map(|(name, _)| *name));
        assert_eq!(sent_in_order(&world), expected, "{call} {nth}: what was there is not sent twice");
    }
    assert!(held_up > 0, "no entry stood behind a refused one");
}

#[tokio::test]
async fn an_entry_refused_for_good_does_not_hold_up_its_key() {
    let world = world();
    submit(&world.intake, new_job(Some("a1"), json!({"message": "other"})), now()).await.unwrap();
    let results = submit_many(&world.intake, vec![ordered("a", 1), ordered("a", 2)], now()).await;
    assert!(matches!(results[..], [Err(SubmitError::Mismatch), Ok(_)]));
    assert_eq!(sent_in_order(&world), ["a2"]);
}

#[test]
fn the_order_of_keys_does_not_change_a_fingerprint() {
    let one: Value = serde_json::from_str(r#"{"a":1,"b":{"c":2,"d":3}}"#).unwrap();
    let two: Value = serde_json::from_str(r#"{"b":{"d":3,"c":2},"a":1}"#).unwrap();
    assert_eq!(fingerprint(&one), fingerprint(&two));
    assert_ne!(fingerprint(&one), fingerprint(&json!({"a": 1})));
}
