//! A campaign, its audience and everything a worker needs, in memory and on virtual time.

use crate::fake_ses::FakeSes;
use crate::handler::{Sender, Settings};
use async_trait::async_trait;
use aws_lambda_events::event::sqs::SqsMessage;
use jiff::{SignedDuration, Timestamp};
use millrace::campaigns::{Dispatcher, Keeper, Listener, Planner, change};
use millrace::domain::campaign::{Campaign, WrongState};
use millrace::domain::id::{CampaignId, NewsletterId};
use millrace::domain::local_time::When;
use millrace::domain::pace::SendRate;
use millrace::domain::people::{Subscriber, SubscriberChange, SubscriberKey};
use millrace::domain::sequence::Enrolment;
use millrace::domain::token::{TOKEN_KEY_BYTES, TokenKey, Tokens};
use millrace::letters::{self, Letters};
use millrace::ports::{Added, CampaignView, Campaigns, Clock, PortError, SubscriberPage, Subscribers};
use millrace::testing::builders::{draft, letter, newsletter, reader};
use millrace::testing::{
    MemoryAccount, MemoryBlobs, MemoryCampaigns, MemoryPace, MemoryQueue, MemorySubscribers, MemorySuppressions,
    VirtualClock,
};
use std::cell::Cell;
use std::sync::Arc;
use std::time::Duration;

const SUBJECT: &str = "The river is high, {{ name or 'reader' }}";

thread_local! {
    static SEED: Cell<u64> = const { Cell::new(1) };
}

pub(crate) fn seed(seed: u64) {
    SEED.set(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1);
}

/// A number from 0 to 1 of a sequence that the seed fixes (xorshift64*).
pub(crate) fn dice() -> f64 {
    SEED.with(|state| {
        let mut x = state.get();
        x ^= x >> 12;
        x ^= x << 25;
        x ^= x >> 27;
        state.set(x);
        (x.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 11) as f64 / (1u64 << 53) as f64
    })
}

/// Subscribers that take their time, so that planners at work on one campaign get between each other.
struct Slow(Arc<MemorySubscribers>);

#[async_trait]
impl Subscribers for Slow {
    async fn add(&self, subscriber: &Subscriber) -> Result<Added<Subscriber>, PortError> {
        self.0.add(subscriber).await
    }

    async fn get(&self, keys: &[SubscriberKey]) -> Result<Vec<Option<Subscriber>>, PortError> {
        self.0.get(keys).await
    }

    async fn change(&self, key: &SubscriberKey, change: &SubscriberChange) -> Result<Option<Subscriber>, PortError> {
        self.0.change(key, change).await
    }

    async fn confirm(&self, confirmed: &Subscriber) -> Result<Subscriber, PortError> {
        self.0.confirm(confirmed).await
    }

    async fn advance(&self, key: &SubscriberKey, enrolment: &Enrolment) -> Result<(), PortError> {
        self.0.advance(key, enrolment).await
    }

    async fn remove(&self, key: &SubscriberKey) -> Result<(), PortError> {
        self.0.remove(key).await
    }

    async fn unsubscribe(&self, key: &SubscriberKey, at: Timestamp) -> Result<bool, PortError> {
        self.0.unsubscribe(key, at).await
    }

    async fn page(&self, of: &NewsletterId, after: Option<&str>, limit: usize) -> Result<SubscriberPage, PortError> {
        tokio::time::sleep(Duration::from_millis((dice() * 300.0) as u64)).await;
        self.0.page(of, after, limit).await
    }
}

pub(crate) struct World {
    pub(crate) clock: VirtualClock,
    pub(crate) campaigns: Arc<MemoryCampaigns>,
    pub(crate) pace: Arc<MemoryPace>,
    pub(crate) suppressions: Arc<MemorySuppressions>,
    pub(crate) subscribers: Arc<MemorySubscribers>,
    pub(crate) blobs: Arc<MemoryBlobs>,
    pub(crate) queue: MemoryQueue,
    pub(crate) planner_queue: MemoryQueue,
    pub(crate) dead_letters: MemoryQueue,
    pub(crate) ses: FakeSes,
    pub(crate) tokens: Tokens,
    pub(crate) sender: Arc<Sender>,
    pub(crate) listener: Arc<Listener>,
    pub(crate) keeper: Keeper,
    pub(crate) planner: Planner,
    pub(crate) campaign: CampaignId,
}

