//! Everything that can go wrong does: workers and planners are killed between any two steps, answers get lost, messages
//! and events come late, twice and out of order. Each reader still gets one letter, and the campaign ends.

use crate::fake_ses::Faults;
use crate::world::{World, dice, seed};
use aws_lambda_events::event::sqs::SqsEvent;
use millrace::domain::campaign::{CampaignState, StopReason};
use millrace::domain::local_time::{SendTime, When, Zone, next};
use millrace::domain::pace::SendRate;
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

/// One invocation of the feedback function.
fn invoke_feedback(world: &Arc<World>) {
    let (ids, heard) = world.ses.receive(1 + (dice() * 60.0) as usize);
    if ids.is_empty() {
        return;
    }
    let world = world.clone();
    tokio::spawn(async move {
        if let Some(noted) = perhaps_killed(world.listener.hear(&heard, world.clock.now()), 5.0).await {
            let noted: Vec<u64> = ids.into_iter().zip(noted).filter(|(_, noted)| *noted).map(|(id, _)| id).collect();
            world.ses.delete(&noted);
        }
    });
}

/// What an operator does to a campaign now and then.
async fn meddle(world: &World) {
    let now = world.clock.now();
    world.change(|campaign| campaign.pause(StopReason::Person, now)).await;
    tokio::time::sleep(Duration::from_secs((dice() * 400.0) as u64)).await;
    let rate = SendRate::per_second(5.0 + dice() * 60.0).ok();
    world.change(|campaign| campaign.at_rate(rate)).await;
    let (view, now) = (world.view().await, world.clock.now());
    world.change(|campaign| campaign.resume(&view.counts, now)).await;
}

/// A storm of its own for each seed.
struct Storm {
    seed: u64,
    readers: usize,
    when: When,
    rate: f64,
    faults: Faults,
    /// How often an operator pauses it, changes its rate and resumes it.
    meddling: usize,
}

impl Storm {
    fn new(seed: u64, readers: usize, when: When) -> Self {
        let faults = Faults {
            throttled: 0.002,
            unreachable: 0.002,
            accepted_without_answer: 0.01,
            lost_on_the_way: 0.01,
            killed_before_acceptance: 0.001,
            killed_after_acceptance: 0.001,
            hard_bounces: 0.01,
            soft_bounces: 0.02,
            complaints: 0.0,
            event_delay: 90.0,
            events_twice: 0.1,
            latency: 0.4,
        };
        Self { seed, readers, when, rate: 40.0, faults, meddling: 0 }
    }

