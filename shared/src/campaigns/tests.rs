use super::*;
use crate::domain::campaign::{CampaignState, Counts, HINT_EVERY, QUOTA_EVERY, Resendable};
use crate::domain::chunk::{Again, Chunk, ChunkStatus, EventKind, MailEvent, REDISPATCH_EVERY, Sent, Verdict};
use crate::domain::id::Tenant;
use crate::domain::local_time::When;
use crate::domain::pace::SendRate;
use crate::domain::suppression::Reason;
use crate::jobs::ChunkMessage;
use crate::ports::{Chunks, Clock, SendLine, Subscribers, Suppressions};
use crate::testing::builders::{draft, reader, tenant};
use crate::testing::{
    ManualClock, MemoryAccount, MemoryCampaigns, MemoryPace, MemoryQueue, MemorySubscribers, MemorySuppressions,
};
use jiff::SignedDuration;
use std::sync::Arc;
use std::time::Duration;

struct World {
    clock: ManualClock,
    store: Arc<MemoryCampaigns>,
    pace: Arc<MemoryPace>,
    account: Arc<MemoryAccount>,
    suppressions: Arc<MemorySuppressions>,
    listener: Listener,
    planner: Planner,
    keeper: Keeper,
    chunks: MemoryQueue,
    hints: MemoryQueue,
    id: CampaignId,
}

async fn world(readers: usize) -> World {
    let clock = ManualClock::default();
    let store = Arc::new(MemoryCampaigns::default());
    let subscribers = Arc::new(MemorySubscribers::default());
    for i in 0..readers {
        subscribers.add(&reader(i)).await.unwrap();
    }
    let campaign = draft("News", When::Now, clock.now()).start(clock.now()).unwrap();
    Campaigns::create(&*store, &campaign).await.unwrap();
    let [chunks, hints] = std::array::from_fn(|_| MemoryQueue::new(Arc::new(clock.clone())));
    let (pace, account) = (Arc::new(MemoryPace::default()), Arc::new(MemoryAccount::default()));
    let dispatcher = Dispatcher {
        campaigns: store.clone(),
        chunks: store.clone(),
        line: pace.clone(),
        queue: Arc::new(chunks.clone()),
        limit: SendRate::per_second(100.0).ok(),
    };
    let planner = Planner {
        campaigns: store.clone(),
        chunks: store.clone(),
        subscribers,
        clock: Arc::new(clock.clone()),
        page: 2_000,
    };
    let settle = SignedDuration::from_secs(60);
    let planner_queue = Arc::new(hints.clone());
    let keeper = Keeper { dispatcher, account: account.clone(), planner_queue, settle };
    let suppressions = Arc::new(MemorySuppressions::default());
    let listener = Listener::new(store.clone(), store.clone(), suppressions.clone(), pace.clone(), || 0.5);
    World { clock, store, pace, account, suppressions, listener, planner, keeper, chunks, hints, id: campaign.id }
}

impl World {
    async fn tick(&self) -> Ticked {
        self.keeper.tick(self.clock.now(), 100).await
    }

    async fn freeze(&self) {
        let deadline = self.clock.now() + Duration::from_secs(60);
        assert_eq!(self.planner.advance(&self.id, deadline).await.unwrap(), Advanced::Frozen);
    }

    fn pass(&self, span: SignedDuration) {
        self.clock.advance(span.unsigned_abs());
    }

    fn chunk(&self) -> Chunk {
        self.store.chunks_of(&self.id).remove(0)
    }

    /// Claims the chunk as a worker does, until a lease of a minute ends.
    async fn claim(&self) -> Chunk {
        let (chunk, now) = (self.chunk(), self.clock.now());
        let verdicts: Vec<_> = chunk.pending().into_iter().map(|place| (place, Verdict::Send)).collect();
        let claimed = chunk.claim("worker", &verdicts, now, now + Duration::from_secs(60)).unwrap();
        assert_eq!(Chunks::update(&*self.store, &chunk, &claimed).await.unwrap(), Written::Done);
        claimed
    }
}

