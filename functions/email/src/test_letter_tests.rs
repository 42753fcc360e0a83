use super::*;
use jiff::Timestamp;
use millrace::domain::address::EmailAddress;
use millrace::domain::campaign::Campaign;
use millrace::domain::id::JobId;
use millrace::domain::local_time::When;
use millrace::domain::suppression::Reason;
use millrace::domain::token::{Claim, TOKEN_KEY_BYTES, TokenKey};
use millrace::job::Job as _;
use millrace::jobs::{JobMessage, Worker};
use millrace::ports::{Blobs, Clock as _, Jobs as _, Mail, MailError, MailLedger as _, Queue as _};
use millrace::queues::OwnQueues;
use millrace::testing::builders::{draft, letter, newsletter, reader, tenant};
use millrace::testing::{
    ManualClock, MemoryBlobs, MemoryCampaigns, MemoryJobs, MemoryLimits, MemoryMailLedger, MemoryMailer, MemoryQueue,
    MemoryQueues, MemorySubscribers, MemorySuppressions, conformance,
};
use millrace::worker::handlers::Handlers;
use millrace::worker::limits::Limiter;
use millrace::worker::runner::Runner;
use std::sync::Arc;
use std::time::Duration;

struct World {
    clock: ManualClock,
    jobs: MemoryJobs,
    queue: MemoryQueue,
    ledger: MemoryMailLedger,
    mailer: MemoryMailer,
    tokens: Tokens,
    suppressions: MemorySuppressions,
    campaign: Campaign,
    runner: Runner,
    handlers: Handlers,
}

async fn world() -> World {
    let clock = ManualClock::default();
    let (jobs, queues) = (MemoryJobs::default(), MemoryQueues::new(Arc::new(clock.clone())));
    let (campaigns, subscribers) = (MemoryCampaigns::default(), MemorySubscribers::default());
    let (blobs, ledger, mailer) = (MemoryBlobs::default(), MemoryMailLedger::default(), MemoryMailer::default());
    for i in 0..4 {
        subscribers.add(&reader(i)).await.unwrap();
    }
    let campaign = draft("News", When::Now, clock.now());
    let version = letters::store(&blobs, &campaign.id, &letter("News for {{ name or 'you' }}")).await.unwrap();
    let campaign = Campaign { letter: version, ..campaign };
    campaigns.create(&campaign).await.unwrap();
    let tokens = Tokens::new(TokenKey::generate(&[7; TOKEN_KEY_BYTES]).into());
    let suppressions = MemorySuppressions::default();
    let runner = Runner {
        jobs: Arc::new(jobs.clone()),
        blobs: Arc::new(blobs.clone()) as Arc<dyn Blobs>,
        queues: OwnQueues::open(Worker::Email, |name| queues.open(name)),
        limiter: Arc::new(Limiter::new(Arc::new(MemoryLimits::default()))),
        clock: Arc::new(clock.clone()),
        dice: || 0.5,
    };
    let proofs = Arc::new(Proofs {
        campaigns: Box::new(campaigns),
        subscribers: Box::new(subscribers),
        suppressions: Arc::new(suppressions.clone()),
        letters: Arc::new(Letters::new(Arc::new(blobs))),
        tokens: tokens.clone(),
        public_url: "https://api.example.com".to_owned(),
    });
    let (its_ledger, its_mailer) = (ledger.clone(), mailer.clone());
    let handlers = Handlers::new().on::<TestLetter, _, _>(move |job, attempt| {
        let (proofs, ledger, mailer) = (proofs.clone(), its_ledger.clone(), its_mailer.clone());
        async move {
            let post = Post { ledger: &ledger, mailer: &mailer, settle: Duration::from_secs(900) };
            proofs.send(post, job, &attempt).await
        }
    });
    World { clock, jobs, queue: queues.get("email"), ledger, mailer, tokens, suppressions, campaign, runner, handlers }
}

impl World {
    fn test(&self, to: &str) -> TestLetter {
        TestLetter {
            campaign: self.campaign.id.clone(),
            letter: self.campaign.letter.clone(),
            to: EmailAddress::parse(to).unwrap(),
            subscriber: None,
        }
    }

    async fn job(&self, name: &str, of: &Tenant, test: &TestLetter) -> JobId {
        let mut job = conformance::queued_job(name, self.clock.now());
        job.kind = TestLetter::KIND.into();
        job.tenant = of.clone();
        job.payload = millrace::domain::job::Stored::Inline(json!(test));
        self.jobs.create(&job, false).await.unwrap();
        self.queue.send_one(JobMessage::carrying(&job, Some(json!(test)), Duration::ZERO)).await.unwrap();
        job.id
    }

