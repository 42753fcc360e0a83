//! A campaign, its audience and everything a worker needs, in memory and on virtual time.

use crate::handler::{Sender, Settings};
use crate::letters::Letters;
use async_trait::async_trait;
use aws_lambda_events::event::sqs::SqsMessage;
use jiff::{SignedDuration, Timestamp};
use millrace::campaigns::{Dispatcher, Keeper, Planner};
use millrace::domain::address::Mailbox;
use millrace::domain::chunk::SendEvent;
use millrace::domain::id::{CampaignId, NewsletterId};
use millrace::domain::letter::LetterSource;
use millrace::domain::local_time::When;
use millrace::domain::people::{Subscriber, SubscriberKey};
use millrace::domain::token::{TOKEN_KEY_BYTES, TokenKey, Tokens};
use millrace::ports::{
    Added, Blobs, CampaignView, Campaigns, Chunks, Clock, Mail, MailError, Mailer, PortError, SubscriberPage,
    Subscribers,
};
use millrace::testing::builders::{draft, newsletter, reader};
use millrace::testing::{MemoryBlobs, MemoryCampaigns, MemoryQueue, MemorySubscribers, VirtualClock};
use std::cell::Cell;
use std::sync::{Arc, Mutex};
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

/// SES as it behaves on a bad day: each part of `faults` is the share of sends it happens to.
#[derive(Clone, Copy, Default)]
pub(crate) struct Faults {
    pub(crate) throttled: f64,
    pub(crate) unreachable: f64,
    pub(crate) accepted_without_answer: f64,
    pub(crate) lost_on_the_way: f64,
    pub(crate) event_delay: f64,
}

/// SES, its account of what it accepted, and the events it sends.
#[derive(Clone)]
pub(crate) struct FakeSes {
    pub(crate) accepted: Arc<Mutex<Vec<(Timestamp, Mail)>>>,
    pub(crate) faults: Arc<Mutex<Faults>>,
    chunks: Arc<MemoryCampaigns>,
    clock: VirtualClock,
}

impl FakeSes {
    fn accept(&self, mail: &Mail) -> String {
        let message_id = {
            let mut accepted = self.accepted.lock().unwrap();
            accepted.push((self.clock.now(), mail.clone()));
            format!("ses-{}", accepted.len())
        };
        let tag = |name: &str| mail.tags.iter().find(|(tag, _)| tag == name).unwrap().1.clone();
        let (campaign, chunk) = (CampaignId::parse(tag("campaign")).unwrap(), tag("chunk").parse().unwrap());
        let (recipient, attempt) = (tag("recipient").parse().unwrap(), tag("attempt").parse().unwrap());
        let event = SendEvent { recipient, attempt, message_id: message_id.clone() };
        let (chunks, clock) = (self.chunks.clone(), self.clock);
        let delay = Duration::from_secs_f64(self.faults.lock().unwrap().event_delay * dice());
        tokio::spawn(async move {
            // Events come late, out of order and sometimes twice; the queue brings them until they are noted.
            tokio::time::sleep(delay).await;
            for _ in 0..1 + usize::from(dice() < 0.1) {
                while Chunks::seen(&*chunks, &campaign, chunk, &event, clock.now()).await.is_err() {}
            }
        });
        message_id
    }
}

#[async_trait]
impl Mailer for FakeSes {
    async fn send(&self, mail: &Mail) -> Result<String, MailError> {
        let faults = *self.faults.lock().unwrap();
        tokio::time::sleep(Duration::from_millis((dice() * 200.0) as u64)).await;
        if dice() < faults.throttled {
            return Err(MailError::Throttled("slow down".into()));
        }
        if dice() < faults.unreachable {
            return Err(MailError::NotSent("no connection".into()));
        }
        if dice() < faults.lost_on_the_way {
            return Err(MailError::Unknown("the connection broke".into()));
        }
        let message_id = self.accept(mail);
        tokio::time::sleep(Duration::from_millis((dice() * 200.0) as u64)).await;
        if dice() < faults.accepted_without_answer {
            return Err(MailError::Unknown("the connection broke".into()));
        }
        Ok(message_id)
    }
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
    pub(crate) subscribers: Arc<MemorySubscribers>,
    pub(crate) blobs: Arc<MemoryBlobs>,
    pub(crate) queue: MemoryQueue,
    pub(crate) planner_queue: MemoryQueue,
    pub(crate) dead_letters: MemoryQueue,
    pub(crate) ses: FakeSes,
    pub(crate) tokens: Tokens,
    pub(crate) sender: Arc<Sender>,
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
        let ses = FakeSes { accepted: Arc::default(), faults: Arc::default(), chunks: campaigns.clone(), clock };
        let settle = SignedDuration::from_secs(120);
        let tokens = Tokens::new(TokenKey::generate(&[7; TOKEN_KEY_BYTES]).into());
        let sender = Arc::new(Sender {
            campaigns: campaigns.clone(),
            chunks: campaigns.clone(),
            subscribers: subscribers.clone(),
            pace: campaigns.clone(),
            mailer: Arc::new(ses.clone()),
            letters: Letters::new(blobs.clone()),
            tokens: tokens.clone(),
            queue: Arc::new(queue.clone()),
            dead_letters: Arc::new(dead_letters.clone()),
            clock: Arc::new(clock),
            dice,
            settings: Settings { rate, settle, public_url: "https://api.example.com".to_owned() },
        });
        let dispatcher = Dispatcher {
            campaigns: campaigns.clone(),
            chunks: campaigns.clone(),
            pace: campaigns.clone(),
            queue: Arc::new(queue.clone()),
            rate,
        };
        let keeper = Keeper { dispatcher, planner_queue: Arc::new(planner_queue.clone()), settle };
        let planner = Planner {
            campaigns: campaigns.clone(),
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
            subscribers,
            blobs,
            queue,
            planner_queue,
            dead_letters,
            ses,
            tokens,
            sender,
            keeper,
            planner,
            campaign,
        };
        world.start(when).await;
        world
    }

    async fn start(&self, when: When) {
        let source = LetterSource {
            subject: SUBJECT.to_owned(),
            html: "<p>Dear {{ name or 'reader' }},</p><p>news.</p><p>{{ newsletter.postal_address }} \
                   <a href=\"{{ unsubscribe_url }}\">Unsubscribe</a></p>"
                .to_owned(),
            text: None,
            newsletter_name: "The Weekly".to_owned(),
            postal_address: "1 Mill Lane, Watertown".to_owned(),
            from: Mailbox::parse("The Weekly <news@example.com>").unwrap(),
            reply_to: None,
        };
        let body = serde_json::to_vec(&source).unwrap();
        self.blobs.put(&LetterSource::blob_key(&self.campaign), body, "application/json").await.unwrap();
        let draft = draft(&source.subject, when, self.clock.now());
        Campaigns::create(&*self.campaigns, &draft).await.unwrap();
        let started = draft.start(self.clock.now()).unwrap();
        Campaigns::update(&*self.campaigns, &draft, &started).await.unwrap();
    }

    /// Freezes the audience and dispatches what is due.
    pub(crate) async fn freeze(&self) {
        self.planner.advance(&self.campaign, self.deadline()).await.unwrap();
        self.keeper.dispatcher.run(self.clock.now(), 1_000).await.unwrap();
    }

    pub(crate) async fn view(&self) -> CampaignView {
        loop {
            if let Ok(view) = Campaigns::get(&*self.campaigns, &self.campaign).await {
                return view.unwrap();
            }
        }
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
