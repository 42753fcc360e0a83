use crate::world::{World, seed};
use aws_lambda_events::event::sqs::{SqsEvent, SqsMessage};
use jiff::{SignedDuration, Timestamp};
use millrace::campaigns::Heard;
use millrace::domain::campaign::{Campaign, CampaignState};
use millrace::domain::chunk::{Chunk, ChunkStatus, EventKind, MailEvent, RecipientState};
use millrace::domain::local_time::When;
use millrace::domain::token::Claim;
use millrace::ports::{Blobs, Clock};
use millrace::testing::builders::{reader, tenant};
use millrace::worker::batch::Verdict;
use std::time::Duration;

async fn frozen(audience: usize, rate: f64) -> World {
    seed(9);
    let world = World::new(audience, When::Now, rate).await;
    world.freeze().await;
    world
}

async fn work(world: &World, messages: Vec<SqsMessage>) -> Vec<Verdict> {
    let deadline = world.deadline();
    futures::future::join_all(messages.iter().map(|message| world.sender.run(message, deadline))).await
}

fn chunk(world: &World, number: usize) -> Chunk {
    world.campaigns.chunks_of(&world.campaign)[number].clone()
}

#[tokio::test(start_paused = true)]
async fn a_letter_says_who_it_is_and_how_to_leave() {
    let world = frozen(1, 100.0).await;
    assert_eq!(work(&world, world.receive(10)).await, [Verdict::Acknowledge]);
    let mail = world.ses.accepted.lock().unwrap()[0].1.clone();
    assert_eq!(mail.from, "\"The Weekly\" <news@example.com>");
    assert_eq!(mail.to, "reader0@example.com");
    assert_eq!(mail.subject, "The river is high, reader");
    let header = |name: &str| mail.headers.iter().find(|(header, _)| header == name).unwrap().1.clone();
    assert_eq!(header("List-Unsubscribe-Post"), "List-Unsubscribe=One-Click");
    assert!(header("List-Id").ends_with(".example.com>"), "{}", header("List-Id"));
    let link = header("List-Unsubscribe");
    let url = link.strip_prefix('<').and_then(|link| link.strip_suffix('>')).unwrap();
    assert!(mail.html.contains(url) && mail.text.contains(url));
    let token = url.strip_prefix("https://api.example.com/unsubscribe?token=").unwrap();
    let claim = Claim::Unsubscribe { tenant: tenant(), subscriber: reader(0).id() };
    assert_eq!(world.tokens.open(token), Ok(claim));
    let tags: Vec<_> = mail.tags.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    let id = world.campaign.as_str();
    assert_eq!(tags, [("campaign", id), ("chunk", "0"), ("recipient", "0"), ("attempt", "1")]);
    assert_eq!(world.view().await.campaign.state, CampaignState::Finished);
}

