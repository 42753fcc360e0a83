//! Everything that can go wrong does: workers and planners are killed between any two steps, answers get lost, messages
//! and events come late, twice and out of order. Each reader still gets one letter, and the campaign ends.

use crate::world::{World, dice, seed};
use aws_lambda_events::event::sqs::SqsEvent;
use millrace::domain::campaign::CampaignState;
use millrace::domain::local_time::{SendTime, When, Zone, next};
use millrace::jobs::CampaignHint;
use millrace::ports::{Clock, Queue, Subscribers};
use millrace::testing::builders::{reader, tenant};
use millrace::worker::batch::Verdict;
use std::collections::HashMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

const READERS: usize = 1_000;

/// Ends a future at one of its awaits, as a killed process ends.
struct Killed<F> {
    work: Pin<Box<F>>,
    polls_left: u64,
}

impl<F: Future> Future for Killed<F> {
    type Output = Option<F::Output>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        if self.polls_left == 0 {
            return Poll::Ready(None);
        }
        self.polls_left -= 1;
        self.work.as_mut().poll(context).map(Some)
    }
}

/// Kills the work in one of `of` cases, somewhere in its first 400 steps.
fn perhaps_killed<F: Future>(work: F, of: f64) -> Killed<F> {
    let polls_left = if dice() < 1.0 / of { (dice() * 400.0) as u64 } else { u64::MAX };
    Killed { work: Box::pin(work), polls_left }
}

/// One invocation of the worker on what is on the queue.
fn invoke_worker(world: &Arc<World>) {
    let records = world.receive(1);
    if records.is_empty() {
        return;
    }
    let world = world.clone();
    tokio::spawn(async move {
        let deadline = world.deadline();
        let mut event = SqsEvent::default();
        event.records = records;
        let work = async {
            let mut kept = Vec::new();
            for record in &event.records {
                if world.sender.run(record, deadline).await == Verdict::Keep {
                    kept.extend(record.message_id.clone());
                }
            }
            kept
        };
        if let Some(kept) = perhaps_killed(work, 6.0).await {
            assert!(world.clock.now() <= deadline, "an invocation outlived its deadline");
            world.queue.settle(&event, &kept);
        }
    });
}

/// One invocation of the planner.
fn invoke_planner(world: &Arc<World>) {
    let event = world.planner_queue.receive(1, Duration::from_secs(360), dice);
    if event.records.is_empty() {
        return;
    }
    let world = world.clone();
    tokio::spawn(async move {
        let work = async {
            let hint = CampaignHint::parse(event.records[0].body.as_deref().unwrap()).unwrap();
            world.planner.advance(&hint.campaign, world.deadline()).await.is_ok()
        };
        if perhaps_killed(work, 3.0).await == Some(true) {
            world.planner_queue.settle(&event, &[]);
        }
    });
}

