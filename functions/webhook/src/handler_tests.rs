use super::*;
use http::HeaderMap;
use millrace::domain::id::Tenant;
use millrace::domain::job::{Job, State, Stored};
use millrace::domain::webhook::{SECRET_BYTES, Secret};
use millrace::jobs::Worker;
use millrace::ports::{Jobs as _, SystemClock, WebhookSecrets as _};
use millrace::queues::OwnQueues;
use millrace::testing::{Kit, MemoryBlobs, MemoryJobs, MemoryKeys, MemoryLimits, MemoryQueues, conformance};
use millrace::worker::handlers::Handlers;
use millrace::worker::limits::Limiter;
use millrace::worker::runner::Runner;
use serde_json::Value;
use std::sync::{Arc, Mutex};

/// Answers as it is told, and remembers what it was asked.
#[derive(Clone, Default)]
struct Endpoint {
    answers: Arc<Mutex<Vec<Result<Answered, NoAnswer>>>>,
    calls: Arc<Mutex<Vec<(String, HeaderMap, String)>>>,
}

#[async_trait]
impl Caller for Endpoint {
    async fn call(&self, call: &Call) -> Result<Answered, NoAnswer> {
        let mut headers = HeaderMap::new();
        for (name, value) in &call.headers {
            headers.insert(*name, value.parse().unwrap());
        }
        self.calls.lock().unwrap().push((call.url.as_str().to_owned(), headers, call.body.clone()));
        self.answers.lock().unwrap().pop().unwrap()
    }
}

fn answered(status: u16, retry_after: Option<u64>) -> Result<Answered, NoAnswer> {
    let retry_after = retry_after.map(Duration::from_secs);
    Ok(Answered { status, retry_after, snippet: String::new() })
}

struct World {
    endpoint: Endpoint,
    keys: MemoryKeys,
    jobs: MemoryJobs,
}

impl World {
    fn new() -> Self {
        Self { endpoint: Endpoint::default(), keys: MemoryKeys::default(), jobs: MemoryJobs::default() }
    }

    fn webhooks(&self) -> Arc<Webhooks> {
        Arc::new(Webhooks {
            caller: Box::new(self.endpoint.clone()),
            secrets: SecretBox::new(Arc::new(self.keys.clone()), || Ok(Secret::new([9; SECRET_BYTES]))),
            reach: Reach::Public,
        })
    }

    /// Runs a job once, with this answer. Gives it as it is then.
    async fn run(&self, payload: Value, answer: Result<Answered, NoAnswer>) -> Job {
        *self.endpoint.answers.lock().unwrap() = vec![answer];
        let now = jiff::Timestamp::now();
        let name = format!("webhook-{}", self.jobs.all().len());
        let mut job = conformance::queued_job(&name, now);
        (job.kind, job.payload, job.max_attempts) = ("webhook".to_owned(), Stored::Inline(payload), 12);
        self.jobs.create(&job, false).await.unwrap();
        self.again(&job).await
    }

    async fn again(&self, job: &Job) -> Job {
        let webhooks = self.webhooks();
        let clock = Arc::new(SystemClock);
        let queues = MemoryQueues::new(clock.clone());
        let runner = Runner {
            jobs: Arc::new(self.jobs.clone()),
            blobs: Arc::new(MemoryBlobs::default()),
            queues: OwnQueues::open(Worker::Webhook, |name| queues.open(name)),
            limiter: Arc::new(Limiter::new(Arc::new(MemoryLimits::default()))),
            clock,
            dice: || 0.5,
        };
        let handle = move |job, attempt| {
            let webhooks = Arc::clone(&webhooks);
            async move { webhooks.handle(job, attempt).await }
        };
        let handlers = Handlers::new().on::<Webhook, _, _>(handle);
        let message = millrace::jobs::JobMessage::carrying(job, None, Duration::ZERO);
        let queue = queues.get("webhook");
        millrace::ports::Queue::send_one(&queue, message).await.unwrap();
        let event = queue.receive(10, Duration::from_secs(180), || 0.0);
        runner.batch(&handlers, event, jiff::Timestamp::now() + Duration::from_secs(30)).await;
        self.jobs.get(&job.id).await.unwrap().unwrap()
    }
}

