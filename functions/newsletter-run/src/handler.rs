//! A hint takes one campaign as far as it goes; a tick takes all that are due. Both then dispatch what is due.

use aws_lambda_events::event::sqs::{SqsEvent, SqsMessage};
use jiff::Timestamp;
use millrace::campaigns::{Advanced, Dispatched, Dispatcher, Planner, learn};
use millrace::jobs::CampaignHint;
use millrace::ports::{Clock, DueItem, Queue, SendingAccount};
use millrace::worker::batch::{Verdict, park};
use serde::Serialize;
use serde_json::Value;
use std::sync::Arc;
use std::time::Duration;

/// Campaigns that one tick looks at, and chunks that one call dispatches.
const LIMIT: usize = 200;

/// Takes campaigns to where their chunks are on the queue.
pub(crate) struct Runner {
    pub(crate) planner: Planner,
    pub(crate) dispatcher: Dispatcher,
    /// What SES allows.
    pub(crate) account: Arc<dyn SendingAccount>,
    /// Where the hints come from.
    pub(crate) queue: Arc<dyn Queue>,
    pub(crate) dead_letters: Arc<dyn Queue>,
    pub(crate) clock: Arc<dyn Clock>,
}

/// What a tick came to.
#[derive(Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Status {
    /// Campaigns whose audience is frozen by now.
    pub(crate) frozen: usize,
    /// Campaigns there was no time for. The clock's hints bring them back.
    pub(crate) out_of_time: usize,
    /// Campaigns that failed, and other failures. The next tick tries again.
    pub(crate) errors: usize,
    /// What was dispatched.
    pub(crate) dispatched: Dispatched,
}

/// The batch of hints in an event, or `None` when it is the schedule's.
pub(crate) fn hints(event: &Value) -> Result<Option<SqsEvent>, serde_json::Error> {
    if event.get("Records").is_none() {
        return Ok(None);
    }
    serde_json::from_value(event.clone()).map(Some)
}

impl Runner {
    /// Follows a hint.
    pub(crate) async fn hint(&self, record: &SqsMessage, deadline: Timestamp) -> Verdict {
        let hint = match CampaignHint::parse(record.body.as_deref().unwrap_or_default()) {
            Ok(hint) => hint,
            Err(error) => return park(&*self.dead_letters, record, &error.to_string()).await,
        };
        match self.planner.advance(&hint.campaign, deadline).await {
            Ok(Advanced::Frozen | Advanced::Waiting | Advanced::Missing) => Verdict::Acknowledge,
            // The same message brings the rest. A new one would make this function feed itself, and Lambda stops a
            // function that does so too often.
            Ok(Advanced::OutOfTime) => {
                if let Some(receipt) = &record.receipt_handle
                    && let Err(error) = self.queue.hide(receipt, Duration::ZERO).await
                {
                    tracing::warn!(campaign = %hint.campaign, "the hint comes back later: {error}");
                }
                Verdict::Keep
            }
            Err(error) => {
                tracing::warn!(campaign = %hint.campaign, "the campaign has to wait: {error}");
                Verdict::Keep
            }
        }
    }

    /// Takes all campaigns that are due as far as they go.
    pub(crate) async fn tick(&self, deadline: Timestamp) -> Status {
        let mut status = Status::default();
        let due = match self.planner.campaigns.due(self.clock.now(), LIMIT).await {
            Ok(due) => due,
            Err(error) => {
                tracing::warn!("the due campaigns could not be listed: {error}");
                status.errors += 1;
                Vec::new()
            }
        };
        for item in due {
            // Chunks are the clock's.
            let DueItem::Campaign(id) = item else { continue };
            match self.planner.advance(&id, deadline).await {
                Ok(Advanced::Frozen) => status.frozen += 1,
                Ok(Advanced::OutOfTime) => status.out_of_time += 1,
                Ok(Advanced::Waiting | Advanced::Missing) => {}
                Err(error) => {
                    tracing::warn!(campaign = %id, "the campaign has to wait: {error}");
                    status.errors += 1;
                }
            }
        }
        match self.dispatch().await {
            Some(dispatched) => status.dispatched = dispatched,
            None => status.errors += 1,
        }
        tracing::info!(
            frozen = status.frozen,
            out_of_time = status.out_of_time,
            errors = status.errors,
            chunks = status.dispatched.chunks,
            "tick"
        );
        status
    }