    async fn run(&self) -> Arc<World> {
        seed(self.seed);
        let world = Arc::new(World::new(self.readers, self.when, self.rate).await);
        for faults in [
            &world.campaigns.faults,
            &world.pace.faults,
            &world.subscribers.faults,
            &world.suppressions.faults,
            &world.queue.faults,
            &world.planner_queue.faults,
        ] {
            faults.at_random(0.02, 0.02, |_| dice());
        }
        *world.ses.faults.lock().unwrap() = self.faults;
        for _ in 0..3 {
            let hint = CampaignHint::message(world.campaign.clone(), tenant());
            // A hint that is refused is one less.
            let _ = world.planner_queue.send_one(hint).await;
        }
        for _ in 0..self.meddling {
            let world = world.clone();
            let after = Duration::from_secs((dice() * 120.0) as u64);
            tokio::spawn(async move {
                tokio::time::sleep(after).await;
                meddle(&world).await;
            });
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
                invoke_worker(&world);
                invoke_feedback(&world);
            }
            tokio::time::sleep(Duration::from_secs(1)).await;
            seconds += 1;
            assert!(seconds < 40 * 3600, "seed {}: never finished: {:?}", self.seed, world.view().await);
        }
        // Whatever is still under way must not send any more, and the last events come.
        for _ in 0..3_600 {
            invoke_feedback(&world);
            tokio::time::sleep(Duration::from_secs(1)).await;
            if world.ses.untold() == 0 {
                break;
            }
        }
        tokio::time::sleep(Duration::from_secs(3_600)).await;
        world
    }

    /// Compares the campaign's account with SES's own.
    async fn each_reader_got_one(&self, world: &World) {
        let seed = self.seed;
        let mails = world.ses.by_address();
        let twice: Vec<_> = mails.iter().filter(|(_, count)| **count != 1).collect();
        assert!(twice.is_empty(), "seed {seed}: more than one mail: {twice:?}");
        let view = world.view().await;
        let (counts, readers) = (view.counts, self.readers as i64);
        assert_eq!(view.campaign.total, self.readers as u64, "seed {seed}");
        assert_eq!(counts.sum(), readers, "seed {seed}: {counts:?}");
        assert_eq!((counts.pending, counts.sending, counts.open_chunks), (0, 0, 0), "seed {seed}: {counts:?}");
        assert_eq!(counts.accepted(), mails.len() as i64, "seed {seed}: {counts:?}");
        assert_eq!((counts.sent, counts.repeated), (0, 0), "seed {seed}: all events came: {counts:?}");
        // What was lost on the way twice is shown as unknown: nobody can tell it from a late event.
        assert_eq!(counts.accepted() + counts.unknown + counts.suppressed, readers, "seed {seed}: {counts:?}");
        assert!(counts.unknown <= 5, "seed {seed}: {counts:?}");
        // Recipient by recipient, the ledger says what SES says.
        world.subscribers.faults.none();
        for chunk in world.campaigns.chunks_of(&world.campaign) {
            for (place, one) in chunk.recipients.iter().enumerate() {
                let address = world.subscriber_at(chunk.number as usize, place).await;
                assert_eq!(one.state.is_accepted(), mails.contains_key(&address), "seed {seed}: {one:?}");
                assert_eq!(one.message_id.is_some(), one.state.is_accepted(), "seed {seed}: {one:?}");
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn each_reader_gets_one_letter_at_once() {
    for number in 1..=12 {
        let storm = Storm::new(number, READERS, When::Now);
        storm.each_reader_got_one(&*storm.run().await).await;
    }
}

#[tokio::test(start_paused = true)]
async fn each_reader_gets_one_letter_at_their_ten_in_the_morning() {
    for number in 101..=103 {
        let storm = Storm::new(number, READERS, When::Next);
        let world = storm.run().await;
        storm.each_reader_got_one(&world).await;
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

/// How many storms are drawn: `MILLRACE_STORMS` sets another number, `MILLRACE_SEED` looks at one of them again.
fn storms() -> std::ops::RangeInclusive<u64> {
    let number = |name| std::env::var(name).ok().and_then(|text| text.parse().ok());
    match number("MILLRACE_SEED") {
        Some(seed) => seed..=seed,
        None => 1_001..=1_000 + number("MILLRACE_STORMS").unwrap_or(300),
    }
}

#[tokio::test(start_paused = true)]
async fn through_any_storm_each_reader_gets_one_letter_or_is_listed() {
    for number in storms() {
        seed(number.wrapping_mul(31));
        let share = |most: f64| if dice() < 0.5 { 0.0 } else { most * dice() };
        let faults = Faults {
            throttled: share(0.02),
            unreachable: share(0.02),
            accepted_without_answer: share(0.2),
            lost_on_the_way: share(0.02),
            killed_before_acceptance: share(0.005),
            killed_after_acceptance: share(0.02),
            hard_bounces: share(0.02),
            soft_bounces: share(0.1),
            complaints: 0.0,
            event_delay: share(110.0),
            events_twice: share(0.5),
            latency: share(2.0),
        };
        let (readers, meddling) = (20 + (dice() * 180.0) as usize, (dice() * 3.0) as usize);
        let storm = Storm { rate: 2.0 + 60.0 * dice(), faults, meddling, ..Storm::new(number, readers, When::Now) };
        storm.each_reader_got_one(&*storm.run().await).await;
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
