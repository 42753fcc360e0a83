//! Workers, queue, table and mail service under a seeded scheduler that ends workers between any two calls, refuses calls,
//! loses answers, delivers twice and out of order, cancels and retries, and jumps in time.

use super::World;
use super::*;
use crate::domain::id::JobId;
use crate::jobs::kind;
use crate::operate;
use crate::ports::{Mail, MailLedger as _};
use crate::release::release_due;
use crate::single_mail::{Post, send_once};
use crate::testing::{MemoryMailLedger, MemoryMailer};
use futures::future::{Either, select};
use std::collections::BTreeMap;
use std::pin::pin;
use std::sync::Mutex;

const SETTLE: Duration = Duration::from_secs(900);
const SEEDS: u64 = 400;

/// Ends a future after so many polls, as SIGKILL ends a process between any two calls.
async fn killed_after<F: Future>(polls: Option<usize>, work: F) -> Option<F::Output> {
    // The fuse below never sleeps, and time only moves when everybody does.
    let Some(mut left) = polls else { return Some(work.await) };
    let fuse = std::future::poll_fn(move |cx| {
        if left == 0 {
            return std::task::Poll::Ready(());
        }
        left -= 1;
        cx.waker().wake_by_ref();
        std::task::Poll::Pending
    });
    match select(pin!(fuse), pin!(work)).await {
        Either::Left(_) => None,
        Either::Right((output, _)) => Some(output),
    }
}

/// Who is at work on each job now, and the jobs at which two were found. A handler's own panic would be fenced off.
#[derive(Clone, Default)]
struct Owners(Arc<Mutex<AtWork>>);

#[derive(Default)]
struct AtWork {
    fence_by_job: BTreeMap<String, u64>,
    shared: Vec<String>,
}

struct Owner(Owners, String);

impl Owners {
    fn enter(&self, job: &str, fence: u64) -> Owner {
        let mut owners = self.0.lock().unwrap();
        if owners.fence_by_job.insert(job.to_owned(), fence).is_some() {
            owners.shared.push(job.to_owned());
        }
        drop(owners);
        Owner(self.clone(), job.to_owned())
    }
}

impl Drop for Owner {
    fn drop(&mut self) {
        self.0.0.lock().unwrap().fence_by_job.remove(&self.1);
    }
}

fn mailing(ledger: MemoryMailLedger, mailer: MemoryMailer, owners: Owners) -> Handlers {
    Handlers::new().on::<Echo, _, _>(move |job: Echo, attempt: Attempt| {
        let (ledger, mailer, owners) = (ledger.clone(), mailer.clone(), owners.clone());
        async move {
            let _owner = owners.enter(attempt.id.as_str(), attempt.fence);
            if job.fail == Some(Fail::Panic) && job.fail_attempts.is_none_or(|n| attempt.number <= n) {
                panic!("as asked");
            }
            let mail = Mail {
                from: "a@example.com".into(),
                reply_to: None,
                to: "b@example.com".into(),
                subject: String::new(),
                text: String::new(),
                html: String::new(),
                headers: vec![],
                tags: vec![],
            };
            let post = Post { ledger: &ledger, mailer: &mailer, settle: SETTLE };
            let id = send_once(post, attempt.id.as_str(), mail, attempt.now()).await?;
            Ok(json!(id))
        }
    })
}

/// Somebody who cancels and retries without looking.
async fn meddle(world: &World, id: &JobId, cancel: bool) {
    let Ok(Some(job)) = world.jobs.get(id).await else { return };
    let now = world.clock.now();
    if cancel {
        let _ = operate::cancel(&world.jobs, job, now).await;
    } else {
        let _ = operate::retry(&world.intake, &job, kind("echo").unwrap(), None, now).await;
    }
}

