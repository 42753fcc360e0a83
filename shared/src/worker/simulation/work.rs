//! What the jobs of a storm do, and who is found at work on them.

use super::*;
use crate::domain::id::JobId;
use crate::ports::Mail;
use crate::single_mail::{Post, send_once};
use crate::testing::{MemoryJobs, MemoryMailLedger, MemoryMailer};
use std::collections::BTreeSet;
use std::future::poll_fn;
use std::pin::pin;
use std::sync::Mutex;

/// Who is at work on each job now and until when, and what was found out about it. A handler's own panic would be fenced off,
/// so what is wrong is written down and looked at in the end.
#[derive(Clone, Default)]
pub(super) struct Owners(pub(super) Arc<Mutex<AtWork>>);

#[derive(Default)]
pub(super) struct AtWork {
    by_job: BTreeMap<JobId, (u64, Timestamp)>,
    /// Jobs at which two were found within their leases.
    pub(super) shared: Vec<JobId>,
    /// Jobs that were found beside another of their ordering key, both within their leases.
    pub(super) beside: Vec<JobId>,
    pub(super) outlived: usize,
    /// Jobs whose handler was run without a lease.
    pub(super) strayed: Vec<JobId>,
    /// When each job was first started.
    pub(super) first_start: BTreeMap<JobId, Timestamp>,
    /// Which jobs of its ordering key were over when a job was first started.
    pub(super) over_before: BTreeMap<JobId, BTreeSet<JobId>>,
}

pub(super) struct Owner(Owners, JobId, u64);

impl Owners {
    fn enter(&self, jobs: &MemoryJobs, attempt: &Attempt) -> Owner {
        let mut work = self.0.lock().unwrap();
        work.first_start.entry(attempt.id.clone()).or_insert(attempt.now());
        let all = jobs.all();
        let job = all.iter().find(|job| job.id == attempt.id).expect("the job");
        let of_key: Vec<&Job> = match &job.ordering_key {
            Some(key) => all.iter().filter(|o| o.ordering_key.as_ref() == Some(key) && o.id != job.id).collect(),
            None => Vec::new(),
        };
        if job.ordering_key.is_some() {
            let over = || of_key.iter().filter(|other| other.state.is_final()).map(|other| other.id.clone()).collect();
            work.over_before.entry(job.id.clone()).or_insert_with(over);
        }
        match job.lease_until.filter(|until| job.fence == attempt.fence && *until > attempt.now()) {
            None => work.outlived += 1, // frozen between its claim and here: it owns nothing any more
            Some(until) => {
                let held = |other: &&Job| other.state == State::Running && other.lease_until > Some(attempt.now());
                let live = |other: &&&Job| work.by_job.get(&other.id).is_some_and(|(fence, _)| *fence == other.fence);
                if of_key.iter().filter(live).any(held) {
                    work.beside.push(attempt.id.clone());
                }
                match work.by_job.insert(attempt.id.clone(), (attempt.fence, until)) {
                    Some((_, until)) if until > attempt.now() => work.shared.push(attempt.id.clone()),
                    other => work.outlived += usize::from(other.is_some()),
                }
            }
        }
        Owner(self.clone(), attempt.id.clone(), attempt.fence)
    }
}

/// Runs a handler, and notes if it is run without a lease: another may be at work on its job then.
async fn watched<T>(owners: Owners, jobs: MemoryJobs, attempt: Attempt, work: impl Future<Output = T>) -> T {
    let mut work = pin!(work);
    poll_fn(|cx| {
        let job = jobs.all().into_iter().find(|job| job.id == attempt.id).expect("the job");
        if (job.state, job.fence) != (State::Running, attempt.fence) || job.lease_until <= Some(attempt.now()) {
            owners.0.lock().unwrap().strayed.push(job.id);
        }
        work.as_mut().poll(cx)
    })
    .await
}

impl Drop for Owner {
    fn drop(&mut self) {
        let mut work = self.0.0.lock().unwrap();
        if work.by_job.get(&self.1).is_some_and(|(fence, _)| *fence == self.2) {
            work.by_job.remove(&self.1);
        }
    }
}

/// Fails or waits as the payload says, and else sends a mail. `snooze_ms` counts seconds here, to go beyond what a message
/// can wait.
pub(super) fn mailing(jobs: MemoryJobs, ledger: MemoryMailLedger, mailer: MemoryMailer, owners: Owners) -> Handlers {
    Handlers::new().on::<Echo, _, _>(move |job: Echo, attempt: Attempt| {
        let (jobs, ledger, mailer, owners) = (jobs.clone(), ledger.clone(), mailer.clone(), owners.clone());
        watched(owners.clone(), jobs.clone(), attempt.clone(), async move {
            let _owner = owners.enter(&jobs, &attempt);
            if let Some(seconds) = job.snooze_ms.filter(|_| attempt.fence == 1) {
                return Err(Failure::Snooze(Duration::from_secs(seconds)));
            }
            if let Some(ms) = job.sleep_ms {
                tokio::time::sleep(Duration::from_millis(ms)).await;
            }
            match job.fail.filter(|_| job.fail_attempts.is_none_or(|n| attempt.number <= n)) {
                None => {}
                Some(Fail::Transient | Fail::Exit) => return Err(Failure::Retry(anyhow::anyhow!("away"))),
                Some(Fail::Throttled) => {
                    let wait = Duration::from_secs(if attempt.number == 1 { 77 } else { 1_000 });
                    return Err(Failure::Throttled(Some(wait), anyhow::anyhow!("slow")));
                }
                Some(Fail::Permanent) => return Err(Failure::Dead(anyhow::anyhow!("never"))),
                Some(Fail::Panic) => panic!("as asked"),
            }
            attempt.progress(50, None).await?;
            let mail = Mail {
                from: "a@example.com".into(),
                reply_to: None,
                to: "b@example.com".into(),
                subject: String::new(),
                text: String::new(),
                html: String::new(),
                headers: vec![],
                tags: vec![],
                tracked: false,
            };
            let post = Post { ledger: &ledger, mailer: &mailer, settle: SETTLE };
            let id = send_once(post, attempt.id.as_str(), mail, attempt.now()).await?;
            Ok(json!(id))
        })
    })
}
