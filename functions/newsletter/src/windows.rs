//! Each window in which a send can fail, one by one: a process ends there, or an answer is lost, once for each place it can
//! happen at. In the end each reader has exactly one mail by SES's own account, or is listed as unknown; nobody is missing.
//! The numbers are those of the table in ARCHITECTURE.md.

use crate::fake_ses::Faults;
use crate::world::{World, dice, seed};
use millrace::domain::campaign::{CampaignState, StopReason};
use millrace::domain::chunk::{ChunkStatus, RecipientState};
use millrace::domain::local_time::When;
use millrace::domain::pace::SendRate;
use millrace::jobs::CampaignHint;
use millrace::ports::{Clock, MailError, Queue, Subscribers};
use millrace::testing::builders::{reader, tenant};
use millrace::worker::batch::Verdict;
use std::sync::Arc;
use std::time::Duration;

const READERS: usize = 120;
/// How long an invocation lives: who hangs in it is dead when it is over.
const LIFE: Duration = Duration::from_secs(60);

async fn world(rate: f64) -> Arc<World> {
    seed(9);
    let world = Arc::new(World::new(READERS, When::Now, rate).await);
    world.ses.faults.lock().unwrap().event_delay = 20.0;
    world.planner_queue.send_one(CampaignHint::message(world.campaign.clone(), tenant())).await.unwrap();
    world
}

/// One invocation of everything there is. Whoever hangs is gone when its life is over.
fn invoke_all(world: &Arc<World>) {
    let hints = world.planner_queue.receive(1, Duration::from_secs(360), dice);
    if let Some(hint) = hints.records.first().and_then(|record| record.body.clone()) {
        let world = world.clone();
        tokio::spawn(tokio::time::timeout(LIFE, async move {
            let hint = CampaignHint::parse(&hint).unwrap();
            if world.planner.advance(&hint.campaign, world.deadline()).await.is_ok() {
                let _ = world.keeper.dispatcher.run(world.clock.now(), 200, None).await;
                world.planner_queue.settle(&hints, &[]);
            }
        }));
    }
    for message in world.receive(3) {
        let world = world.clone();
        tokio::spawn(tokio::time::timeout(LIFE, async move {
            let deadline = world.deadline();
            if world.sender.run(&message, deadline).await == Verdict::Acknowledge {
                world.queue.delete(message.message_id.as_deref().unwrap());
            }
        }));
    }
    let other = world.clone();
    tokio::spawn(tokio::time::timeout(LIFE, async move { other.hear().await }));
}

/// Runs everything each second and the clock each minute until the campaign is over and all events are noted.
async fn to_the_end(world: &Arc<World>) {
    for second in 0..4 * 3_600 {
        if second % 60 == 0 {
            let world = world.clone();
            tokio::spawn(tokio::time::timeout(LIFE, async move { world.keeper.tick(world.clock.now(), 200).await }));
        }
        invoke_all(world);
        tokio::time::sleep(Duration::from_secs(1)).await;
        if world.view().await.campaign.state.is_final() && world.ses.untold() == 0 {
            tokio::time::sleep(Duration::from_secs(600)).await;
            return;
        }
    }
    panic!("never finished: {:?}", world.view().await);
}

/// Each reader has one mail, or is listed as unknown and has none.
async fn one_mail_each(world: &World, window: &str) {
    let mails = world.ses.by_address();
    assert!(mails.values().all(|count| *count == 1), "{window}: {mails:?}");
    let view = world.view().await;
    assert_eq!(view.campaign.state, CampaignState::Finished, "{window}");
    assert_eq!((view.campaign.total, view.counts.sum()), (READERS as u64, READERS as i64), "{window}");
    assert_eq!(view.counts.delivered, mails.len() as i64, "{window}: {:?}", view.counts);
    assert_eq!(view.counts.delivered + view.counts.unknown, READERS as i64, "{window}: {:?}", view.counts);
    assert_eq!(view.counts.repeated, 0, "{window}");
}

/// Everybody has a mail: nothing was left unknown either.
async fn a_mail_for_everybody(world: &World, window: &str) {
    one_mail_each(world, window).await;
    assert_eq!(world.view().await.counts.unknown, 0, "{window}");
}

#[tokio::test(start_paused = true)]
async fn window_1_death_after_the_freeze_and_before_the_queue() {
    for (call, after) in [
        ("freeze", false),
        ("freeze", true),
        ("active", false),
        ("ready", false),
        ("dispatched", false),
        ("dispatched", true),
    ] {
        let world = world(40.0).await;
        let faults = &world.campaigns.faults;
        if after {
            faults.die_after(call, 1);
        } else {
            faults.die_before(call, 1);
        }
        to_the_end(&world).await;
        a_mail_for_everybody(&world, &format!("death at {call}, {after}")).await;
    }
    for after in [false, true] {
        let world = world(40.0).await;
        let faults = &world.queue.faults;
        if after {
            faults.die_after("send", 1);
        } else {
            faults.die_before("send", 1);
        }
        to_the_end(&world).await;
        a_mail_for_everybody(&world, "death at the queue").await;
    }
}

