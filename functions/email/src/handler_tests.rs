use super::*;
use jiff::Timestamp;
use millrace::domain::address::EmailAddress;
use millrace::domain::id::{JobId, Tenant};
use millrace::domain::people::User;
use millrace::job::Job as _;
use millrace::jobs::{JobMessage, Worker};
use millrace::ports::{Blobs, Clock as _, Jobs as _, Queue as _};
use millrace::queues::OwnQueues;
use millrace::testing::{
    ManualClock, MemoryBlobs, MemoryJobs, MemoryMailLedger, MemoryMailer, MemoryQueue, MemoryQueues, MemoryUsers,
    conformance,
};
use millrace::worker::handlers::Handlers;
use millrace::worker::runner::Runner;
use std::sync::Arc;

struct World {
    clock: ManualClock,
    jobs: MemoryJobs,
    queue: MemoryQueue,
    users: MemoryUsers,
    ledger: MemoryMailLedger,
    mailer: MemoryMailer,
    runner: Runner,
    handlers: Handlers,
}

fn world() -> World {
    let clock = ManualClock::default();
    let (jobs, queues) = (MemoryJobs::default(), MemoryQueues::new(Arc::new(clock.clone())));
    let (users, ledger, mailer) = (MemoryUsers::default(), MemoryMailLedger::default(), MemoryMailer::default());
    let runner = Runner {
        jobs: Arc::new(jobs.clone()),
        blobs: Arc::new(MemoryBlobs::default()) as Arc<dyn Blobs>,
        queues: OwnQueues::open(Worker::Email, |name| queues.open(name)),
        clock: Arc::new(clock.clone()),
        dice: || 0.5,
    };
    let desk = Arc::new(Desk {
        users: Box::new(users.clone()),
        ledger: Box::new(ledger.clone()),
        mailer: Box::new(mailer.clone()),
        letters: Letters::new().unwrap(),
        sender: "Millrace <welcome@example.com>".into(),
        settle: Duration::from_secs(900),
    });
    let handlers = Handlers::new().on::<Welcome, _, _>(move |job, attempt| {
        let desk = desk.clone();
        async move { desk.welcome(job, attempt).await }
    });
    World { clock, jobs, queue: queues.get("email"), users, ledger, mailer, runner, handlers }
}

fn ada(tenant: &str, now: Timestamp) -> User {
    let (tenant, email) = (Tenant::parse(tenant).unwrap(), EmailAddress::parse("ada@example.com").unwrap());
    User {
        id: User::id_of(&tenant, &email),
        tenant,
        email,
        name: Some("Ada".into()),
        time_zone: None,
        created_at: now,
        welcomed_at: None,
    }
}

impl World {
    /// Puts a welcome job for the user on the queue, under a name of its own.
    async fn job(&self, name: &str, user: &User) -> JobId {
        let mut job = conformance::queued_job(name, self.clock.now());
        job.kind = Welcome::KIND.into();
        let payload = json!({ "user": user.id });
        job.payload = millrace::domain::job::Stored::Inline(payload.clone());
        self.jobs.create(&job, false).await.unwrap();
        self.queue.send_one(JobMessage::carrying(&job, Some(payload), Duration::ZERO)).await.unwrap();
        job.id
    }

    async fn deliver(&self) {
        let event = self.queue.receive(10, Duration::from_secs(180), || 0.0);
        let deadline = self.clock.now() + Duration::from_secs(30);
        let response = self.runner.batch(&self.handlers, event.clone(), deadline).await;
        self.queue.answered(&event, &response);
    }
}

#[tokio::test]
async fn a_user_is_welcomed_once_however_many_jobs_there_are() {
    let world = world();
    let user = ada("conformance", world.clock.now());
    world.users.add(&user).await.unwrap();
    let (first, second) = (world.job("first", &user).await, world.job("second", &user).await);
    world.deliver().await;
    // The two ran side by side: the one that found the other's intent looks again later.
    world.clock.advance(Duration::from_secs(10));
    world.deliver().await;
    for id in [first, second] {
        assert!(world.jobs.get(&id).await.unwrap().unwrap().state.is_final());
    }
    let sent = world.mailer.sent();
    assert_eq!(sent.len(), 1);
    assert_eq!((sent[0].1.to.as_str(), sent[0].1.subject.as_str()), ("ada@example.com", "Welcome"));
    assert!(world.users.get(&user.id).await.unwrap().unwrap().welcomed_at.is_some());
}

#[tokio::test]
async fn a_mail_whose_record_was_lost_is_not_sent_again_once_its_event_came() {
    let world = world();
    let user = ada("conformance", world.clock.now());
    world.users.add(&user).await.unwrap();
    let id = world.job("one", &user).await;
    world.ledger.faults.refuse_next("accepted");
    world.deliver().await;
    let (message_id, mail) = world.mailer.sent().remove(0);
    let name = mail.tags.iter().find(|(name, _)| name == "mail").unwrap().1.clone();
    world.ledger.accepted(&name, &message_id, world.clock.now()).await.unwrap();
    world.clock.advance(Duration::from_secs(60));
    world.deliver().await;
    assert_eq!(world.mailer.sent().len(), 1);
    assert!(world.jobs.get(&id).await.unwrap().unwrap().state.is_final());
}

#[tokio::test]
async fn another_tenants_user_is_not_written_to() {
    let world = world();
    let user = ada("other", world.clock.now());
    world.users.add(&user).await.unwrap();
    let id = world.job("one", &user).await;
    world.deliver().await;
    assert!(world.mailer.sent().is_empty());
    assert_eq!(world.jobs.get(&id).await.unwrap().unwrap().error.unwrap().class, "permanent");
}

#[tokio::test]
async fn the_sample_event_is_a_message_of_this_worker() {
    let event = include_str!("../../../events/email.welcome.json");
    let event: serde_json::Value = serde_json::from_str(event).unwrap();
    let message = JobMessage::parse(event["Records"][0]["body"].as_str().unwrap()).unwrap();
    assert_eq!(message.kind, Welcome::KIND);
    assert!(serde_json::from_value::<Welcome>(message.payload.unwrap()).is_ok());
}
