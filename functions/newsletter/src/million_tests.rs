//! A campaign to a million readers, on virtual time: how long it takes at a rate, what it asks of AWS, and how much memory
//! an invocation holds. `MILLRACE_READERS` sets how many readers; a test run takes fewer, as the time goes by their number.

use crate::crowd::{Crowd, Ledger, Post};
use crate::handler::{Sender, Settings};
use crate::world::{dice, seed};
use allocation_counter::measure;
use jiff::{SignedDuration, Timestamp};
use millrace::campaigns::{Advanced, CHUNKS_PER_TICK, Dispatcher, Keeper, Listener, Planner};
use millrace::domain::campaign::{Campaign, CampaignState, PAGE};
use millrace::domain::chunk::{Chunk, MAX_RECIPIENTS};
use millrace::domain::id::CampaignId;
use millrace::domain::local_time::When;
use millrace::domain::pace::SendRate;
use millrace::domain::token::{TOKEN_KEY_BYTES, TokenKey, Tokens};
use millrace::letters::{self, Letters};
use millrace::ports::{CampaignView, Campaigns, Clock};
use millrace::testing::builders::{draft, letter};
use millrace::testing::prices;
use millrace::testing::{
    Faults, MemoryAccount, MemoryBlobs, MemoryCampaigns, MemoryPace, MemoryQueue, MemorySuppressions, VirtualClock,
};
use millrace::worker::batch::Verdict;
use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;

/// How a function's queue is read, as it is deployed: `batch` or `concurrency`.
fn deployed(function: &str, setting: &str) -> usize {
    let table: serde_json::Value = serde_json::from_str(include_str!("../../../infra/functions.json")).unwrap();
    let row = table["functions"].as_array().unwrap().iter().find(|row| row["name"] == function).unwrap();
    row["trigger"]["queue"][setting].as_u64().unwrap() as usize
}

/// How long an invocation may take.
const INVOCATION: Duration = Duration::from_secs(60);
/// The most that an invocation may hold: a quarter of the smallest function's memory.
const MOST_MEMORY: u64 = 32 << 20;

/// A future, and the most memory it held at a time.
struct Weighed<F> {
    work: Pin<Box<F>>,
    held: i64,
    most: u64,
}

impl<F: Future> Weighed<F> {
    fn new(work: F) -> Self {
        Self { work: Box::pin(work), held: 0, most: 0 }
    }
}

impl<F: Future> Future for Weighed<F> {
    type Output = (F::Output, u64);

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let mut polled = Poll::Pending;
        let memory = measure(|| polled = self.work.as_mut().poll(context));
        self.most = self.most.max(memory.bytes_max.saturating_add_signed(self.held));
        self.held += memory.bytes_current;
        let most = self.most;
        polled.map(|output| (output, most))
    }
}