#[tokio::test]
async fn a_lost_hint_is_sent_again() {
    let world = world(1).await;
    assert_eq!(world.tick().await.hints, 1);
    assert_eq!(world.tick().await.hints, 0, "the planner has time to follow it");
    world.pass(HINT_EVERY);
    assert_eq!(world.tick().await.hints, 1);
    assert_eq!(world.hints.all().len(), 2);
    world.freeze().await;
    world.pass(HINT_EVERY);
    assert_eq!(world.tick().await.hints, 0);
}

#[tokio::test]
async fn a_hint_that_sqs_refuses_is_tried_at_the_next_tick() {
    let world = world(1).await;
    world.hints.faults.refuse_next("send");
    assert_eq!(world.tick().await.errors, 1);
    assert_eq!(world.tick().await.hints, 1);
}

#[tokio::test]
async fn a_lost_chunk_message_is_sent_again_and_a_claimed_chunk_is_not() {
    let world = world(10).await;
    world.freeze().await;
    assert_eq!(world.tick().await.dispatched.chunks, 1);
    assert_eq!(world.tick().await.dispatched.chunks, 0);
    world.pass(REDISPATCH_EVERY);
    assert_eq!(world.tick().await.dispatched.chunks, 1);
    world.claim().await;
    world.pass(SignedDuration::from_secs(30));
    assert_eq!(world.tick().await.dispatched.chunks, 0);
    assert_eq!(world.chunks.all().len(), 2);
}

#[tokio::test]
async fn a_chunk_whose_worker_died_is_settled_and_sent_again() {
    let world = world(10).await;
    world.freeze().await;
    world.claim().await;
    assert_eq!(world.tick().await.settled, 0, "the lease still runs");
    world.pass(SignedDuration::from_secs(60));
    assert_eq!(world.tick().await.settled, 1);
    assert_eq!(world.chunk().counts().unknown, 10);
    world.pass(SignedDuration::from_secs(60));
    let ticked = world.tick().await;
    assert_eq!((ticked.settled, ticked.dispatched.mails), (1, 10));
}

#[tokio::test]
async fn the_clock_finishes_a_campaign_whose_last_worker_did_not() {
    let world = world(1).await;
    world.freeze().await;
    let claimed = world.claim().await;
    let now = world.clock.now();
    let done = claimed.record("worker", &[(0, Sent::Accepted("m".into()))], Again::At(now), now).unwrap();
    assert_eq!(Chunks::update(&*world.store, &claimed, &done).await.unwrap(), Written::Done);
    assert_eq!(world.tick().await.finished, 0, "not yet due");
    world.pass(SignedDuration::from_secs(120));
    assert_eq!(world.tick().await.finished, 1);
    let campaign = world.store.meta(&world.id).await.unwrap().unwrap();
    assert_eq!((campaign.state, campaign.attention_at), (CampaignState::Finished, None));
    assert_eq!(world.tick().await, Ticked::default(), "and nothing is left to do");
}

#[tokio::test]
async fn a_thing_that_fails_harms_no_other() {
    let world = world(10).await;
    world.freeze().await;
    world.claim().await;
    let other = draft("Other", When::Now, world.clock.now()).start(world.clock.now()).unwrap();
    Campaigns::create(&*world.store, &other).await.unwrap();
    world.pass(SignedDuration::from_secs(60));
    world.store.faults.refuse_next("chunk");
    let ticked = world.tick().await;
    assert_eq!((ticked.errors, ticked.settled, ticked.hints), (1, 0, 1));
    assert_eq!(world.tick().await.settled, 1);
}

fn send_rate(mails: f64) -> SendRate {
    SendRate::per_second(mails).unwrap()
}

impl World {
    /// A campaign of a tenant of its own to the same readers, frozen.
    async fn another(&self, subject: &str, tenant: &str) -> CampaignId {
        let draft = draft(subject, When::Now, self.clock.now());
        let campaign = Campaign { tenant: Tenant::parse(tenant).unwrap(), ..draft }.start(self.clock.now()).unwrap();
        Campaigns::create(&*self.store, &campaign).await.unwrap();
        let deadline = self.clock.now() + Duration::from_secs(60);
        assert_eq!(self.planner.advance(&campaign.id, deadline).await.unwrap(), Advanced::Frozen);
        campaign.id
    }