#[tokio::test(start_paused = true)]
async fn window_2_death_after_the_claim_and_before_the_mail_leaves() {
    // The first write of the ledger is the first claim.
    for nth in 1..=3 {
        let world = world(40.0).await;
        world.campaigns.faults.die_after("ledger", nth);
        to_the_end(&world).await;
        a_mail_for_everybody(&world, &format!("death after write {nth}")).await;
    }
    let world = world(40.0).await;
    world.ses.faults.lock().unwrap().killed_before_acceptance = 0.02;
    to_the_end(&world).await;
    one_mail_each(&world, "death before acceptance").await;
}

#[tokio::test(start_paused = true)]
async fn window_3_the_answer_of_ses_is_lost() {
    let world = world(40.0).await;
    world.ses.faults.lock().unwrap().accepted_without_answer = 1.0;
    to_the_end(&world).await;
    a_mail_for_everybody(&world, "no answer at all").await;
    for chunk in world.campaigns.chunks_of(&world.campaign) {
        assert!(
            chunk.recipients.iter().all(|one| one.attempt == 1 && one.message_id.is_some()),
            "told by events alone"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn window_4_death_between_the_answer_and_the_record() {
    let world_1 = world(40.0).await;
    world_1.ses.faults.lock().unwrap().killed_after_acceptance = 0.05;
    to_the_end(&world_1).await;
    a_mail_for_everybody(&world_1, "death after acceptance").await;
    // Of the ledger's writes, whichever: claims, records and what events told.
    for nth in 1..=12 {
        for after in [false, true] {
            let world = world(40.0).await;
            let faults = &world.campaigns.faults;
            if after {
                faults.die_after("ledger", nth);
            } else {
                faults.die_before("ledger", nth);
            }
            to_the_end(&world).await;
            a_mail_for_everybody(&world, &format!("death at write {nth}, {after}")).await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn window_5_one_message_for_two_workers() {
    let world = world(40.0).await;
    for second in 0..60 {
        invoke_all(&world);
        world.queue.duplicate(dice());
        world.queue.duplicate(dice());
        tokio::time::sleep(Duration::from_millis(200 + second)).await;
    }
    to_the_end(&world).await;
    a_mail_for_everybody(&world, "twice delivered").await;
    assert_eq!(world.ses.accepted.lock().unwrap().len(), READERS);
}

#[tokio::test(start_paused = true)]
async fn window_6_a_worker_that_wakes_after_its_lease() {
    seed(9);
    let world = Arc::new(World::new(READERS, When::Now, 5.0).await);
    world.freeze().await;
    let message = world.receive(1).remove(0);
    let mut frozen = Box::pin(world.sender.run(&message, world.deadline()));
    // It claims and sends for a while, then nobody runs it any more.
    let _ = tokio::time::timeout(Duration::from_secs(4), &mut frozen).await;
    let sent = world.ses.accepted.lock().unwrap().len();
    assert!((1..30).contains(&sent), "it is in the middle: {sent}");
    tokio::time::sleep(Duration::from_secs(600)).await;
    world.keeper.tick(world.clock.now(), 200).await;
    // What was under way may end; nothing more is begun, and nothing can be written down any more.
    frozen.await;
    let ended = world.ses.accepted.lock().unwrap().len();
    assert!(ended - sent <= 2, "{sent} and then {ended}");
    to_the_end(&world).await;
    a_mail_for_everybody(&world, "a zombie").await;
}

// Window 7, a repeat inside the SDK, is shown on the real adapter: `tests/tests/e2e/run.rs`.

#[tokio::test(start_paused = true)]
async fn window_8_events_before_the_record_out_of_order_and_twice() {
    for delay in [0.0, 5.0, 100.0] {
        let world = world(40.0).await;
        *world.ses.faults.lock().unwrap() =
            Faults { event_delay: delay, events_twice: 0.5, latency: 4.0, ..Faults::NONE };
        to_the_end(&world).await;
        a_mail_for_everybody(&world, &format!("events within {delay} s")).await;
    }
    for call in ["chunk", "ledger"] {
        let world = world(40.0).await;
        world.campaigns.faults.die_after(call, 20);
        world.campaigns.faults.die_before(call, 30);
        to_the_end(&world).await;
        a_mail_for_everybody(&world, &format!("a listener dies at {call}")).await;
    }
}

#[tokio::test(start_paused = true)]
async fn window_9_throttled_and_out_of_quota() {
    let world_1 = world(40.0).await;
    world_1.ses.faults.lock().unwrap().throttled = 0.1;
    to_the_end(&world_1).await;
    a_mail_for_everybody(&world_1, "throttled").await;
    let line = millrace::ports::SendLine::line(&*world_1.pace, millrace::campaigns::LINE).await.unwrap();
    assert!(line.cut.is_some(), "the rate was cut");

    let world = world(40.0).await;
    world.ses.script.lock().unwrap().push(MailError::Quota("Daily message quota exceeded".into()));
    for _ in 0..20 {
        invoke_all(&world);
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    let view = world.view().await;
    assert_eq!(view.campaign.state, CampaignState::Paused);
    assert_eq!(view.campaign.stopped.map(|stop| stop.reason), Some(StopReason::Quota));
    assert!(view.counts.pending > 0);
    to_the_end(&world).await;
    a_mail_for_everybody(&world, "out of quota").await;
}

#[tokio::test(start_paused = true)]
async fn window_10_an_unsubscribe_after_the_freeze() {
    let world = world(10.0).await;
    for _ in 0..3 {
        invoke_all(&world);
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    let sent: Vec<String> = world.ses.by_address().into_keys().collect();
    let late: Vec<_> = (0..READERS).map(reader).filter(|one| !sent.contains(&one.email.as_str().to_owned())).collect();
    assert!(late.len() > 60, "most are still to be sent: {}", late.len());
    let now = world.clock.now();
    let left = &late[late.len() - 1];
    world.subscribers.unsubscribe(&left.key, now).await.unwrap();
    to_the_end(&world).await;
    assert!(!world.ses.by_address().contains_key(left.email.as_str()), "it was in a chunk that nobody had claimed");
    let view = world.view().await;
    assert_eq!((view.counts.suppressed, view.counts.delivered), (1, READERS as i64 - 1));
    let mut all = world.campaigns.chunks_of(&world.campaign).into_iter().flat_map(|chunk| chunk.recipients);
    let suppressed = all.find(|one| one.state == RecipientState::Suppressed).unwrap();
    assert_eq!(suppressed.reason.as_deref(), Some("unsubscribed"));
}

#[tokio::test(start_paused = true)]
async fn window_11_a_pause_a_cancel_and_another_rate_in_the_middle() {
    let world = world(40.0).await;
    // A chunk takes ten seconds.
    world.change(|campaign| campaign.at_rate(SendRate::per_second(5.0).ok())).await;
    let begin = async || {
        for _ in 0..4 {
            invoke_all(&world);
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    };
    begin().await;
    let sent = || world.ses.accepted.lock().unwrap().len();
    assert!(sent() > 0);
    let now = world.clock.now();
    world.change(|campaign| campaign.pause(StopReason::Person, now)).await;
    tokio::time::sleep(Duration::from_secs(4)).await;
    let (after, view) = (sent(), world.view().await);
    assert!(after < 50, "even the chunk under way was left: {after}");
    assert_eq!((view.counts.sending, view.campaign.state), (0, CampaignState::Paused));
    for _ in 0..600 {
        invoke_all(&world);
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    assert_eq!(sent(), after, "nothing more goes out");

    let now = world.clock.now();
    world.change(|campaign| campaign.resume(&view.counts, now)).await;
    world.planner_queue.send_one(CampaignHint::message(world.campaign.clone(), tenant())).await.unwrap();
    begin().await;
    assert!(sent() > after, "it goes on within seconds");

    // Ten times as slow, and that within seconds too.
    world.change(|campaign| campaign.at_rate(SendRate::per_second(0.5).ok())).await;
    tokio::time::sleep(Duration::from_secs(4)).await;
    let slow = sent();
    for _ in 0..20 {
        invoke_all(&world);
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    assert!((5..=14).contains(&(sent() - slow)), "{} in 20 s at one in two", sent() - slow);
    world.change(|campaign| campaign.at_rate(None)).await;

    let now = world.clock.now();
    world.change(|campaign| campaign.cancel(now)).await;
    tokio::time::sleep(Duration::from_secs(4)).await;
    let cancelled = sent();
    for _ in 0..600 {
        invoke_all(&world);
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    assert_eq!(sent(), cancelled);
    let view = world.view().await;
    assert_eq!(view.counts.sum(), READERS as i64);
    assert_eq!((view.counts.delivered, view.counts.sending), (cancelled as i64, 0), "{:?}", view.counts);
    assert!(world.campaigns.chunks_of(&world.campaign).iter().all(|chunk| chunk.status != ChunkStatus::Sending));
}

#[tokio::test(start_paused = true)]
async fn while_events_are_held_up_nobody_gets_a_second_mail() {
    let world = world(2.0).await;
    *world.ses.faults.lock().unwrap() = Faults::NONE;
    for _ in 0..12 {
        invoke_all(&world);
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    let heard = world.view().await.counts.delivered;
    assert!(heard > 0);
    let now = world.clock.now();
    world.change(|campaign| campaign.pause(StopReason::Person, now)).await;
    for _ in 0..60 {
        invoke_all(&world);
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    // From now on no answer comes, and no event for two hours.
    *world.ses.faults.lock().unwrap() = Faults { accepted_without_answer: 1.0, ..Faults::NONE };
    world.ses.hold_events(world.clock.now() + Duration::from_secs(7_200));
    let (view, now) = (world.view().await, world.clock.now());
    world.change(|campaign| campaign.resume(&view.counts, now)).await;
    to_the_end(&world).await;
    a_mail_for_everybody(&world, "events held up").await;
}