/// How often each call was made, and what was invoked.
#[derive(Clone, Default)]
struct Calls(Arc<Mutex<BTreeMap<&'static str, u64>>>);

impl Calls {
    fn add(&self, call: &'static str) {
        *self.0.lock().unwrap().entry(call).or_default() += 1;
    }

    /// Counts a port's calls by the place where faults would come in: none does.
    fn watch(&self, faults: &Faults) {
        let calls = self.clone();
        faults.at_random(f64::MIN_POSITIVE, 0.0, move |call| {
            calls.add(call);
            1.0
        });
    }

    fn of(&self, call: &str) -> f64 {
        self.0.lock().unwrap().get(call).copied().unwrap_or_default() as f64
    }
}

struct Run {
    readers: usize,
    rate: f64,
    clock: VirtualClock,
    campaigns: Arc<MemoryCampaigns>,
    queue: MemoryQueue,
    post: Post,
    sender: Sender,
    listener: Listener,
    keeper: Keeper,
    planner: Planner,
    campaign: CampaignId,
    calls: Calls,
    memory: Mutex<BTreeMap<&'static str, u64>>,
}

impl Run {
    async fn new(readers: usize, rate: f64) -> Self {
        seed(7);
        let clock = VirtualClock::starting("2026-07-01T12:00:00Z".parse().unwrap());
        let calls = Calls::default();
        let campaigns = Arc::new(MemoryCampaigns::default());
        let blobs = Arc::new(MemoryBlobs::default());
        let [queue, planner_queue, dead_letters] = std::array::from_fn(|_| MemoryQueue::new(Arc::new(clock)));
        let (pace, suppressions) = (Arc::new(MemoryPace::default()), Arc::new(MemorySuppressions::default()));
        let draft = draft("million", When::Now, clock.now());
        let campaign = draft.id.clone();
        let version = letters::store(&*blobs, &campaign, &letter("News for {{ name or 'you' }}")).await.unwrap();
        let draft = Campaign { letter: version, ..draft };
        Campaigns::create(&*campaigns, &draft).await.unwrap();
        Campaigns::update(&*campaigns, &draft, &draft.start(clock.now()).unwrap()).await.unwrap();
        for faults in [&campaigns.faults, &pace.faults, &suppressions.faults, &queue.faults] {
            calls.watch(faults);
        }
        let crowd = Arc::new(Crowd::new(readers));
        calls.watch(&crowd.faults);
        let post = Post::new(readers, clock);
        let limit = SendRate::per_second(rate).ok();
        let settle = SignedDuration::from_secs(600);
        let sender = Sender {
            campaigns: campaigns.clone(),
            chunks: campaigns.clone(),
            subscribers: crowd.clone(),
            suppressions: suppressions.clone(),
            pace: pace.clone(),
            line: pace.clone(),
            mailer: Arc::new(post.clone()),
            letters: Letters::new(blobs),
            tokens: Tokens::new(TokenKey::generate(&[7; TOKEN_KEY_BYTES]).into()),
            queue: Arc::new(queue.clone()),
            dead_letters: Arc::new(dead_letters),
            clock: Arc::new(clock),
            dice,
            settings: Settings { limit, settle, public_url: "https://api.example.com".to_owned() },
        };
        let dispatcher = Dispatcher {
            campaigns: campaigns.clone(),
            chunks: campaigns.clone(),
            line: pace.clone(),
            queue: Arc::new(queue.clone()),
            limit,
        };
        let keeper = Keeper {
            dispatcher,
            account: Arc::new(MemoryAccount::default()),
            planner_queue: Arc::new(planner_queue),
            settle,
        };
        let listener = Listener::new(campaigns.clone(), campaigns.clone(), suppressions, pace, dice);
        let planner = Planner {
            campaigns: Arc::new(Ledger(campaigns.clone())),
            chunks: campaigns.clone(),
            subscribers: crowd,
            clock: Arc::new(clock),
            page: PAGE,
        };
        let memory = Mutex::default();
        Self {
            readers,
            rate,
            clock,
            campaigns,
            queue,
            post,
            sender,
            listener,
            keeper,
            planner,
            campaign,
            calls,
            memory,
        }
    }

    fn deadline(&self) -> Timestamp {
        self.clock.now() + INVOCATION
    }

    /// Runs an invocation: counts it, and what memory it held.
    async fn invoke<T>(&self, function: &'static str, work: impl Future<Output = T>) -> T {
        self.calls.add(function);
        let (output, most) = Weighed::new(work).await;
        let mut memory = self.memory.lock().unwrap();
        let before = memory.entry(function).or_default();
        *before = most.max(*before);
        output
    }

    async fn view(&self) -> CampaignView {
        Campaigns::get(&*self.campaigns, &self.campaign).await.unwrap().unwrap()
    }

    async fn work(&self) {
        loop {
            let mut event = self.queue.receive(1, Duration::from_secs(360), dice);
            let Some(record) = event.records.pop() else {
                tokio::time::sleep(Duration::from_millis(500)).await;
                continue;
            };
            let verdict = self.invoke("a chunk", self.sender.run(&record, self.deadline())).await;
            let kept: Vec<String> =
                (verdict == Verdict::Keep).then(|| record.message_id.clone().unwrap()).into_iter().collect();
            event.records.push(record);
            self.queue.settle(&event, &kept);
        }
    }

    async fn hear(&self) {
        let events = deployed("feedback", "batch");
        loop {
            let heard = self.post.receive(events);
            if heard.is_empty() {
                tokio::time::sleep(Duration::from_secs(5)).await;
                continue;
            }
            let noted = self.invoke("events", self.listener.hear(&heard, self.clock.now())).await;
            assert!(noted.iter().all(|noted| *noted));
        }
    }

    /// Freezes the audience, sends the letter, and takes in what SES tells of it.
    async fn all(&self) {
        let freeze = async {
            while self.invoke("a freeze", self.planner.advance(&self.campaign, self.deadline())).await.unwrap()
                == Advanced::OutOfTime
            {}
            std::future::pending::<()>().await;
        };
        let ticks = async {
            loop {
                let tick = self.invoke("a tick", self.keeper.tick(self.clock.now(), CHUNKS_PER_TICK)).await;
                assert_eq!(tick.errors, 0);
                if self.view().await.campaign.state == CampaignState::Finished {
                    return;
                }
                tokio::time::sleep(Duration::from_secs(60)).await;
            }
        };
        let workers = futures::future::join_all((0..deployed("newsletter", "concurrency")).map(|_| self.work()));
        tokio::select! {
            () = ticks => {}
            () = freeze => {}
            _ = workers => {}
            ((), ()) = async { tokio::join!(self.hear(), self.hear()) } => {}
        }
    }

    /// Dollars for what was asked of AWS, without the mails themselves: us-east-1, on demand, without a free tier. Each write
    /// of a chunk is taken for as large as it is at its end, so it is no less than the bill.
    fn dollars(&self) -> f64 {
        let chunks = self.campaigns.chunks_of(&self.campaign);
        let before = Chunk::new(self.campaign.clone(), 0, self.clock.now(), digests(&chunks[0]));
        let (before, after) = (size(&before), size(&chunks[0]));
        let kib = |bytes: f64| (bytes / 1_024.0).ceil();
        let of = |call| self.calls.of(call);
        // An update of a chunk is a transaction, which costs twice, with the counter; two entries of an index move with it.
        let writes = chunks.len() as f64 * 2.0 * kib(before)
            + of("freeze") * 4.0
            + of("dispatched") * (kib(before) + 2.0)
            + of("ledger") * (2.0 * kib(after) + 4.0)
            + of("take")
            + of("heard");
        // Subscribers are read one by one at the claim, and a page at a time at the freeze; all as of the last write.
        let reads = of("chunk") * (after / 4_096.0).ceil()
            + of("meta")
            + of("campaign") * 8.0
            + of("line")
            + (of("ready") + of("queued") + of("due") + of("active")) * 16.0
            + 2.0 * self.readers as f64
            + of("page") * PAGE as f64 * 300.0 / 4_096.0;
        // A batch of events takes ten receives and ten deletes; a chunk's message one of each, and a tenth of a send.
        let messages = 2.0 * of("a chunk") + of("hide") + of("send") / 10.0 + self.post.told() as f64 * 0.2;
        let invocations = of("a chunk") + of("events") + of("a tick") + of("a freeze");
        let seconds =
            of("a chunk") * (MAX_RECIPIENTS as f64 / self.rate + 0.3) + of("events") * 0.5 + of("a tick") * 5.0;
        writes * prices::WRITE_UNIT
            + reads * prices::READ_UNIT
            + messages * prices::SQS_REQUEST
            + invocations * prices::INVOCATION
            + seconds * 0.25 * prices::LAMBDA_GB_SECOND
    }
}

fn digests(chunk: &Chunk) -> Vec<String> {
    chunk.recipients.iter().map(|recipient| recipient.digest.clone()).collect()
}

/// A chunk's item, in bytes: its list of recipients, which is one attribute of JSON, and the rest.
fn size(chunk: &Chunk) -> f64 {
    400.0 + serde_json::to_vec(&chunk.recipients).unwrap().len() as f64
}

/// Says what a run came to, past the test runner, which keeps what passing tests print.
fn report(line: &str) {
    use std::io::Write as _;
    let _ = writeln!(std::io::stderr(), "{line}");
}

/// Sends a campaign at a rate, and holds it to its time, its account and its memory.
async fn campaign_at(rate: f64) {
    let readers = std::env::var("MILLRACE_READERS").map_or(20_000, |text| text.parse().expect("a number of readers"));
    let run = Run::new(readers, rate).await;
    run.all().await;
    let counts = run.view().await.counts;
    let (got_one, took) = run.post.account();
    assert_eq!((got_one, counts.delivered, counts.sum()), (readers, readers as i64, readers as i64), "{counts:?}");
    let (took, ideal) = (took.as_secs_f64(), readers as f64 / rate);
    let memory = run.memory.lock().unwrap().clone();
    let held: Vec<String> = memory.iter().map(|(function, most)| format!("{function} {} KiB", most / 1_024)).collect();
    let calls = run.calls.0.lock().unwrap().clone();
    report(&format!(
        "campaign to {readers} at {rate}/s: {took:.0} s, {:+.2} % of {ideal:.0} s; ${:.2}, and ${:.2} for the mails; \
         memory at most: {}; calls: {calls:?}",
        (took / ideal - 1.0) * 100.0,
        run.dollars(),
        readers as f64 * prices::MAIL,
        held.join(", "),
    ));
    assert!(memory.values().all(|most| *most < MOST_MEMORY), "{memory:?}");
    // The last chunks have no others beside them: of few readers that is a larger part.
    assert!((took - ideal).abs() < 0.02 * ideal + 0.5, "{took} s instead of {ideal} s");
}

#[tokio::test(start_paused = true)]
async fn a_campaign_at_the_rate_of_a_new_account_takes_its_time() {
    campaign_at(14.0).await;
}

#[tokio::test(start_paused = true)]
async fn a_campaign_at_a_common_rate_takes_its_time() {
    campaign_at(300.0).await;
}

#[tokio::test(start_paused = true)]
async fn a_campaign_at_a_large_rate_takes_its_time() {
    campaign_at(1_667.0).await;
}