async fn run(seed_number: u64, when: When, rate: f64) -> Arc<World> {
    seed(seed_number);
    let world = Arc::new(World::new(READERS, when, rate).await);
    for faults in [&world.campaigns.faults, &world.subscribers.faults, &world.queue.faults, &world.planner_queue.faults]
    {
        faults.at_random(0.02, 0.02, |_| dice());
    }
    *world.ses.faults.lock().unwrap() = crate::world::Faults {
        throttled: 0.002,
        unreachable: 0.002,
        accepted_without_answer: 0.01,
        lost_on_the_way: 0.01,
        event_delay: 90.0,
    };
    for _ in 0..3 {
        let hint = CampaignHint::message(world.campaign.clone(), tenant());
        // A hint that is refused is one less.
        let _ = world.planner_queue.send_one(hint).await;
    }
    let mut seconds = 0;
    while world.view().await.campaign.state != CampaignState::Finished {
        if seconds % 60 == 0 {
            // Two clocks at the same time, of which one may be killed.
            let (one, two) = (world.clone(), world.clone());
            tokio::spawn(async move { perhaps_killed(one.keeper.tick(one.clock.now(), 200), 3.0).await });
            if dice() < 0.2 {
                tokio::spawn(async move { two.keeper.tick(two.clock.now(), 200).await });
            }
        }
        if seconds % 7 == 0 && dice() < 0.3 {
            world.queue.duplicate(dice());
            world.planner_queue.duplicate(dice());
        }
        for _ in 0..3 {
            invoke_planner(&world);
        }
        for _ in 0..3 {
            invoke_worker(&world);
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
        seconds += 1;
        assert!(seconds < 40 * 3600, "seed {seed_number}: never finished: {:?}", world.view().await);
    }
    world
}

async fn each_reader_got_one(world: &World, seed_number: u64) {
    // Whatever is still under way must not send any more.
    tokio::time::sleep(Duration::from_secs(3_600)).await;
    let mut mails: HashMap<String, u32> = HashMap::new();
    for address in world.addresses() {
        *mails.entry(address).or_default() += 1;
    }
    let twice: Vec<_> = mails.iter().filter(|(_, count)| **count != 1).collect();
    assert!(twice.is_empty(), "seed {seed_number}: more than one mail: {twice:?}");
    let view = world.view().await;
    assert_eq!(view.campaign.total, READERS as u64, "seed {seed_number}");
    let counts = view.counts;
    assert_eq!(counts.sum(), READERS as i64, "seed {seed_number}: {counts:?}");
    assert_eq!((counts.pending, counts.sending, counts.open_chunks), (0, 0, 0), "seed {seed_number}: {counts:?}");
    assert_eq!(counts.sent, mails.len() as i64, "seed {seed_number}: {counts:?}");
    // What was lost on the way twice is shown as unknown: nobody can tell it from a late event.
    assert_eq!(counts.sent + counts.unknown + counts.suppressed, READERS as i64, "seed {seed_number}: {counts:?}");
    assert!(counts.unknown <= 5, "seed {seed_number}: {counts:?}");
}

#[tokio::test(start_paused = true)]
async fn each_reader_gets_one_letter_at_once() {
    for number in 1..=12 {
        let world = run(number, When::Now, 40.0).await;
        each_reader_got_one(&world, number).await;
    }
}

#[tokio::test(start_paused = true)]
async fn each_reader_gets_one_letter_at_their_ten_in_the_morning() {
    for number in 101..=103 {
        let world = run(number, When::Next, 40.0).await;
        each_reader_got_one(&world, number).await;
        let started = world.view().await.campaign.started_at.unwrap();
        let due: HashMap<String, _> = (0..READERS)
            .map(|i| {
                let reader = reader(i);
                let zone = reader.time_zone.unwrap_or(Zone::parse("Europe/Berlin").unwrap());
                let due = next(started, SendTime::parse("10:00").unwrap(), None, &zone);
                (reader.email.as_str().to_owned(), due)
            })
            .collect();
        let accepted = world.ses.accepted.lock().unwrap();
        for (at, mail) in accepted.iter() {
            assert!(*at >= due[&mail.to], "seed {number}: a letter before its hour");
        }
        // Most are on time; the others were in the hands of a worker that was killed.
        let late = accepted.iter().filter(|(at, mail)| at.duration_since(due[&mail.to]).as_secs() > 900).count();
        assert!(late < READERS / 5, "seed {number}: {late} letters were late");
    }
}

#[tokio::test(start_paused = true)]
async fn who_unsubscribes_on_the_way_gets_none() {
    seed(5);
    let world = World::new(200, When::Next, 40.0).await;
    world.freeze().await;
    for i in (0..200).step_by(4) {
        world.subscribers.unsubscribe(&reader(i).key, world.clock.now()).await.unwrap();
    }
    world.subscribers.erase(&reader(1).key);
    let world = Arc::new(world);
    while world.view().await.campaign.state != CampaignState::Finished {
        world.keeper.tick(world.clock.now(), 200).await;
        for _ in 0..20 {
            invoke_worker(&world);
        }
        tokio::time::sleep(Duration::from_secs(60)).await;
    }
    let view = world.view().await;
    assert_eq!((view.counts.suppressed, view.counts.skipped, view.counts.sum()), (50, 1, 200), "{:?}", view.counts);
    let sent = world.addresses();
    for i in (0..200).step_by(4) {
        assert!(!sent.contains(&reader(i).email.as_str().to_owned()));
    }
}