fn payload() -> Value {
    json!({"url": "https://example.com/hook", "type": "invoice.paid", "data": {"amount": 3}})
}

#[tokio::test]
async fn a_call_is_signed_so_that_the_standards_library_takes_it() {
    let world = World::new();
    let job = world.run(payload(), answered(204, None)).await;
    assert_eq!((job.state, job.result), (State::Succeeded, Some(Stored::Inline(json!({"status": 204})))));
    let (url, headers, body) = world.endpoint.calls.lock().unwrap()[0].clone();
    assert_eq!(url, "https://example.com/hook");
    let said: Value = serde_json::from_str(&body).unwrap();
    let at = job.created_at.to_string();
    assert_eq!(said, json!({"type": "invoice.paid", "timestamp": at, "data": {"amount": 3}}));
    let tenant = Tenant::parse("conformance").unwrap();
    let secrets = world.keys.ensure(&tenant, &Secret::new([0; SECRET_BYTES])).await.unwrap();
    let receiver = standardwebhooks::Webhook::new(&secrets.current.reveal()).unwrap();
    assert!(receiver.verify(body.as_bytes(), &headers).is_ok());
    assert_eq!(headers[ID_HEADER], job.id.as_str());
}

#[tokio::test]
async fn each_class_of_answer_has_its_outcome() {
    for (answer, state, class) in [
        (answered(500, None), State::Queued, Some("transient")),
        (answered(404, None), State::Queued, Some("transient")),
        (answered(302, None), State::Queued, Some("transient")),
        (answered(429, None), State::Queued, Some("throttled")),
        (answered(410, None), State::Dead, Some("permanent")),
        (Err(NoAnswer::Forbidden), State::Dead, Some("permanent")),
        (Err(NoAnswer::Failed("no answer".into())), State::Queued, Some("transient")),
        (answered(200, None), State::Succeeded, None),
    ] {
        let job = World::new().run(payload(), answer.clone()).await;
        let found = job.error.as_ref().map(|error| error.class.as_str());
        assert_eq!((job.state, found), (state, class), "{answer:?}");
    }
}

#[tokio::test]
async fn a_wait_that_is_asked_for_is_kept_within_reason() {
    for (status, seconds, expected) in [(429, 600, 600), (503, 600, 600), (429, 10_000_000, 86_400)] {
        let job = World::new().run(payload(), answered(status, Some(seconds))).await;
        let wait = job.run_at.unwrap().duration_since(job.updated_at).as_secs();
        assert!((expected - 2..=expected).contains(&wait), "{status}, {seconds}: {wait}");
    }
}

#[tokio::test]
async fn an_address_that_is_not_public_is_never_called() {
    for url in
        ["http://example.com/", "https://127.0.0.1/", "https://[::ffff:169.254.169.254]/", "http://127.0.0.1:80/"]
    {
        let world = World::new();
        let mut payload = payload();
        payload["url"] = json!(url);
        let job = world.run(payload, answered(200, None)).await;
        assert_eq!(job.state, State::Dead, "{url}");
        assert!(world.endpoint.calls.lock().unwrap().is_empty(), "{url}");
    }
}

#[tokio::test(start_paused = true)]
async fn the_sample_call_is_made() {
    let world = World::new();
    world.endpoint.answers.lock().unwrap().push(answered(204, None));
    let webhooks = world.webhooks();
    let handle = move |job, attempt| {
        let webhooks = Arc::clone(&webhooks);
        async move { webhooks.handle(job, attempt).await }
    };
    let kit = Kit::new(Worker::Webhook).on::<Webhook, _, _>(handle);
    assert!(kit.sample(include_str!("../../../events/webhook.json")).await.is_empty() && kit.dead_letters().is_empty());
    assert_eq!(kit.jobs.all()[0].state, State::Succeeded);
    assert_eq!(world.endpoint.calls.lock().unwrap()[0].0, "https://example.com/hook");
}