#[tokio::test(start_paused = true)]
async fn only_a_tracked_campaigns_mails_are_tracked_and_their_way_out_is_not() {
    for tracked in [false, true] {
        let world = frozen(3, 100.0).await;
        let change = |campaign: &Campaign| Ok(Campaign { tracked, version: campaign.version + 1, ..campaign.clone() });
        world.change(change).await;
        assert_eq!(work(&world, world.receive(1)).await, [Verdict::Acknowledge]);
        let accepted = world.ses.accepted.lock().unwrap();
        assert_eq!(accepted.len(), 3);
        for (_, mail) in accepted.iter() {
            assert_eq!(mail.tracked, tracked);
            let out = mail.html.matches("<a ses:no-track href=\"https://api.example.com/unsubscribe?token=").count();
            assert_eq!(out, usize::from(tracked), "{}", mail.html);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn the_sample_event_is_read_and_its_campaign_not_found() {
    let world = frozen(1, 100.0).await;
    let event: SqsEvent = serde_json::from_str(include_str!("../../../events/newsletter.chunk.json")).unwrap();
    assert_eq!(work(&world, event.records).await, [Verdict::Acknowledge]);
    assert!(world.dead_letters.all().is_empty() && world.addresses().is_empty());
}

#[tokio::test(start_paused = true)]
async fn an_unreadable_message_is_put_aside() {
    let world = frozen(1, 100.0).await;
    let mut message = SqsMessage::default();
    message.body = Some("{\"v\":1}".to_owned());
    assert_eq!(work(&world, vec![message]).await, [Verdict::Acknowledge]);
    assert_eq!(world.dead_letters.all()[0].body, "{\"v\":1}");
}

#[tokio::test(start_paused = true)]
async fn without_its_letter_a_chunk_stays_as_it_is() {
    let world = frozen(1, 100.0).await;
    let campaign = world.view().await.campaign;
    let gone = millrace::letters::key(&campaign.id, &campaign.letter);
    world.blobs.put(&gone, b"{}".to_vec(), "application/json").await.unwrap();
    assert_eq!(work(&world, world.receive(1)).await, [Verdict::Acknowledge]);
    assert_eq!(chunk(&world, 0).fence, 0, "the clock brings it again");
}

#[tokio::test(start_paused = true)]
async fn a_message_that_comes_twice_sends_once() {
    let world = frozen(50, 100.0).await;
    let message = world.receive(1).remove(0);
    let verdicts = work(&world, vec![message.clone(), message.clone()]).await;
    assert_eq!(verdicts, [Verdict::Acknowledge, Verdict::Acknowledge]);
    work(&world, vec![message]).await;
    assert_eq!(world.addresses().len(), 50);
}

#[tokio::test(start_paused = true)]
async fn workers_share_one_rate() {
    let world = frozen(200, 20.0).await;
    let began = world.clock.now();
    work(&world, world.receive(10)).await;
    assert_eq!(world.addresses().len(), 200);
    let accepted = world.ses.accepted.lock().unwrap();
    let last = accepted.iter().map(|(at, _)| *at).max().unwrap();
    assert!(last.duration_since(began) >= SignedDuration::from_millis(9_900), "200 mails at 20 a second");
    for second in 0..12 {
        let from = began + SignedDuration::from_secs(second);
        let within = accepted.iter().filter(|(at, _)| *at >= from && *at < from + SignedDuration::from_secs(1)).count();
        // A mail may take up to 200 ms more or less than its neighbour.
        assert!(within <= 26, "{within} mails in second {second}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_chunk_without_a_slot_stays_on_the_queue_untouched() {
    // 50 mails take 12.5 s: the second chunk's slot begins beyond the longest wait.
    let world = frozen(100, 4.0).await;
    let mut verdicts = work(&world, world.receive(10)).await;
    verdicts.sort_by_key(|verdict| *verdict == Verdict::Keep);
    assert_eq!(verdicts, [Verdict::Acknowledge, Verdict::Keep]);
    assert_eq!(world.addresses().len(), 50);
    let waiting = world.campaigns.chunks_of(&world.campaign).into_iter().find(|chunk| chunk.fence == 0).unwrap();
    assert_eq!(waiting.status, ChunkStatus::Pending);
    let message = world.queue.all().into_iter().find(|message| message.visible_at < world.clock.now()).unwrap();
    assert_eq!(message.received, 1, "it is visible again when the line is free");
}

#[tokio::test(start_paused = true)]
async fn what_does_not_fit_into_the_invocation_is_left_for_the_next() {
    let world = frozen(50, 1.0).await;
    // 60 s less 15 s for the last send and the record: 46 letters, the first at once.
    work(&world, world.receive(1)).await;
    assert_eq!(world.addresses().len(), 46);
    let rest = chunk(&world, 0);
    assert_eq!((rest.status, rest.pending().len()), (ChunkStatus::Pending, 4));
    tokio::time::sleep(Duration::from_secs(120)).await;
    world.keeper.tick(world.clock.now(), 10).await;
    work(&world, world.receive(1)).await;
    assert_eq!(world.view().await.campaign.state, CampaignState::Finished);
    assert_eq!(world.addresses().len(), 50);
}

#[tokio::test(start_paused = true)]
async fn with_too_little_time_left_nothing_is_begun() {
    let world = frozen(1, 100.0).await;
    let message = world.receive(1).remove(0);
    let deadline: Timestamp = world.clock.now() + Duration::from_secs(2);
    assert_eq!(world.sender.run(&message, deadline).await, Verdict::Keep);
    assert_eq!(chunk(&world, 0).fence, 0);
    assert_eq!(world.receive(1).len(), 1, "it is visible at once");
}

#[tokio::test(start_paused = true)]
async fn a_short_invocation_does_what_it_can() {
    let world = frozen(50, 10.0).await;
    for message in world.receive(1) {
        let deadline = world.clock.now() + Duration::from_secs(5);
        assert_eq!(world.sender.run(&message, deadline).await, Verdict::Acknowledge);
        assert!(world.clock.now() < deadline);
    }
    // Half of its 5 s at 10 a second, the first one at once.
    assert_eq!((world.addresses().len(), chunk(&world, 0).pending().len()), (26, 24));
}

#[tokio::test(start_paused = true)]
async fn a_throttled_chunk_loses_nobody() {
    let world = frozen(50, 100.0).await;
    world.ses.faults.lock().unwrap().throttled = 1.0;
    work(&world, world.receive(1)).await;
    let waiting = chunk(&world, 0);
    assert_eq!((waiting.status, waiting.pending().len()), (ChunkStatus::Pending, 50));
    assert!(waiting.attention_at.unwrap() > world.clock.now() + Duration::from_secs(9), "it does not hurry");
    world.ses.faults.lock().unwrap().throttled = 0.0;
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(world.keeper.tick(world.clock.now(), 10).await.dispatched.chunks, 1);
    work(&world, world.receive(1)).await;
    assert_eq!(world.addresses().len(), 50);
    assert_eq!(chunk(&world, 0).recipients[0].attempt, 1, "a refused attempt does not count");
}

#[tokio::test(start_paused = true)]
async fn an_unclear_answer_is_settled_by_its_event_alone() {
    let world = frozen(10, 100.0).await;
    world.ses.faults.lock().unwrap().accepted_without_answer = 1.0;
    work(&world, world.receive(1)).await;
    let unclear = chunk(&world, 0);
    assert_eq!((unclear.status, unclear.counts().unknown), (ChunkStatus::Settling, 10));
    assert_eq!(world.keeper.tick(world.clock.now(), 10).await.settled, 0, "not before its time");
    world.hear().await;
    let view = world.view().await;
    assert_eq!((view.campaign.state, view.counts.delivered), (CampaignState::Finished, 10));
    assert_eq!(world.addresses().len(), 10, "nobody got a second one");
}

#[tokio::test(start_paused = true)]
async fn what_no_event_tells_of_is_tried_once_more_and_then_shown_as_unknown() {
    let world = frozen(2, 100.0).await;
    world.ses.faults.lock().unwrap().lost_on_the_way = 1.0;
    for attempt in 1..=2 {
        assert_eq!(chunk(&world, 0).recipients[0].attempt, attempt);
        work(&world, world.receive(1)).await;
        tokio::time::sleep(Duration::from_secs(121)).await;
        assert_eq!(world.keeper.tick(world.clock.now(), 10).await.settled, 1);
    }
    let view = world.view().await;
    assert_eq!((view.campaign.state, view.counts.unknown), (CampaignState::Finished, 2));
}

#[tokio::test(start_paused = true)]
async fn an_event_that_comes_late_still_stops_the_repetition() {
    let world = frozen(2, 100.0).await;
    world.ses.faults.lock().unwrap().lost_on_the_way = 1.0;
    work(&world, world.receive(1)).await;
    tokio::time::sleep(Duration::from_secs(121)).await;
    let ticked = world.keeper.tick(world.clock.now(), 10).await;
    assert_eq!((ticked.settled, ticked.dispatched.chunks), (1, 1));
    let kind = EventKind::Send;
    let late = MailEvent { place: 0, attempt: 1, message_id: "late".to_owned(), kind, reason: None };
    let late =
        Heard { campaign: world.campaign.clone(), chunk: 0, event: late, sent_at: world.clock.now(), against: None };
    assert_eq!(world.listener.hear(&[late], world.clock.now()).await, [true]);
    *world.ses.faults.lock().unwrap() = crate::fake_ses::Faults::NONE;
    work(&world, world.receive(1)).await;
    assert_eq!(world.addresses(), [world.subscriber_at(0, 1).await], "the other one alone");
    let done = chunk(&world, 0);
    assert_eq!(done.status, ChunkStatus::Done);
    assert!(done.recipients.iter().all(|one| one.state == RecipientState::Sent));
    assert_eq!(done.recipients[0].message_id.as_deref(), Some("late"));
}