    /// The chunks on the queue by campaign.
    fn queued_of(&self, id: &CampaignId) -> usize {
        let of = |body: &str| ChunkMessage::parse(body).unwrap().campaign == *id;
        self.chunks.all().iter().filter(|message| of(&message.body)).count()
    }

    async fn campaign(&self) -> Campaign {
        self.store.meta(&self.id).await.unwrap().unwrap()
    }

    async fn change(&self, to: impl Fn(&Campaign) -> Result<Campaign, WrongState>) {
        assert!(change(&*self.store, &self.id, to).await.unwrap().is_some());
    }

    fn heard(&self, place: usize, kind: EventKind) -> Heard {
        let event = MailEvent { place, attempt: 1, message_id: format!("m{place}"), kind, reason: None };
        let against = (kind >= EventKind::SoftBounce).then(|| reader(place).email);
        Heard { campaign: self.id.clone(), chunk: 0, event, sent_at: self.clock.now(), against }
    }

    async fn hear(&self, heard: &[Heard]) -> bool {
        self.listener.hear(heard, self.clock.now()).await.into_iter().all(|noted| noted)
    }
}

#[tokio::test]
async fn tenants_share_the_rate_and_so_do_their_campaigns() {
    // 90 s at 100 a second are 180 chunks.
    let world = world(12_000).await;
    world.freeze().await;
    let small = world.another("Small", "small").await;
    assert_eq!(world.tick().await.dispatched.chunks, 100);
    let dispatched = world.keeper.dispatcher.run(world.clock.now(), 200, None).await.unwrap();
    assert_eq!((dispatched.chunks, dispatched.held_back), (80, true), "up to 90 s in all");
    assert_eq!((world.queued_of(&world.id), world.queued_of(&small)), (90, 90));
    // Another campaign of the small tenant takes from its share, not from the first one's.
    let other = world.another("Other", "small").await;
    world.chunks.take_all();
    for id in [&world.id, &small] {
        for chunk in world.store.chunks_of(id).into_iter().filter(|chunk| chunk.queued) {
            world.store.put_back(&chunk, world.clock.now()).await.unwrap();
        }
    }
    world.keeper.dispatcher.run(world.clock.now(), 400, None).await.unwrap();
    assert_eq!([&world.id, &small, &other].map(|id| world.queued_of(id)), [90, 45, 45]);
}

#[tokio::test]
async fn a_campaign_has_no_more_on_the_queue_than_its_own_rate_asks_for() {
    let world = world(1_000).await;
    world.freeze().await;
    world.change(|campaign| campaign.at_rate(Some(send_rate(2.0)))).await;
    // 90 s at 2 a second are 180 letters: the fourth chunk begins within them.
    assert_eq!(world.tick().await.dispatched.chunks, 4);
    assert_eq!(world.tick().await.dispatched.chunks, 0);
    world.change(|campaign| campaign.at_rate(None)).await;
    assert_eq!(world.tick().await.dispatched.chunks, 16);
}

#[tokio::test]
async fn what_is_stopped_is_not_dispatched_and_costs_nothing() {
    let world = world(1_000).await;
    world.freeze().await;
    let now = world.clock.now();
    world.change(|campaign| campaign.pause(StopReason::Person, now)).await;
    assert_eq!(world.tick().await, Ticked::default());
    world.change(|campaign| campaign.resume(&Counts::default(), now)).await;
    assert_eq!(world.tick().await.dispatched.chunks, 20);
    world.change(|campaign| campaign.cancel(now)).await;
    world.pass(SignedDuration::from_hours(1));
    assert_eq!(world.tick().await, Ticked::default());
}

