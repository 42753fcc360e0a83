use super::*;
use crate::domain::campaign::{CampaignState, HINT_EVERY};
use crate::domain::chunk::{Chunk, REDISPATCH_EVERY, Sent, Verdict};
use crate::domain::local_time::When;
use crate::ports::{Chunks, Clock, Subscribers};
use crate::testing::builders::{draft, reader};
use crate::testing::{ManualClock, MemoryCampaigns, MemoryQueue, MemorySubscribers};
use jiff::SignedDuration;
use std::sync::Arc;
use std::time::Duration;

struct World {
    clock: ManualClock,
    store: Arc<MemoryCampaigns>,
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
    let dispatcher = Dispatcher {
        campaigns: store.clone(),
        chunks: store.clone(),
        pace: store.clone(),
        queue: Arc::new(chunks.clone()),
        rate: 100.0,
    };
    let planner = Planner { campaigns: store.clone(), subscribers, clock: Arc::new(clock.clone()), page: 2_000 };
    let settle = SignedDuration::from_secs(60);
    let keeper = Keeper { dispatcher, planner_queue: Arc::new(hints.clone()), settle };
    World { clock, store, planner, keeper, chunks, hints, id: campaign.id }
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
    let done = claimed.record("worker", &[(0, Sent::Accepted("m".into()))], now, now).unwrap();
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
    world.store.faults.refuse_next("events");
    let ticked = world.tick().await;
    assert_eq!((ticked.errors, ticked.settled, ticked.hints), (1, 0, 1));
    assert_eq!(world.tick().await.settled, 1);
}