    async fn deliver(&self) {
        let event = self.queue.receive(10, Duration::from_secs(180), || 0.0);
        let deadline: Timestamp = self.clock.now() + Duration::from_secs(30);
        let response = self.runner.batch(&self.handlers, event.clone(), deadline).await;
        self.queue.answered(&event, &response);
    }

    async fn class(&self, id: &JobId) -> Option<String> {
        self.jobs.get(id).await.unwrap().unwrap().error.map(|error| error.class)
    }
}

fn tags(mail: &Mail) -> Vec<&str> {
    mail.tags.iter().map(|(name, _)| name.as_str()).collect()
}

#[tokio::test]
async fn a_test_is_the_letter_but_for_its_mark() {
    let world = world().await;
    let id = world.job("one", &tenant(), &world.test("reader1@example.com")).await;
    world.deliver().await;
    let mail = world.mailer.sent().remove(0).1;
    assert_eq!((mail.subject.as_str(), mail.to.as_str()), ("[Test] News for Reader 1", "reader1@example.com"));
    assert_eq!(tags(&mail), ["job", "tenant", "test", "mail"], "no tag of the campaign's account");
    let link = mail.headers.iter().find(|(name, _)| name == "List-Unsubscribe").unwrap().1.clone();
    let token = link.trim_matches(['<', '>']).strip_prefix("https://api.example.com/unsubscribe?token=").unwrap();
    let claim = Claim::Unsubscribe { tenant: tenant(), subscriber: reader(1).id() };
    assert_eq!(world.tokens.open(token), Ok(claim));
    assert!(mail.html.contains(token) && mail.text.contains(token));
    assert_eq!(world.class(&id).await, None);
}

#[tokio::test]
async fn a_test_as_another_reader_unsubscribes_nobody_else() {
    let world = world().await;
    let to = "editor@example.org";
    let as_reader = TestLetter { subscriber: Some(reader(2).id()), ..world.test(to) };
    world.job("as", &tenant(), &as_reader).await;
    world.job("plain", &tenant(), &world.test(to)).await;
    world.deliver().await;
    let sent = world.mailer.sent();
    let subjects: Vec<_> = sent.iter().map(|(_, mail)| mail.subject.as_str()).collect();
    assert!(
        subjects.contains(&"[Test] News for Reader 2") && subjects.contains(&"[Test] News for you"),
        "{subjects:?}"
    );
    let own = SubscriberKey::of(&newsletter(), &EmailAddress::parse(to).unwrap()).id();
    for (_, mail) in &sent {
        assert_eq!(mail.to, to);
        let token = mail.text.split("token=").nth(1).unwrap().trim();
        assert_eq!(world.tokens.open(token), Ok(Claim::Unsubscribe { tenant: tenant(), subscriber: own.clone() }));
    }
}

#[tokio::test]
async fn a_test_is_sent_once_however_often_it_is_tried() {
    let world = world().await;
    world.mailer.fail_next(true, MailError::Unknown("time-out".into()));
    let id = world.job("one", &tenant(), &world.test("editor@example.org")).await;
    world.deliver().await;
    let name = format!("test-{id}");
    world.ledger.open(&name, world.clock.now()).await.unwrap();
    world.ledger.accepted(&name, "ses-1", world.clock.now()).await.unwrap();
    for _ in 0..3 {
        world.clock.advance(Duration::from_secs(60));
        world.deliver().await;
    }
    assert_eq!(world.mailer.sent().len(), 1);
    assert!(world.jobs.get(&id).await.unwrap().unwrap().state.is_final());
}

#[tokio::test]
async fn what_is_not_the_tenants_is_not_there() {
    let world = world().await;
    let stranger = Tenant::parse("stranger").unwrap();
    let id = world.job("one", &stranger, &world.test("editor@example.org")).await;
    world.deliver().await;
    assert_eq!(world.class(&id).await.as_deref(), Some("permanent"));
    assert!(world.mailer.sent().is_empty());
}

#[tokio::test]
async fn a_suppressed_address_gets_no_test_either() {
    let world = world().await;
    let test = world.test("editor@example.org");
    world.suppressions.suppress(&tenant(), &test.to, Reason::Complaint, world.clock.now()).await.unwrap();
    let id = world.job("one", &tenant(), &test).await;
    world.deliver().await;
    assert!(world.mailer.sent().is_empty());
    let job = world.jobs.get(&id).await.unwrap().unwrap();
    let result = job.result.expect("a result");
    assert!(job.state.is_final() && format!("{result:?}").contains("the address is suppressed"), "{result:?}");
}