#[tokio::test]
async fn a_resend_reaches_those_who_failed_and_nobody_else() {
    let world = world(120).await;
    world.freeze().await;
    let now = world.clock.now();
    for chunk in world.store.chunks_of(&world.id) {
        let verdicts: Vec<_> = (0..chunk.recipients.len()).map(|place| (place, Verdict::Send)).collect();
        let claimed = chunk.claim("worker", &verdicts, now, now + Duration::from_secs(60)).unwrap();
        assert_eq!(Chunks::update(&*world.store, &chunk, &claimed).await.unwrap(), Written::Done);
        let outcome = |place: usize| match place % 10 {
            0 => Sent::Refused("MessageRejected".into()),
            _ => Sent::Accepted(format!("m{place}")),
        };
        let outcomes: Vec<_> = (0..chunk.recipients.len()).map(|place| (place, outcome(place))).collect();
        let done = claimed.record("worker", &outcomes, Again::At(now), now).unwrap();
        assert_eq!(Chunks::update(&*world.store, &claimed, &done).await.unwrap(), Written::Done);
    }
    assert!(finish(&*world.store, &world.id, now).await.unwrap());
    world
        .change(|campaign| campaign.send_rest(&[Resendable::Failed], now).map_err(|_| WrongState(campaign.state)))
        .await;
    // A planner that dies after the first chunk leaves the rest to the next one.
    world.store.faults.lose_next_answer("ledger");
    let deadline = now + Duration::from_secs(60);
    assert!(world.planner.advance(&world.id, deadline).await.is_err());
    world.freeze().await;
    let view = Campaigns::get(&*world.store, &world.id).await.unwrap().unwrap();
    assert_eq!((view.campaign.state, view.counts.pending, view.counts.sent), (CampaignState::Sending, 12, 108));
    let again: Vec<_> = world.store.chunks_of(&world.id).iter().flat_map(|chunk| chunk.recipients.clone()).collect();
    assert!(again.iter().all(|one| one.attempt == if one.state.is_accepted() { 1 } else { 2 }));
    assert_eq!(world.tick().await.dispatched.mails, 12);
}

#[tokio::test]
async fn the_daily_quota_pauses_and_resumes() {
    let world = world(1_000).await;
    world.freeze().await;
    world.account.set(|account| (account.max_24_hours, account.sent_24_hours) = (Some(1_000.0), 730.0));
    // 85 % of the quota are for newsletters: 120 are left of them.
    assert_eq!(world.tick().await.dispatched.mails, 150, "three chunks, of which the last begins below the limit");
    world.account.set(|account| account.sent_24_hours = 850.0);
    let ticked = world.tick().await;
    assert_eq!((ticked.paused, ticked.dispatched.chunks), (1, 0));
    assert_eq!(world.campaign().await.stopped.map(|stop| stop.reason), Some(StopReason::Quota));
    world.pass(QUOTA_EVERY);
    assert_eq!(world.tick().await.resumed, 0, "there is no room yet");
    world.account.set(|account| account.sent_24_hours = 600.0);
    world.pass(QUOTA_EVERY);
    let ticked = world.tick().await;
    assert_eq!((ticked.resumed, world.campaign().await.state), (1, CampaignState::Sending));
    assert!(world.tick().await.dispatched.chunks > 0);
}

#[tokio::test]
async fn what_ses_allows_is_learned_at_each_tick() {
    let world = world(10).await;
    world.account.set(|account| account.max_send_rate = 14.0);
    world.freeze().await;
    world.tick().await;
    assert_eq!(world.pace.line(LINE).await.unwrap().ceiling, Some(send_rate(11.9)));
    world.account.faults.refuse_next("account");
    let ticked = world.tick().await;
    assert_eq!(ticked.errors, 1, "and without it the last word counts");
}

#[tokio::test]
async fn events_of_one_chunk_are_one_write_and_repeats_none() {
    let world = world(20).await;
    world.freeze().await;
    world.claim().await;
    let heard: Vec<_> = (0..20)
        .flat_map(|place| [world.heard(place, EventKind::Delivery), world.heard(place, EventKind::Send)])
        .collect();
    assert!(world.hear(&heard).await);
    let chunk = world.chunk();
    assert_eq!((chunk.fence, chunk.counts().delivered), (2, 20), "one write after the claim");
    assert!(world.hear(&heard).await);
    assert_eq!(world.chunk().fence, 2);
    assert_eq!(world.pace.line(LINE).await.unwrap().heard_at, Some(world.clock.now()));
}