async fn run(seed: u64) {
    let mut dice = fastrand::Rng::with_seed(seed);
    let world = World::new();
    let (ledger, mailer) = (MemoryMailLedger::default(), MemoryMailer::default());
    let owners = Owners::default();
    let handlers = mailing(ledger.clone(), mailer.clone(), owners.clone());
    let jobs = 8;
    let mut ids = Vec::new();
    for i in 0..jobs {
        let payload = if i == 0 { json!({"fail": "panic", "fail_attempts": 1}) } else { json!({}) };
        ids.push(world.submit(&format!("{seed}-{i}"), payload).await);
    }
    for faults in [&world.jobs.faults, &world.queue.faults, &ledger.faults] {
        let mut dice = dice.fork();
        faults.at_random(0.05, 0.05, move |_| dice.f64());
    }
    let mut told = 0;
    for step in 0..2_000 {
        // After a while the storm is over; then everything has to come to its end.
        let storm = step < 60;
        if !storm {
            for faults in [&world.jobs.faults, &world.queue.faults, &ledger.faults] {
                faults.none();
            }
        }
        let mut batches = Vec::new();
        for _ in 0..2 {
            let most = dice.usize(1..=4);
            let event = world.queue.receive(most, Duration::from_secs(180), || dice.f64());
            let polls = (storm && dice.bool()).then(|| dice.usize(0..60));
            batches.push((event, polls));
        }
        let deadline = world.clock.now() + Duration::from_secs(30);
        let runs = batches.iter().map(|(event, polls)| {
            let one = async |record: &_| world.runner.run(&handlers, record, deadline).await;
            killed_after(*polls, batch::run(event.clone(), one))
        });
        let responses = futures::future::join_all(runs).await;
        for ((event, _), response) in batches.iter().zip(responses) {
            // A worker that was ended says nothing, and its messages come back by their visibility timeout.
            if let Some(response) = response {
                world.settle(event, &response);
            }
        }
        if storm && dice.f64() < 0.2 {
            meddle(&world, &ids[dice.usize(0..jobs)], dice.bool()).await;
        }
        if storm && dice.f64() < 0.1 {
            world.queue.duplicate(dice.f64());
        }
        world.clock.advance(Duration::from_secs(dice.u64(0..40)));
        let _ = release_due(&*world.intake.jobs, &world.intake.queues, world.clock.now(), 100).await;
        // SES's events come late and in bunches, but they come.
        if dice.f64() < 0.3 {
            let sent = mailer.sent();
            for (id, mail) in &sent[told..] {
                let _ = ledger.accepted(&mail.tags[0].1, id, world.clock.now()).await;
                let _ = ledger.accepted(&mail.tags[0].1, id, world.clock.now()).await;
            }
            told = sent.len();
        }
        if !storm && world.queue.all().is_empty() && world.jobs.all().iter().all(|job| job.state.is_final()) {
            break;
        }
    }
    assert_eq!(owners.0.lock().unwrap().shared, Vec::<String>::new(), "jobs with two owners at a time");
    let all = world.jobs.all();
    assert_eq!(all.len(), jobs);
    let mut mails: BTreeMap<String, usize> = BTreeMap::new();
    for (_, mail) in mailer.sent() {
        *mails.entry(mail.tags[0].1.clone()).or_default() += 1;
    }
    for job in all {
        let sent = mails.get(job.id.as_str()).copied().unwrap_or(0);
        assert!(job.state.is_final(), "{} is stuck: {job:?}", job.id);
        assert!(sent <= 1, "{} sent {sent} mails", job.id);
        if job.state == State::Succeeded {
            assert_eq!(sent, 1, "{} succeeded without its mail", job.id);
        }
    }
    assert!(world.queue.all().is_empty(), "messages are left: {:?}", world.queue.all());
    assert!(world.dead_letters.all().is_empty());
}

#[tokio::test(start_paused = true)]
async fn in_every_storm_each_job_ends_and_each_mail_is_sent_once() {
    let seeds = match option_env!("MILLRACE_SEED").map(str::parse::<u64>) {
        Some(seed) => {
            let seed = seed.expect("MILLRACE_SEED is a number");
            seed..seed + 1
        }
        None => 0..SEEDS,
    };
    std::panic::set_hook(Box::new(|info| {
        let text = info.to_string();
        if !text.contains("as asked") {
            eprintln!("{text}");
        }
    }));
    for seed in seeds {
        eprintln!("seed {seed}");
        run(seed).await;
    }
}