impl World {
    /// `audience` subscribers, a started campaign, and workers that send `rate` mails a second.
    pub(crate) async fn new(audience: usize, when: When, rate: f64) -> Self {
        let clock = VirtualClock::starting("2026-07-01T12:00:00Z".parse().unwrap());
        let campaigns = Arc::new(MemoryCampaigns::default());
        let subscribers = Arc::new(MemorySubscribers::default());
        let blobs = Arc::new(MemoryBlobs::default());
        let [queue, planner_queue, dead_letters] = std::array::from_fn(|_| MemoryQueue::new(Arc::new(clock)));
        let pace = Arc::new(MemoryPace::default());
        let suppressions = Arc::new(MemorySuppressions::default());
        let ses = FakeSes::new(clock);
        let limit = SendRate::per_second(rate).ok();
        let settle = SignedDuration::from_secs(120);
        let tokens = Tokens::new(TokenKey::generate(&[7; TOKEN_KEY_BYTES]).into());
        let sender = Arc::new(Sender {
            campaigns: campaigns.clone(),
            chunks: campaigns.clone(),
            subscribers: subscribers.clone(),
            suppressions: suppressions.clone(),
            pace: pace.clone(),
            line: pace.clone(),
            mailer: Arc::new(ses.clone()),
            letters: Letters::new(blobs.clone()),
            tokens: tokens.clone(),
            queue: Arc::new(queue.clone()),
            dead_letters: Arc::new(dead_letters.clone()),
            clock: Arc::new(clock),
            dice,
            settings: Settings { limit, settle, public_url: "https://api.example.com".to_owned() },
        });
        let dispatcher = Dispatcher {
            campaigns: campaigns.clone(),
            chunks: campaigns.clone(),
            line: pace.clone(),
            queue: Arc::new(queue.clone()),
            limit,
        };
        let planner_queue_port = Arc::new(planner_queue.clone());
        let keeper = Keeper {
            dispatcher,
            account: Arc::new(MemoryAccount::default()),
            planner_queue: planner_queue_port,
            settle,
        };
        let listener = Listener::new(campaigns.clone(), campaigns.clone(), suppressions.clone(), pace.clone(), dice);
        let planner = Planner {
            campaigns: campaigns.clone(),
            chunks: campaigns.clone(),
            subscribers: Arc::new(Slow(subscribers.clone())),
            clock: Arc::new(clock),
            page: 170,
        };
        for i in 0..audience {
            subscribers.add(&reader(i)).await.unwrap();
        }
        let campaign = CampaignId::derived(&[SUBJECT]);
        let world = Self {
            clock,
            campaigns,
            pace,
            suppressions,
            subscribers,
            blobs,
            queue,
            planner_queue,
            dead_letters,
            ses,
            tokens,
            sender,
            listener: Arc::new(listener),
            keeper,
            planner,
            campaign,
        };
        world.start(when).await;
        world
    }

    async fn start(&self, when: When) {
        let version = letters::store(&*self.blobs, &self.campaign, &letter(SUBJECT)).await.unwrap();
        let draft = Campaign { letter: version, ..draft(SUBJECT, when, self.clock.now()) };
        Campaigns::create(&*self.campaigns, &draft).await.unwrap();
        let started = draft.start(self.clock.now()).unwrap();
        Campaigns::update(&*self.campaigns, &draft, &started).await.unwrap();
    }

    /// Freezes the audience and dispatches what is due.
    pub(crate) async fn freeze(&self) {
        self.planner.advance(&self.campaign, self.deadline()).await.unwrap();
        self.keeper.dispatcher.run(self.clock.now(), 1_000, None).await.unwrap();
    }

    pub(crate) async fn view(&self) -> CampaignView {
        loop {
            if let Ok(view) = Campaigns::get(&*self.campaigns, &self.campaign).await {
                return view.unwrap();
            }
        }
    }

    /// Changes the campaign.
    pub(crate) async fn change(&self, to: impl Fn(&Campaign) -> Result<Campaign, WrongState>) {
        while change(&*self.campaigns, &self.campaign, &to).await.is_err() {}
    }

    /// Takes in the events that have come, as often as it takes.
    pub(crate) async fn hear(&self) {
        let (ids, heard) = self.ses.receive(usize::MAX);
        let noted = self.listener.hear(&heard, self.clock.now()).await;
        let ids: Vec<u64> = ids.into_iter().zip(noted).filter(|(_, noted)| *noted).map(|(id, _)| id).collect();
        self.ses.delete(&ids);
    }

    /// When an invocation that begins now ends.
    pub(crate) fn deadline(&self) -> Timestamp {
        self.clock.now() + Duration::from_secs(60)
    }

    /// Messages to work on, hidden from others for six times an invocation's length.
    pub(crate) fn receive(&self, most: usize) -> Vec<SqsMessage> {
        self.queue.receive(most, Duration::from_secs(360), dice).records
    }

    /// The addresses of the accepted mails.
    pub(crate) fn addresses(&self) -> Vec<String> {
        self.ses.accepted.lock().unwrap().iter().map(|(_, mail)| mail.to.clone()).collect()
    }

    /// The address at a place of a chunk.
    pub(crate) async fn subscriber_at(&self, chunk: usize, place: usize) -> String {
        let digest = self.campaigns.chunks_of(&self.campaign)[chunk].recipients[place].digest.clone();
        let key = SubscriberKey::new(newsletter(), digest).unwrap();
        let found = self.subscribers.get(&[key]).await.unwrap();
        found[0].as_ref().unwrap().email.as_str().to_owned()
    }
}