    /// Dispatches what is due. `None` when it failed; then the clock does it.
    pub(crate) async fn dispatch(&self) -> Option<Dispatched> {
        let left = match learn(&*self.account, &*self.dispatcher.line).await {
            Ok(account) => account.left(),
            Err(error) => {
                tracing::warn!("what SES allows is not known: {error}");
                None
            }
        };
        match self.dispatcher.run(self.clock.now(), LIMIT, left).await {
            Ok(dispatched) => Some(dispatched),
            Err(error) => {
                tracing::warn!("the dispatch was cut short: {error}");
                None
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use millrace::domain::campaign::{Campaign, CampaignState};
    use millrace::domain::chunk::{Again, Sent, Verdict as Decided};
    use millrace::domain::local_time::When;
    use millrace::domain::pace::SendRate;
    use millrace::ports::{Campaigns, Chunks, Subscribers, Written};
    use millrace::testing::builders::{draft, reader, tenant};
    use millrace::testing::{ManualClock, MemoryAccount, MemoryCampaigns, MemoryPace, MemoryQueue, MemorySubscribers};
    use serde_json::json;

    struct World {
        clock: ManualClock,
        campaigns: Arc<MemoryCampaigns>,
        hints: MemoryQueue,
        chunks: MemoryQueue,
        dead_letters: MemoryQueue,
        runner: Runner,
        campaign: Campaign,
    }

    async fn world(when: When, readers: usize) -> World {
        let clock = ManualClock::at("2026-07-01T12:00:00Z".parse().unwrap());
        let campaigns = Arc::new(MemoryCampaigns::default());
        let subscribers = Arc::new(MemorySubscribers::default());
        for i in 0..readers {
            subscribers.add(&reader(i)).await.unwrap();
        }
        let draft = draft("News", when, clock.now());
        let campaign = draft.start(clock.now()).unwrap();
        Campaigns::create(&*campaigns, &campaign).await.unwrap();
        let [hints, chunks, dead_letters] = std::array::from_fn(|_| MemoryQueue::new(Arc::new(clock.clone())));
        let dispatcher = Dispatcher {
            campaigns: campaigns.clone(),
            chunks: campaigns.clone(),
            line: Arc::new(MemoryPace::default()),
            queue: Arc::new(chunks.clone()),
            limit: SendRate::per_second(10.0).ok(),
        };
        let runner = Runner {
            planner: Planner {
                campaigns: campaigns.clone(),
                chunks: campaigns.clone(),
                subscribers,
                clock: Arc::new(clock.clone()),
                page: 100,
            },
            dispatcher,
            account: Arc::new(MemoryAccount::default()),
            queue: Arc::new(hints.clone()),
            dead_letters: Arc::new(dead_letters.clone()),
            clock: Arc::new(clock.clone()),
        };
        World { clock, campaigns, hints, chunks, dead_letters, runner, campaign }
    }

    impl World {
        fn minutes(&self, minutes: u64) -> Timestamp {
            self.clock.now() + Duration::from_secs(60 * minutes)
        }

        async fn state(&self) -> (CampaignState, u64) {
            let campaign = self.campaigns.meta(&self.campaign.id).await.unwrap().unwrap();
            (campaign.state, campaign.total)
        }

        /// A worker has sent a chunk.
        async fn sent(&self, number: u32) {
            let now = self.clock.now();
            let chunk = Chunks::get(&*self.campaigns, &self.campaign.id, number).await.unwrap().unwrap();
            let verdicts: Vec<_> = chunk.pending().into_iter().map(|place| (place, Decided::Send)).collect();
            let claimed = chunk.claim("worker", &verdicts, now, now).unwrap();
            let sent: Vec<_> = verdicts.iter().map(|(place, _)| (*place, Sent::Accepted("id".to_owned()))).collect();
            let recorded = claimed.record("worker", &sent, Again::At(now), now).unwrap();
            for (before, after) in [(&chunk, &claimed), (&claimed, &recorded)] {
                assert_eq!(Chunks::update(&*self.campaigns, before, after).await.unwrap(), Written::Done);
            }
        }

        async fn hinted(&self) -> SqsEvent {
            self.hints.send_one(CampaignHint::message(self.campaign.id.clone(), tenant())).await.unwrap();
            self.hints.receive(1, Duration::from_secs(300), || 0.0)
        }
    }

    #[tokio::test]
    async fn a_hint_freezes_the_audience_and_chunks_go_out_ahead_of_the_rate() {
        let world = world(When::Now, 1_000).await;
        let event = world.hinted().await;
        assert_eq!(world.runner.hint(&event.records[0], world.minutes(1)).await, Verdict::Acknowledge);
        assert_eq!(world.state().await, (CampaignState::Sending, 1_000));
        // 90 s at 10 a second are 900 letters: 18 chunks of 50.
        let dispatched = world.runner.dispatch().await.unwrap();
        assert_eq!((dispatched.chunks, dispatched.mails, dispatched.held_back), (18, 900, true));
        assert_eq!(world.chunks.all().len(), 18);
        world.clock.advance(Duration::from_secs(60));
        let dispatched = world.runner.dispatch().await.unwrap();
        assert_eq!((dispatched.chunks, dispatched.held_back), (0, true), "what waits on the queue is enough");
        for number in 0..18 {
            world.sent(number).await;
        }
        let dispatched = world.runner.dispatch().await.unwrap();
        assert_eq!((dispatched.chunks, dispatched.held_back), (2, false));
    }

    #[tokio::test]
    async fn without_time_the_same_hint_comes_again_at_once() {
        let world = world(When::Now, 10).await;
        let event = world.hinted().await;
        assert_eq!(world.runner.hint(&event.records[0], world.clock.now()).await, Verdict::Keep);
        assert_eq!(world.hints.receive(1, Duration::ZERO, || 0.0).records.len(), 1);
        assert_eq!(world.hints.all().len(), 1, "and no other one is sent");
    }

    #[tokio::test]
    async fn an_unreadable_hint_is_put_aside() {
        let world = world(When::Now, 1).await;
        let mut event = world.hinted().await;
        event.records[0].body = Some("hello".to_owned());
        assert_eq!(world.runner.hint(&event.records[0], world.minutes(1)).await, Verdict::Acknowledge);
        assert_eq!(world.dead_letters.all()[0].body, "hello");
    }

    #[tokio::test]
    async fn a_tick_opens_what_is_due_and_nothing_else() {
        // 10:00 of the 3rd begins at 20:00 of the 2nd in UTC, in the Pacific.
        let world = world(When::On("2026-07-03".parse().unwrap()), 26).await;
        assert_eq!(world.runner.tick(world.minutes(1)).await, Status::default());
        world.clock.advance(Duration::from_secs(32 * 3_600));
        let status = world.runner.tick(world.minutes(1)).await;
        assert_eq!((status.frozen, status.dispatched.chunks, status.errors), (1, 0, 0), "nobody's hour has come");
        assert_eq!(world.state().await, (CampaignState::Sending, 26));
        // Auckland's 10:00.
        world.clock.advance(Duration::from_secs(2 * 3_600));
        let status = world.runner.tick(world.minutes(1)).await;
        assert_eq!((status.dispatched.chunks, status.dispatched.mails), (1, 2));
    }

    #[tokio::test]
    async fn a_failing_campaign_harms_no_other() {
        let world = world(When::Now, 10).await;
        let other = draft("Other", When::Now, world.clock.now()).start(world.clock.now()).unwrap();
        Campaigns::create(&*world.campaigns, &other).await.unwrap();
        world.campaigns.faults.refuse_next("meta");
        let status = world.runner.tick(world.minutes(1)).await;
        assert_eq!((status.errors, status.frozen), (1, 1));
        assert_eq!(world.runner.tick(world.minutes(1)).await.errors, 0);
        assert_eq!(world.state().await.0, CampaignState::Sending);
    }

    #[test]
    fn hints_are_told_from_the_schedule() {
        assert!(hints(&json!({})).unwrap().is_none());
        assert!(hints(&json!("tick")).unwrap().is_none());
        let event = json!({"Records": [{"messageId": "m", "body": "{}"}]});
        assert_eq!(hints(&event).unwrap().unwrap().records[0].body.as_deref(), Some("{}"));
        assert!(hints(&json!({"Records": 1})).is_err());
        let sample: Value = serde_json::from_str(include_str!("../../../events/newsletter-run.hint.json")).unwrap();
        let sample = hints(&sample).unwrap().unwrap();
        assert!(CampaignHint::parse(sample.records[0].body.as_deref().unwrap()).is_ok());
        let schedule: Value = serde_json::from_str(include_str!("../../../events/newsletter-run.json")).unwrap();
        assert!(hints(&schedule).unwrap().is_none());
    }
}