#[tokio::test]
async fn events_that_could_not_be_noted_come_again() {
    let world = world(1).await;
    world.freeze().await;
    let heard = [world.heard(0, EventKind::HardBounce)];
    for call in ["chunk", "meta", "ledger"] {
        world.store.faults.refuse_next(call);
        assert!(!world.hear(&heard).await, "{call}");
    }
    world.suppressions.faults.refuse_next("suppress");
    assert!(!world.hear(&heard).await);
    world.store.faults.lose_next_answer("ledger");
    assert!(!world.hear(&heard).await);
    assert!(world.hear(&heard).await);
    assert_eq!(world.chunk().counts().hard_bounced, 1);
    let stranger = Heard { campaign: CampaignId::derived(&["nobody's"]), ..heard[0].clone() };
    assert!(world.hear(&[stranger]).await, "what is not there cannot be noted");
}

#[tokio::test]
async fn bounces_and_complaints_suppress_the_address() {
    let world = world(3).await;
    world.freeze().await;
    world.claim().await;
    let kinds = [EventKind::HardBounce, EventKind::Complaint, EventKind::SoftBounce];
    let heard: Vec<_> = kinds.into_iter().enumerate().map(|(place, kind)| world.heard(place, kind)).collect();
    assert!(world.hear(&heard).await);
    let addresses: Vec<_> = (0..3).map(|i| reader(i).email).collect();
    let found = world.suppressions.check(&tenant(), &addresses).await.unwrap();
    let reasons: Vec<_> = found.into_iter().map(|one| one.map(|one| one.reason)).collect();
    assert_eq!(reasons, [Some(Reason::HardBounce), Some(Reason::Complaint), None], "one soft bounce is none");
}

#[tokio::test]
async fn the_breaker_halts_the_campaign() {
    let world = world(40).await;
    world.freeze().await;
    world.claim().await;
    let bounces = |places: std::ops::Range<usize>| -> Vec<Heard> {
        places.map(|place| world.heard(place, EventKind::HardBounce)).collect()
    };
    assert!(world.hear(&bounces(0..9)).await);
    assert_eq!(world.campaign().await.state, CampaignState::Sending);
    assert!(world.hear(&bounces(9..10)).await);
    let campaign = world.campaign().await;
    assert_eq!((campaign.state, campaign.stopped.unwrap().reason), (CampaignState::Halted, StopReason::Bounces));
}

#[tokio::test]
async fn the_last_event_finishes_the_campaign() {
    let world = world(1).await;
    world.freeze().await;
    world.claim().await;
    world.pass(SignedDuration::from_secs(60));
    world.tick().await;
    assert_eq!(world.chunk().status, ChunkStatus::Settling);
    assert!(world.hear(&[world.heard(0, EventKind::Send)]).await);
    assert_eq!(world.campaign().await.state, CampaignState::Finished);
}

#[tokio::test]
async fn while_events_are_behind_nothing_is_sent_again() {
    let world = world(1).await;
    world.freeze().await;
    world.claim().await;
    // The worker took its slot, and no Send event has come since long before.
    let (now, second) = (world.clock.now(), SignedDuration::from_secs(1));
    crate::ports::Pace::take(&*world.pace, LINE, second, now, now + second).await.unwrap();
    world.pace.heard(LINE, now - Duration::from_secs(600)).await.unwrap();
    world.pass(SignedDuration::from_secs(121));
    // Others were sent meanwhile.
    let later = world.clock.now();
    crate::ports::Pace::take(&*world.pace, LINE, second, later, later + second).await.unwrap();
    world.tick().await;
    assert_eq!((world.chunk().status, world.chunk().counts().unknown), (ChunkStatus::Settling, 1));
    world.pace.heard(LINE, later).await.unwrap();
    world.pass(SignedDuration::from_mins(5));
    world.tick().await;
    assert_eq!((world.chunk().status, world.chunk().recipients[0].attempt), (ChunkStatus::Pending, 2));
}
